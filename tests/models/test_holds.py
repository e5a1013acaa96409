"""holds.json: read strictly, changed by compare-and-swap."""

from __future__ import annotations

import json
import threading

import pytest

from scripts.errors import BadInput
from scripts.models import holds
from scripts.models.holds import Hold, Holds
from tests.models.support import VERSION, World

HELD = Holds(Hold(VERSION, "bad answers", "2026-11-20T03:00:00Z", "ann"), (VERSION,))


def test_what_was_written_is_read() -> None:
    assert holds.parse(holds.dump_holds(HELD)) == HELD
    assert holds.parse(holds.dump_holds(Holds())) == Holds()
    assert json.loads(holds.dump_holds(HELD))["hold"]["by"] == "ann"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"schema_version": 2, "hold": None, "pins": []}, "schema_version"),
        ({"schema_version": 1, "pins": []}, "hold: found nothing"),
        ({"schema_version": 1, "hold": {}, "pins": []}, "hold.version: found nothing"),
        ({"schema_version": 1, "hold": None, "pins": ["x"]}, r"pins\[0\]"),
        ({"schema_version": 1, "hold": None, "pins": {}}, "pins: found an object"),
        ([], "found a list"),
    ],
)
def test_a_bad_one_is_refused_with_its_place(value: object, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        holds.parse(json.dumps(value).encode())


@pytest.mark.process
def test_changes_at_once_all_arrive(world: World) -> None:
    versions = [f"2026112{day}T020000Z-3f9a1c2b" for day in range(4)]

    def pin(version: str) -> None:
        holds.change(world.bucket, lambda now: Holds(now.hold, tuple(sorted({*now.pins, version}))))

    threads = [threading.Thread(target=pin, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert holds.read(world.bucket).pins == tuple(versions)
    assert holds.change(world.bucket, lambda now: Holds(HELD.hold, now.pins)).hold == HELD.hold

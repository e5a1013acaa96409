"""Every fault at every call: the command succeeds or says what is wrong, and the next one comes to its end."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import OpsError
from scripts.models import signing, verify
from tests.conftest import StandIn
from tests.crash import steady
from tests.crash.killing import MANY
from tests.crash.ledger import expire
from tests.crash.scenes import Back, First, Scene, Second
from tests.faults import faulty

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

FAULTS: dict[str, dict[str, Any]] = {
    "503": {"kind": "503"},
    "429": {"kind": "429", "retry_after_s": 1},
    "reset before": {"kind": "reset"},
    "reset after 100 bytes": {"kind": "reset", "after_bytes": 100},
    "stall": {"kind": "stall", "delay_s": 0.2},
    "truncate": {"kind": "truncate"},
    "lost reply": {"kind": "lost-reply"},
    "412 after success": {"kind": "412-after-success"},
    "slow": {"kind": "slow", "rate_bytes_s": 2_000_000},
}


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Parts of the large file, and no heartbeat among the calls."""
    for module, name, value in steady.STEADY:
        monkeypatch.setattr(module, name, value)
    yield


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("make", [First, Second, Back], ids=lambda make: make.name)
@pytest.mark.parametrize("name", FAULTS)
def test_no_fault_at_any_call_breaks_anything(
    shared_standin: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str], make: type[Scene], name: str
) -> None:
    key = signing.make_key(tmp_path / "keys")
    signer = signing.load_signer(f"file:{tmp_path / 'keys' / signing.PRIVATE_NAME}")
    scene = make(shared_standin.url, tmp_path, signer, key, f"faults-{secrets.token_hex(4)}")
    survived = failed = 0
    for nth in range(1, MANY):
        scene.arrange()
        options = {**FAULTS[name], "nth": nth, "bucket": scene.world.bucket.name}
        with faulty(shared_standin, "storage.*", **options) as fault:
            try:
                scene.command(scene.world)
                survived += 1
            except OpsError as error:
                assert error.message and error.remedy, f"{name} at call {nth}: {error!r}"
                failed += 1
            happened = fault.fired
        scene.read()
        expire(scene.world)
        scene.again()
        if not happened:
            break
    found = verify.verify(scene.world.bucket, scene.world.keys, full=True)
    assert found.trusted is not None and found.problems == ()
    with capsys.disabled():
        print(f"\n{make.name}, {name}: {survived + failed - 1} calls, {failed} told as an error")
    assert survived + failed > 10

"""A publisher that stops at a call, is taken for dead, and wakes up after another one took over: it harms nothing."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from requests.adapters import HTTPAdapter

from scripts.cloud.storage import open_bucket
from scripts.errors import OpsError
from scripts.models import layout, signing
from scripts.models.outcome import SyncResult
from tests.conftest import StandIn
from tests.crash.killing import MANY, PROJECT, mount
from tests.crash.ledger import expire
from tests.crash.scenes import Second, on

pytestmark = pytest.mark.process

DEADLINE_S = 60.0


class Sleepy(HTTPAdapter):
    """Stops before the first call that is meant, until it is woken."""

    def __init__(self, meant: Callable[[int, Any], bool]) -> None:
        super().__init__(pool_connections=4, pool_maxsize=8)
        self.asleep = threading.Event()
        self.wake = threading.Event()
        self._meant = meant
        self._count = 0
        self._lock = threading.Lock()

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        with self._lock:
            self._count += 1
            mine = self._count
        if not self.asleep.is_set() and self._meant(mine, request):
            self.asleep.set()
            assert self.wake.wait(DEADLINE_S)
        return super().send(request, *args, **options)


class Publisher(threading.Thread):
    """A sync of its own that sleeps at a call; its lease is not renewed meanwhile. result or error: how it ended."""

    def __init__(self, scene: Second, number: int, meant: Callable[[int, Any], bool]) -> None:
        super().__init__(daemon=True)
        bucket = open_bucket(PROJECT, scene.world.url, scene.world.bucket.name)
        self.sleepy = Sleepy(meant)
        mount(bucket, self.sleepy)
        self.result: SyncResult | None = None
        self.error: BaseException | None = None
        self._run = lambda: scene.sync(on(scene.world, bucket), number)

    def run(self) -> None:
        try:
            self.result = self._run()
        except BaseException as error:
            self.error = error
        finally:
            self.sleepy.asleep.set()

    def fall_asleep(self) -> bool:
        """Start; False when it came to its end instead."""
        self.start()
        assert self.sleepy.asleep.wait(DEADLINE_S)
        return self.result is None and self.error is None

    def finish(self) -> None:
        """Wake up and end."""
        self.sleepy.wake.set()
        self.join(DEADLINE_S)
        assert not self.is_alive()
        assert self.error is None or isinstance(self.error, OpsError), repr(self.error)


def at(call: int) -> Callable[[int, Any], bool]:
    return lambda count, request: count == call


def commits(count: int, request: Any) -> bool:
    """Whether this is the call that makes a statement."""
    body = request.body if isinstance(request.body, bytes) else b""
    return "uploadType=multipart" in request.url and layout.STATEMENTS.encode() in body[:500]


@pytest.fixture
def scene(shared_standin: StandIn, tmp_path: Path) -> Second:
    """A bucket with a version; it is used for many points."""
    key = signing.make_key(tmp_path / "keys")
    signer = signing.load_signer(f"file:{tmp_path / 'keys' / signing.PRIVATE_NAME}")
    made = Second(shared_standin.url, tmp_path, signer, key, f"sleepers-{secrets.token_hex(4)}")
    made.points = 1  # the same calls at every point
    return made


def take_over(scene: Second, call: int, *, same: bool, late: bool) -> bool:
    """One sleeper, one successor (who commits before or after the sleeper wakes up), and what must hold then.

    False when the sleeper had no such call.
    """
    scene.arrange()
    first = Publisher(scene, scene.number, at(call))
    slept = first.fall_asleep()
    expire(scene.world)
    if not same:
        scene.number += 1
        scene.upstream(scene.number)
    second = Publisher(scene, scene.number, commits if late else at(0))
    second.fall_asleep()
    seen = scene.ledger.read()
    first.finish()
    second.finish()
    ended = [each.result for each in (first, second) if each.result is not None]
    assert ended, f"both failed: {first.error!r}, {second.error!r}"
    serials = [result.serial for result in ended if result.outcome == "published"]
    assert len(set(serials)) == len(serials)
    after = scene.ledger.read()
    assert seen is not None and after is not None and after.serial >= max(seen.serial, *(item.serial for item in ended))
    scene.ledger.acknowledge(after)
    expire(scene.world)
    scene.number += 1
    scene.before = after
    scene.upstream(scene.number)
    scene.again()
    return slept


# In the middle of pulling, before the files' final names, before the commit, and at both listings of the cleaning.
@pytest.mark.parametrize(("call", "same"), [(20, False), (23, True), (30, False), (39, False), (40, False)])
def test_a_sleeper_that_wakes_up_harms_nobody(scene: Second, call: int, same: bool) -> None:
    take_over(scene, call, same=same, late=call % 2 == 1 and call < 39)


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("late", [False, True], ids=["committed before", "commits after"])
@pytest.mark.parametrize("same", [False, True], ids=["other content", "same content"])
def test_no_sleeper_at_any_call_harms_anybody(scene: Second, same: bool, late: bool) -> None:
    call = next(call for call in range(1, MANY) if not take_over(scene, call, same=same, late=late))
    assert call > 40

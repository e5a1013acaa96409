"""One holder at a time: refused, waited for, renewed, taken over after death, lost for the one that slept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scripts import lease
from scripts.cloud.storage import Bucket, open_bucket
from scripts.errors import AccessDenied, Conflict, Refused, Unreachable
from tests.conftest import StandIn

pytestmark = pytest.mark.process
NAME = "leases/publish.json"


@pytest.fixture
def bucket(common_standin: StandIn, tmp_path: Path) -> Bucket:
    made = open_bucket("p", common_standin.url, "lease-" + hashlib.sha256(str(tmp_path).encode()).hexdigest()[:16])
    made.create("europe-west1", {})
    return made


def stored(bucket: Bucket) -> dict[str, object]:
    found = bucket.read(NAME)
    assert found is not None
    return dict(json.loads(found[0]))


def dead(bucket: Bucket, ttl_s: float = 0.3) -> lease.Lease:
    """A holder that was killed: it neither renews nor gives back."""
    return lease._take(bucket, "publish", "a sync that died", ttl_s, time.monotonic(), None)


def test_a_lease_is_held_and_given_back(bucket: Bucket) -> None:
    with lease.hold(bucket, "publish", "a sync") as held:
        held.check()
        value = stored(bucket)
        assert set(value) == {"owner", "purpose", "expires_at", "serial"}
        assert (value["purpose"], value["serial"]) == ("a sync", 1)
        holder = lease.holder_of(bucket, "publish")
        assert holder is not None and holder.owner == held.holder.owner
    assert lease.holder_of(bucket, "publish") is None
    with lease.hold(bucket, "publish", "another"):
        assert stored(bucket)["serial"] == 2


def test_a_second_one_is_refused_with_the_holders_name(bucket: Bucket) -> None:
    with (
        lease.hold(bucket, "publish", "a long sync") as held,
        pytest.raises(Refused) as caught,
        lease.hold(bucket, "publish", "mine"),
    ):
        pass
    for part in (held.holder.owner, "a long sync", held.holder.expires_at):
        assert part in caught.value.message
    assert "run the same command again" in caught.value.remedy


@pytest.mark.parametrize("error", [ValueError("inside"), AccessDenied("inside", "log in")])
def test_it_is_given_back_after_an_error(bucket: Bucket, error: Exception) -> None:
    with pytest.raises(type(error), match="inside"), lease.hold(bucket, "publish", "fails"):
        raise error
    assert lease.holder_of(bucket, "publish") is None


def test_it_lapses_after_a_call_that_nobody_answered(bucket: Bucket) -> None:
    """Such a call may still arrive: until then nobody else may be at work."""
    with pytest.raises(Unreachable), lease.hold(bucket, "publish", "unheard"):
        raise Unreachable("inside", "wait")
    assert lease.holder_of(bucket, "publish") is not None


def test_a_waiting_one_gets_it_and_is_told_once_for_whom_it_waits(bucket: Bucket) -> None:
    told: list[lease.Holder] = []
    with lease.hold(bucket, "publish", "first"):
        waiter = threading.Thread(target=lambda: take(bucket, told))
        waiter.start()
        while not told:
            time.sleep(0.01)
    waiter.join()
    assert [holder.purpose for holder in told] == ["first"]
    assert stored(bucket)["serial"] == 2


def take(bucket: Bucket, told: list[lease.Holder]) -> None:
    with lease.hold(bucket, "publish", "second", wait_s=120, on_wait=told.append) as held:
        held.check()


def test_a_dead_holder_is_taken_over_and_cannot_go_on(bucket: Bucket) -> None:
    gone = dead(bucket)
    with lease.hold(bucket, "publish", "heir", wait_s=60) as held:
        assert held.holder.serial == gone.holder.serial + 1
        with pytest.raises(Conflict, match="could not be renewed"):
            gone.check()
        gone._renew()
        with pytest.raises(Conflict, match="somebody else took it"):
            gone.check()
        held.check()


def test_renewal_keeps_it_beyond_its_time(bucket: Bucket) -> None:
    for ttl_s in (0.6, 6.0):
        with contextlib.suppress(Conflict):  # a machine that stalls as long as a lease lives loses it, rightly
            return held_beyond(bucket, ttl_s)
    return held_beyond(bucket, 30.0)


def held_beyond(bucket: Bucket, ttl_s: float) -> None:
    with lease.hold(bucket, "publish", "long", ttl_s=ttl_s, wait_s=60) as held:
        first = datetime.fromisoformat(held.holder.expires_at)
        while datetime.now(UTC) <= first:
            time.sleep(0.02)
        refused = False
        try:
            with lease.hold(bucket, "publish", "other"):
                pass
        except Refused:
            refused = True
        held.check()
        assert refused
        assert datetime.fromisoformat(str(stored(bucket)["expires_at"])) > first


def test_of_many_at_once_one_holds_at_a_time(bucket: Bucket) -> None:
    inside, most, lock = [0], [0], threading.Lock()

    def work() -> None:
        with lease.hold(bucket, "publish", "one of many", wait_s=150):
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            with lock:
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert stored(bucket)["serial"] == 4


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"owner": 1}', b"\xff", b"[" * 10_000])
def test_a_torn_lease_protects_nobody(bucket: Bucket, content: bytes) -> None:
    bucket.replace(NAME, content, 0)
    with lease.hold(bucket, "publish", "after it") as held:
        assert held.holder.serial == 1


def test_a_renewal_that_arrives_after_it_was_given_up_loses_nothing(bucket: Bucket) -> None:
    with lease.hold(bucket, "publish", "a sync", ttl_s=1.5) as held:
        found = bucket.read(NAME)
        assert found is not None
        late = bucket.replace(NAME, found[0], found[1].generation)  # as the server does it, the client gone
        deadline = time.monotonic() + 3.0
        while time.monotonic() < deadline:
            held.check()
            time.sleep(0.05)
        renewed = bucket.stat(NAME)
        assert renewed is not None and renewed.generation > late.generation
    assert lease.holder_of(bucket, "publish") is None


def test_what_is_larger_than_any_lease_protects_nobody(bucket: Bucket) -> None:
    bucket.create_object(NAME, b" " * (lease.LIMIT_BYTES + 1))
    assert lease.holder_of(bucket, "publish") is None
    with lease.hold(bucket, "publish", "a sync") as held:
        held.check()
    bucket.create_object("leases/trigger.json", b" " * (lease.LIMIT_BYTES + 1))
    assert lease.claim(bucket, "trigger", "a start", ttl_s=60.0) > 0

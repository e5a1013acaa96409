"""An instance that misses starts the sync job, once for all that miss at the same time, and follows what it does."""

from __future__ import annotations

import random
from typing import Any

import pytest

from scripts import lease
from scripts.container import trigger
from scripts.errors import ExitCode
from tests.container.test_start import decision, failure
from tests.faults import faulty

pytestmark = pytest.mark.process


def test_a_miss_starts_the_sync_job_and_waits_for_what_it_publishes(world: Any) -> None:
    spec = world.model()
    job = world.job(world.runtime(spec, sync_mode=True))
    child = world.start(world.runtime(spec, on_miss="trigger", sync_job=job, wait_timeout_s=100))
    (started,) = [child.until("sync job started")]
    child.until("trusted version found")
    world.mirror()
    info = child.ready()
    assert (decision(child)["reason"], info["serial"]) == ("no_trusted_version", 1)
    executions = world.run.list_executions(job)
    assert [execution.name for execution in executions] == [started["execution"]]
    assert child.stop() == 0
    second = world.start(world.runtime(spec, on_miss="trigger", sync_job=job))
    second.ready()
    assert decision(second)["cache_hit"] is True
    assert second.stop() == 0
    assert len(world.run.list_executions(job)) == 1


def test_a_sync_job_that_fails_ends_the_wait_early_and_is_named(world: Any) -> None:
    spec = world.model()
    job = world.job(world.runtime(spec, sync_mode=True, signing_key="file:/nowhere/signing.pem"))
    child = world.start(world.runtime(spec, on_miss="trigger", sync_job=job, wait_timeout_s=200))
    assert child.end() == ExitCode.FAILED
    (started,) = child.named("sync job started")
    assert f"execution {started['execution']} of {job} failed" in failure(child)["error"]
    assert "invoke logs --job" in failure(child)["remedy"]


def test_an_execution_that_runs_already_is_not_doubled(world: Any) -> None:
    spec = world.model()
    job = world.job(world.runtime(spec, sync_mode=True))
    with lease.hold(world.bucket, "publish", "a test that keeps the job waiting"):
        running = world.run.run_job(job).name
        child = world.start(world.runtime(spec, on_miss="trigger", sync_job=job, wait_timeout_s=100))
        assert child.until("the sync job is running already")["execution"] == running
    child.until("trusted version found")
    assert len(world.run.list_executions(job)) == 1
    world.mirror()
    child.ready()
    assert child.stop() == 0


def test_who_may_not_claim_waits_for_its_moment_and_looks_again(world: Any, common_standin: Any) -> None:
    spec = world.model()
    job = world.job(world.runtime(spec, sync_mode=True))
    told = {"bucket": world.name, "object": f"leases/{trigger.CLAIM}.json", "count": "forever"}
    with faulty(common_standin, "storage.objects.insert", "403", **told):
        children = [
            world.start(world.runtime(spec, on_miss="trigger", sync_job=job, wait_timeout_s=100)) for _ in range(2)
        ]
        for child in children:
            child.until("trusted version found")
    started = [entry for child in children for entry in child.named("sync job started")]
    assert len(world.run.list_executions(job)) == len(started) >= 1
    pulled = world.control("/_local/upstreams")["by_client"]
    (bytes_,) = [pulled[each["execution"]]["bytes"] for each in started if each["execution"] in pulled]
    assert 50_000 <= bytes_ < 100_000, "one copy, whichever of the executions took the lease"
    assert world.bucket.stat("leases/trigger.json") is None
    world.mirror()
    for child in children:
        child.ready()
        assert child.stop() == 0


def test_a_claim_whose_holder_died_lapses(world: Any) -> None:
    spec = world.model()
    claimed = lease.claim(world.bucket, trigger.CLAIM, "an instance that dies now", ttl_s=4)
    assert claimed and not lease.claim(world.bucket, trigger.CLAIM, "another", ttl_s=4)
    job = world.job(world.runtime(spec, sync_mode=True))
    child = world.start(world.runtime(spec, on_miss="trigger", sync_job=job, wait_timeout_s=100))
    child.until("another instance starts the sync job")
    child.until("sync job started")
    child.until("trusted version found")


def test_a_claim_that_led_to_nothing_is_given_back(world: Any) -> None:
    child = world.start(world.runtime(world.model(), on_miss="trigger", sync_job="no-such-job"))
    assert child.end() == ExitCode.REFUSED
    assert "no-such-job" in failure(child)["error"]
    assert world.bucket.stat("leases/trigger.json") is not None
    assert lease.holder_of(world.bucket, trigger.CLAIM) is None


def test_without_a_claim_few_start_the_job_however_many_miss() -> None:
    moments = [trigger.lonely_s(number / 1000) for number in range(1000)]
    assert moments == sorted(moments, reverse=True)
    assert moments[0] == trigger.LATEST_S and moments[-1] == 0.0
    dice = random.Random(20261130)
    for count in (5, 50):  # the first one is alone for as long, however many there are
        gaps = []
        for _ in range(1000):
            first, second = sorted(trigger.lonely_s(dice.random()) for _ in range(count))[:2]
            gaps.append(second - first)
        assert 0.8 * trigger.RARITY_S < sum(gaps) / len(gaps) < 1.2 * trigger.RARITY_S

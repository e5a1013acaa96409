"""`loadtest`: look at what serves, start what is missing, load it, hear the witnesses, judge, and keep the result.

    look → instances → load → evidence → report

Two load tests of one service keep each other out (lease `loadtest-<service>`). Whatever came of it, an audit record
tells; that of a passed one is what a promotion of the same image digest asks for.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from scripts import audit, lease
from scripts.cloud import connect
from scripts.cloud.connect import Cloud
from scripts.cloud.run import Revision, ServiceState
from scripts.errors import STATUS, BadInput, NotFound, OpsError, Unreachable
from scripts.loadtest import driver, evidence, page, schedule, thresholds
from scripts.loadtest.driver import Request
from scripts.loadtest.measurement import Measurement
from scripts.loadtest.report import Report, Subject
from scripts.loadtest.schedule import Schedule
from scripts.loadtest.thresholds import Threshold, milliseconds
from scripts.plan import Action, Change, Plan
from scripts.settings import project
from scripts.settings.model import Settings

LEASE_TTL_S = 12.0
LEASE_WAIT_S = 15.0  # longer than a lease lives: one that a killed command left behind is waited out
MOST_INSTANCES = 50
BODIES = {"/embed": '{"texts": ["a sentence to embed while the load lasts"]}'}


class Step(Protocol):
    """A step that runs; outcome is said when it ends."""

    outcome: str


class Talk(Protocol):
    """Who hears what the running step is at."""

    def progress(self, text: str) -> None: ...

    def note(self, text: str, *, warning: bool = False) -> None: ...


class Steps(Protocol):
    """Who is told what is done, step by step; steps may be begun and ended only through it."""

    @property
    def talk(self) -> Talk: ...

    def step(self, name: str) -> AbstractContextManager[Step]: ...


@dataclass(frozen=True)
class Options:
    """What the caller typed; times are texts like 30s. An empty body: what the path is usually asked with."""

    service: str = "tabular"
    rate: str = "50"
    duration: str = "30s"
    instances: int = 3
    path: str = "/embed"
    body: str = ""
    ramp: str = ""
    threshold: str = thresholds.DEFAULT
    processes: int = 0
    warm_up: str = "5s"
    send_lag: str = "50ms"
    output: str = ""


@dataclass(frozen=True)
class Test:
    """A load test that was decided on and has not begun; missing: how many instances have to be started first."""

    settings: Settings
    options: Options
    cloud: Cloud
    subject: Subject
    revisions: tuple[str, ...]
    schedule: Schedule
    limits: tuple[Threshold, ...]
    lag_limit_ms: float
    processes: int
    missing: int
    place: Path

    @property
    def body(self) -> str:
        return self.options.body or BODIES.get(self.options.path, "")

    @property
    def plan(self) -> Plan:
        """What would be done, in order."""
        verb = "POST" if self.body else "GET"
        stages = ", then ".join(stage.told() for stage in self.schedule.stages)
        warm_up = f" (the first {self.schedule.warm_up_s:g} s warm up)" if self.schedule.warm_up_s else ""
        load = f"{self.schedule.requests} requests: {stages}{warm_up}"
        instances = "further instance" if self.missing == 1 else "further instances"
        further = Change(Action.RUN, "start", after=f"{self.missing} {instances} of {self.subject.revision}")
        return Plan(
            f"load test of {self.subject.service} on {self.settings.environment}",
            (
                *([further] if self.missing else []),
                Change(Action.RUN, f"{verb} {self.subject.url}{self.subject.path}", after=load),
                Change(Action.CREATE, f"report in {self.place}"),
                Change(Action.CREATE, f"audit record in bucket {self.settings.cache.bucket}"),
            ),
        )

    @property
    def asks(self) -> str:
        """The question to ask before it begins; empty where the load costs nobody anything."""
        return "" if self.cloud.is_standin else f"load {self.subject.url} with {self.schedule.requests} requests"


def prepare(settings: Settings, options: Options) -> Test:
    """Check every option and look at what serves; nothing is changed.

    Raises BadInput for a wrong option, NotFound for a service that does not exist, Unreachable when it does not serve.
    """
    named = settings.service(options.service)
    warm_up_s = schedule.duration_s(options.warm_up, "--warm-up", zero=True)
    lasting_s = schedule.duration_s(options.duration, "--duration")
    planned = schedule.plan(schedule.rate(options.rate), lasting_s, options.ramp, warm_up_s)
    limits = thresholds.parse(options.threshold)
    lag_limit_ms = 1000 * schedule.duration_s(options.send_lag, "--send-lag")
    processes = driver.processes_for(planned, options.processes)
    _check(options)
    cloud = connect.connect(settings)
    state = cloud.run().get_service(named.cloud_run_name)
    if state is None:
        deploy = f"Run: ./dev invoke deploy --env {settings.environment}"
        raise NotFound(f"service {named.cloud_run_name} does not exist on {cloud.name}", deploy)
    revisions = _serving(state)
    first = cloud.run().get_revision(revisions[0])
    alive = cloud.live_instances(state.name)
    missing = max(options.instances - _running(cloud, state.name, revisions, alive), 0) if alive is not None else 0
    subject = _subject(settings, options, cloud, state, revisions[0], first)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    default = project.state_dir() / "loadtest" / f"{settings.environment}-{options.service}-{stamp}"
    place = Path(options.output).expanduser() if options.output else default
    return Test(
        settings, options, cloud, subject, revisions, planned, limits, lag_limit_ms, processes, missing, place,
    )  # fmt: skip


def run(test: Test, steps: Steps) -> Report:
    """Carry a load test out. A failed one is returned like a passed one: see Report.check().

    Raises Refused while another one of the same service runs, OpsError when an instance or the generator fails.
    """
    bucket = test.cloud.bucket(test.settings.cache.bucket)
    purpose = f"load test of {test.subject.service}"
    started = datetime.now(UTC)
    name = f"loadtest-{test.subject.service}"
    with lease.hold(bucket, name, purpose, ttl_s=LEASE_TTL_S, wait_s=LEASE_WAIT_S), _recorded(test, started) as told:
        before = evidence.begin(test.cloud)
        _start_instances(test, steps)
        agent = f"{project.AGENT} loadtest/{secrets.token_hex(6)}"
        found = _load(test, steps, agent)
        with steps.step("evidence") as step:
            steps.talk.progress("reading the request log and the instances' decisions")
            proof = evidence.gather(
                test.cloud, test.subject.service, test.revisions, agent, test.options.instances, before
            )
            step.outcome = f"{proof.serving} instances served, {proof.hits} hits, {proof.misses} misses"
        report = Report(
            test.subject, started.strftime("%Y-%m-%dT%H:%M:%SZ"), test.schedule, found, proof,
            thresholds.judge(test.limits, found), found.bottleneck(test.lag_limit_ms), str(test.place),
        )  # fmt: skip
        _write(report, test.place)
        told.update(report.details())
    return report


def _start_instances(test: Test, steps: Steps) -> None:
    with steps.step("instances") as step:
        if not test.missing:
            step.outcome = "nothing to start"
            return
        steps.talk.progress(f"starting {test.missing} further instances")
        started = test.cloud.add_instances(test.subject.service, test.missing)
        step.outcome = f"{test.missing} started" if started else "the platform decides how many there are"


def _load(test: Test, steps: Steps, agent: str) -> Measurement:
    with steps.step("load") as step:
        private = test.settings.access == "private"
        headers = {**test.cloud.headers_for(test.subject.url, private), "user-agent": agent}
        request = Request(test.subject.url + test.subject.path, test.body, headers)
        whole_s = test.schedule.measured_s

        def progress(second: int, p99_ms: float) -> None:
            steps.talk.progress(f"second {second + 1} of {whole_s:.0f}: p99 {milliseconds(p99_ms)}")

        steps.talk.progress(f"warming up for {test.schedule.warm_up_s:g} s")
        found = driver.run(request, test.schedule, test.processes, progress)
        errors = sum(found.errors.values())
        p99 = milliseconds(found.latency.at_ms(99))
        step.outcome = f"{found.latency.count} answered, {errors} failed, p99 {p99}"
    return found


@contextlib.contextmanager
def _recorded(test: Test, started: datetime) -> Iterator[dict[str, Any]]:
    """Leave an audit record of the block, however it ends; what it writes into the dictionary are its details."""
    details: dict[str, Any] = {}

    def record(outcome: str) -> None:
        audit.record(
            test.cloud.bucket(test.settings.cache.bucket), command="loadtest", environment=test.settings.environment,
            plan=test.plan, outcome=outcome, started_at=started, details=details,
        )  # fmt: skip

    try:
        yield details
    except BaseException as error:
        told = error.message if isinstance(error, OpsError) else repr(error)
        details.update(service=test.subject.service, passed=False, error=told)
        with contextlib.suppress(OpsError):
            record("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    record("passed" if details["passed"] else "failed")


def _check(options: Options) -> None:
    if not 0 <= options.instances <= MOST_INSTANCES:
        wrong = f"--instances: found {options.instances}, expected 0 (no proof) to {MOST_INSTANCES}"
        raise BadInput(wrong, "For example: --instances 3")
    if not options.path.startswith("/") or any(not letter.isprintable() or letter == " " for letter in options.path):
        raise BadInput(f"--path: found {options.path!r}, expected a path like /embed", "For example: --path /embed")


def _running(cloud: Cloud, service: str, revisions: tuple[str, ...], alive: frozenset[str]) -> int:
    """How many instances of the revisions that get requests are ready: one behind a tag gets none."""
    found = cloud.instances_by_revision(service) or {}
    return len(alive & {each for name in revisions for each in found.get(name, ())})


def _serving(state: ServiceState) -> tuple[str, ...]:
    """The revisions that get requests, that with the most first. Raises Unreachable when there is none."""
    shares = {str(share.get("revisionName", "")) for share in state.traffic}
    found = sorted((name for name in shares if name and state.percent(name)), key=lambda name: -state.percent(name))
    if not found or not state.url:
        raise Unreachable(f"service {state.name} does not serve: {state.reason or 'no revision gets traffic'}", STATUS)
    return tuple(found)


def _subject(
    settings: Settings, options: Options, cloud: Cloud, state: ServiceState, revision: str, known: Revision | None
) -> Subject:
    body = known.body if known is not None else {}
    containers = body.get("spec", {}).get("containers") or [{}]
    digest = str(body.get("status", {}).get("imageDigest") or "").rpartition("@")[2]
    return Subject(
        settings.environment, cloud.name, state.name, state.url, options.path, revision,
        str(containers[0].get("image", "")), digest,
    )  # fmt: skip


def _write(report: Report, place: Path) -> None:
    """Keep the page and the document. Raises OpsError when the folder cannot be written."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        (place / "report.html").write_text(page.render(report), encoding="utf-8")
        (place / "report.json").write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        wrong = f"the report cannot be written to {place}: {error.strerror or error}"
        raise OpsError(wrong, "Name another folder: --output DIR") from error

"""Deploy: bring a service and its sync job to what the environment file says, and prove that it serves.

    cloud → bucket → keys → job → models → service → ready → verify

Every step reads before it writes, so an interrupted deploy is completed by the next one. From `keys` on the lease
`deploy-<service>` keeps other deploys out, and an audit record tells how it ended, also when it failed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from scripts import audit
from scripts.cloud import connect
from scripts.cloud.instances import Instance
from scripts.cloud.run import ServiceState
from scripts.errors import BadInput, OpsError, Unreachable
from scripts.lease import Holder, Lease
from scripts.plan import Action, Change, Plan
from scripts.service import (
    apply,
    instances,
    memory,
    observe,
    ownership,
    planning,
    probe,
    publication,
    readiness,
    target,
)
from scripts.service.observe import Live
from scripts.service.planning import SyncMode
from scripts.service.publication import Published
from scripts.service.report import Report
from scripts.service.steps import SILENT, Steps, Talk
from scripts.service.target import Target
from scripts.settings.model import Settings
from scripts.units import size

JOB_TIMEOUT_S = 120.0
SHOWN_CHANGES = 20


@dataclass(frozen=True)
class Options:
    """What the caller chose; sync None means what the environment says. accept: what tags name upstream by now."""

    service: str = target.DEFAULT_SERVICE
    sync: str | None = None
    accept: bool = False


def sync_mode(settings: Settings, chosen: str | None) -> SyncMode:
    """The mode that was asked for, else the environment's. Raises BadInput for an unknown one."""
    try:
        return SyncMode(chosen or settings.sync.on_deploy)
    except ValueError:
        known = ", ".join(SyncMode)
        text = f"--sync: found {chosen!r}, expected one of {known}"
        raise BadInput(text, "Run: ./dev invoke --help deploy") from None


def plan_deploy(settings: Settings, options: Options, talk: Talk = SILENT) -> Plan:
    """What deploy would do, without doing any of it: not even a stand-in is started. talk hears what deserves care."""
    mode = sync_mode(settings, options.sync)
    try:
        reached = target.reach(settings, options.service)
    except Unreachable:
        if settings.provision != "self" or settings.endpoint is not None:
            raise
        start = Change(Action.RUN, "stand-in cloud", after="it is not running; what it keeps is only known once it is")
        return Plan(f"deploy {options.service} to {settings.environment}", (start,))
    live = observe.look(reached)
    ownership.check(reached, live.foundation)
    if live.foundation.bucket:
        for line in planning.warnings(reached, live):
            talk.note(line, warning=True)
    return planning.plan(reached, live, mode)


def deploy(settings: Settings, options: Options, talk: Talk) -> Report:
    """Carry a deploy out and return what came of it.

    Raises Refused (a lease is held, Terraform's part is missing), Unreachable, Conflict, and OpsError when the sync
    job, the revision or a check fails, with the last log lines of what failed.
    """
    mode = sync_mode(settings, options.sync)
    settings.service(options.service)
    run = Deployment(settings, options, Steps(talk))
    run.cloud()
    memory.remember(settings.environment)
    run.bucket()
    with run.exclusive():
        run.keys()
        run.job()
        run.models(mode)
        run.service()
        run.ready()
        run.verify()
    return run.report()


@dataclass
class Deployment:
    """A deploy under way: what it reached, what it saw last, what it changed."""

    settings: Settings
    options: Options
    steps: Steps
    command: str = "deploy"
    done: list[Change] = field(default_factory=list)
    published: Published | None = None
    found: tuple[Instance, ...] = ()
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _target: Target | None = None
    _live: Live | None = None
    _state: ServiceState | None = None
    _lease: Lease | None = None

    @property
    def target(self) -> Target:
        assert self._target is not None, "cloud() comes first"
        return self._target

    @property
    def live(self) -> Live:
        assert self._live is not None, "keys() comes first"
        return self._live

    @property
    def state(self) -> ServiceState:
        assert self._state is not None, "service() comes first"
        return self._state

    def cloud(self) -> None:
        """Reach the cloud; one that provisions itself is started when it does not run."""
        with self.steps.step("cloud") as step:
            self._target = target.ensure(self.settings, self.options.service, self.steps.talk.progress)
            step.outcome = self.target.cloud.name
            caution = connect.caution(self.target.cloud)
        if caution:
            self.steps.talk.note(caution, warning=True)

    def bucket(self) -> None:
        """The bucket; where Terraform owns it, all of Terraform's part is checked at once."""
        with self.steps.step("bucket") as step:
            name = self.settings.cache.bucket
            if not ownership.provides(self.target):
                ownership.check(self.target, observe.look(self.target).foundation)
            elif ownership.make_bucket(self.target):
                self.done.append(Change(Action.CREATE, f"bucket {name}"))
            step.outcome = name + (" created" if self.done else "")

    def keys(self) -> None:
        """The signing key, and one look at everything that is live."""
        with self.steps.step("keys") as step:
            made = ownership.make_key(self.target) if ownership.provides(self.target) else None
            if made is not None:
                self.done.append(Change(Action.CREATE, f"signing key {made.key_id[:12]}"))
            self._live = observe.look(self.target)
            trusted = self.live.foundation.trusted_keys
            step.outcome = ("made " if made else "trusting ") + ", ".join(key.key_id[:12] for key in trusted)

    def job(self) -> None:
        """The sync job's definition."""
        with self.steps.step("job") as step:
            changes = planning.job_changes(self.target, self.live)
            if changes:
                self._announce(changes)
                applied = apply.job(self.target, planning.desired_job(self.target, self.live), self.live.job)
                self.target.run.wait_job(applied.name, applied.generation, timeout_s=JOB_TIMEOUT_S)
            if ownership.provides(self.target) and not self.live.foundation.schedule:
                made = ownership.make_schedule(self.target)
                self.done.append(Change(Action.CREATE, f"schedule {made.name}"))
            step.outcome = f"{self.target.job_name} {_verdict(changes)}"

    def models(self, mode: SyncMode) -> None:
        """The trusted version; the sync job runs first where it has to."""
        with self.steps.step("models") as step:
            reason = planning.sync_reason(self.target, self.live, mode)
            if reason:
                self.steps.talk.note(f"syncing: {reason}")
                ran = publication.run_sync(
                    self.target, self.steps.talk.progress, self.live.floor, accept=self.options.accept
                )
                if ran.changed:
                    self.done.append(Change(Action.RUN, f"job {self.target.job_name}", after=ran.execution))
                self._live = observe.look(self.target)
                self.published = replace(ran, version=self.live.version, serial=self.live.serial)
                for warning in publication.warnings(self.target, ran.execution):
                    self.steps.talk.note(warning, warning=True)
            for line in planning.warnings(self.target, self.live):
                self.steps.talk.note(line, warning=True)
            pulled = self.published.upstream_bytes if self.published else 0
            version = self.live.version or "no version yet"
            step.outcome = f"{version}, {size(pulled)} pulled upstream"

    def service(self) -> None:
        """The service: rendered, compared, and applied only when something differs."""
        with self.steps.step("service") as step:
            changes = planning.service_changes(self.target, self.live)
            body = planning.desired_service(self.target, self.live)
            if changes and all(change.action is Action.RUN for change in changes):
                body = planning.next_attempt(body)
            if changes:
                self._announce(changes)
                self._state = apply.service(self.target, body, self.live.service)
            else:
                self._state = self.live.service
            step.outcome = f"{self.target.name} {_verdict(changes)}"

    def ready(self) -> None:
        """Wait for the revision; when it fails, its last words are part of the error."""
        with self.steps.step("ready") as step:
            self._state = readiness.await_ready(self.target, self.state.generation, self.steps.talk.progress)
            step.outcome = f"revision {self.state.latest_ready_revision}"

    def verify(self) -> None:
        """Ask the service through its front, and read each instance's decision from the logs."""
        with self.steps.step("verify") as step:
            revision = self.state.latest_ready_revision
            try:
                told = probe.check_all(self.target, self.state.url, self.steps.talk.progress)
            except OpsError as error:
                words = "\n".join([error.message, *readiness.last_words(self.target, revision)])
                raise type(error)(words, error.remedy) from error
            self.steps.talk.progress("reading the instances' decisions from the logs")
            count = max(1, self.target.service.min_instances)
            self.found = tuple(instances.await_instances(self.target, revision, count))
            hits = sum(instance.cache_hit for instance in self.found)
            step.outcome = f"{told}; {hits} of {len(self.found)} instances on a hit"

    def report(self) -> Report:
        """The result, once everything went well."""
        pulled = self.published.upstream_bytes if self.published else 0
        return Report(
            environment=self.settings.environment,
            service=self.target.name,
            url=self.state.url,
            revision=self.state.latest_ready_revision,
            manifest_version=self.live.version,
            changed=bool(self.done),
            upstream_bytes=pulled + sum(item.upstream_bytes for item in self.found),
            instances=self.found,
            steps=tuple(self.steps.taken),
        )

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lease, and leave an audit record of what was changed, however it ends."""
        name, what = self.target.lease_name, f"{self.command} {self.target.name} on {self.settings.environment}"
        with ownership.exclusive(self.target, name, what, self._waiting) as held:
            self._lease = held
            try:
                yield
            except BaseException as error:
                with contextlib.suppress(OpsError):
                    self._record("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", error)
                raise
            if self.done:
                self._record("changed", None)

    def _record(self, outcome: str, error: BaseException | None) -> None:
        details: dict[str, Any] = {
            "service": self.target.name,
            "manifest_version": self._live.version if self._live else "",
            "revision": self._state.latest_created_revision if self._state else "",
            "steps": self.steps.as_json(),
        }
        if error is not None:
            details["error"] = error.message if isinstance(error, OpsError) else repr(error)
            details["failed_step"] = self.steps.taken[-1].name
        audit.record(
            self.target.bucket,
            command=self.command,
            environment=self.settings.environment,
            plan=Plan(f"{self.command} {self.target.name}", tuple(self.done)),
            outcome=outcome,
            started_at=self.started_at,
            details=details,
        )

    def _announce(self, changes: Sequence[Change]) -> None:
        """Before a write: the lease must still be ours, and people see what comes."""
        if self._lease is not None:
            self._lease.check()
        self.done.extend(changes)
        for change in changes[:SHOWN_CHANGES]:
            self.steps.talk.note(change.line())
        if len(changes) > SHOWN_CHANGES:
            self.steps.talk.note(f"… and {len(changes) - SHOWN_CHANGES} more")

    def _waiting(self, holder: Holder) -> None:
        until = holder.expires_at[11:19]
        self.steps.talk.note(f"waiting for {holder.owner} ({holder.purpose}), whose lease lasts until {until} UTC")


def _verdict(changes: Sequence[Change]) -> str:
    if not changes:
        return "is up to date"
    return "created" if changes[0].action is Action.CREATE and not changes[0].path else "changed"

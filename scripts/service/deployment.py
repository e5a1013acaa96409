"""A deploy under way, as a row of steps; deploy.py has them in their order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from scripts import audit
from scripts.cloud import connect
from scripts.cloud.instances import Instance
from scripts.cloud.run import ServiceState
from scripts.errors import Conflict, GateFailed, OpsError
from scripts.lease import Holder, Lease
from scripts.plan import Action, Change, Plan
from scripts.service import (
    apply,
    changing,
    hooks,
    instances,
    observe,
    ownership,
    planning,
    preflight,
    probe,
    publication,
    readiness,
    routing,
    shift,
    target,
    validation,
    watch,
)
from scripts.service.observe import Live
from scripts.service.planning import SyncMode
from scripts.service.preflight import Options, Outlook
from scripts.service.publication import Published
from scripts.service.report import Report
from scripts.service.rollout import Way
from scripts.service.steps import Steps
from scripts.service.target import Target
from scripts.settings.model import Settings
from scripts.units import size

JOB_TIMEOUT_S = 120.0
SHOWN_CHANGES = 20

Agree = Callable[[Plan], None]


@dataclass
class Deployment:
    """A deploy under way: what it reached, what it saw last, what it changed."""

    settings: Settings
    options: Options
    steps: Steps
    command: str = "deploy"
    agree: Agree = lambda plan: None
    done: list[Change] = field(default_factory=list)
    published: Published | None = None
    found: tuple[Instance, ...] = ()
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _reached: Target | None = None
    _target: Target | None = None
    _live: Live | None = None
    _state: ServiceState | None = None
    _lease: Lease | None = None
    _outlook: Outlook | None = None
    _way: Way | None = None
    _given: int = 0

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
            self._reached = target.ensure(self.settings, self.options.service, self.steps.talk.progress)
            self._target = self._reached
            step.outcome = self.target.cloud.name
            caution = connect.caution(self.target.cloud)
        if caution:
            self.steps.talk.note(caution, warning=True)

    def plan(self) -> None:
        """The image's digest, everything that is live, and what is to be done about it: agreed to before it begins."""
        with self.steps.step("plan") as step:
            self._target = preflight.with_digest(self.target, self.options)
            self._outlook = found = preflight.outlook(self.target, self.options)
            if self.command == "deploy":
                preflight.validate(self.target, found, self.steps.talk)
            step.outcome = found.plan.count if found.plan.changes else "nothing to change"
        preflight.tell(self.target, self.options, found, self.steps.talk)
        if not found.plan.empty and self.command == "deploy":
            self.agree(found.plan)
            hooks.run(self.target, "before_deploy", self.steps, self.command, found.plan)

    def bucket(self) -> None:
        """The bucket, where Terraform does not own it."""
        with self.steps.step("bucket") as step:
            name = self.settings.cache.bucket
            if ownership.provides(self.target) and ownership.make_bucket(self.target):
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
        self._still_agreed()

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
        """The service: rendered, compared, and applied only when something differs; what serves keeps its traffic."""
        with self.steps.step("service") as step:
            changes = planning.service_changes(self.target, self.live)
            self._way = way = preflight.way_of(self.target, self.live, self.options, changes)
            if way is not None:
                self._announce(changes)
                try:
                    self._state = apply.service(self.target, way.body, self.live.service)
                except Conflict as error:
                    before = self.live.service.generation if self.live.service else 0
                    raise shift.explained(self.target, self._now(), before, error) from error
            else:
                self._state = self.live.service
            step.outcome = f"{self.target.name} {_verdict(changes)}"

    def ready(self) -> None:
        """Wait for the revision; when it fails, its last words are part of the error."""
        with self.steps.step("ready") as step:
            if self._way is None and self.state.routed:
                step.outcome = f"revision {self.revision}"
                return
            self._state = readiness.await_ready(self.target, self.state.generation, self.steps.talk.progress)
            step.outcome = f"revision {self.revision}"

    def verify(self) -> None:
        """Ask the revision, a new one at a URL of its own, and read each instance's decision from the logs."""
        with self.steps.step("verify") as step:
            url = (routing.tag_url(self.state) if self._way and self._way.base else "") or self.state.url
            told = probe.check_all(self.target, url, self.steps.talk.progress, self.state.url)
            self.steps.talk.progress("reading the instances' decisions from the logs")
            self.found = tuple(instances.await_instances(self.target, self.revision, self._expected()))
            self._check_hits()
            hits = sum(instance.cache_hit for instance in self.found)
            step.outcome = f"{told}; {hits} of {len(self.found)} instances on a hit"

    def traffic(self) -> None:
        """Share by share, each watched; the last one is the whole, as the environment file wants it."""
        with self.steps.step("traffic") as step:
            way, talk = self._way, self.steps.talk
            if way is None or not way.base:
                step.outcome = routing.told(routing.serving(self.state))
                return
            for share in way.steps(self.revision):
                self._check_lease()
                since = datetime.now(UTC)
                last = share == routing.WHOLE
                lines = way.end if last else routing.lines(way.base, share)
                self._given = share
                self._state = shift.move(self.target, self.state, lines, talk.progress, way.released if last else {})
                seen = watch.gate(self.target, self.revision, since, talk.progress, self._check_lease)
                self.found = tuple(instances.of_revision(self.target, self.revision)) or self.found
                self._check_hits()
                talk.note(f"{share} % of the traffic: {seen.line()}")
            step.outcome = routing.told(routing.serving(self.state))

    @contextlib.contextmanager
    def protected(self) -> Iterator[None]:
        """Put the traffic back where it was when the new revision fails; another one's change is left alone."""
        try:
            yield
        except Conflict as error:
            raise self._left(error) from error
        except OpsError as error:
            raise self._failure(error) from error
        except BaseException:
            if self._given:
                self._retreat()
            raise

    def report(self) -> Report:
        """The result, once everything went well."""
        pulled = self.published.upstream_bytes if self.published else 0
        return Report(
            environment=self.settings.environment,
            service=self.target.name,
            url=self.state.url,
            revision=self.revision,
            manifest_version=self.live.version,
            changed=bool(self.done),
            upstream_bytes=pulled + sum(item.upstream_bytes for item in self.found),
            image=self._image(),
            previous_revision=self._way.previous if self._way else "",
            instances=self.found,
            steps=tuple(self.steps.taken),
        )

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lease, and leave an audit record of what was changed, however it ends."""
        name, what = (
            self.target.lease_name,
            f"{self.command} {self.target.name} on {self.settings.environment} by {audit.actor()}",
        )
        with ownership.exclusive(self.target, name, what, self._waiting, self.options.wait_s) as held:
            self._lease = held
            try:
                yield
            except BaseException as error:
                self._record(changing.outcome(error, "rolled back"), error)
                if isinstance(error, OpsError) and self.command == "deploy":
                    self._tell_hooks(error)
                raise
            if self.done:
                self._record("changed", None)
                if self.command == "deploy":
                    hooks.run(self.target, "after_deploy", self.steps, self.command, self._done(), self._details())

    @property
    def revision(self) -> str:
        """The revision that this deploy is about: the newest, or the one that serves while nothing changes."""
        if self._way is None and (pinned := routing.overtaken(self.state)):
            return pinned
        return self.state.latest_ready_revision

    def _image(self) -> str:
        """The image of the revision: where a rollback holds an earlier one, that is not the file's."""
        if self._way is None and self.revision != self.state.latest_created_revision:
            found = self.target.run.get_revision(self.revision)
            return validation.image_of(found) if found is not None else ""
        return self.target.service.image

    def _now(self) -> ServiceState | None:
        return self.target.run.get_service(self.target.name)

    def _expected(self) -> int:
        """How many instances tell their decision: of a revision that was there already those that run, for one without
        traffic gets no more because of a tag."""
        if self._way is None or self._way.fresh:
            return max(1, self.target.service.min_instances)
        running = self.target.cloud.instances_by_revision(self.target.name) or {}
        return max(1, len(running.get(self.revision, ())))

    def _check_hits(self) -> None:
        """A new revision starts from the cache where the bucket has what it wants. Raises OpsError."""
        if self._way is not None and self.settings.cache.enabled and self.live.models.decision.hit:
            instances.check_hits(self.target, self.revision, self.found)

    def _check_lease(self) -> None:
        if self._lease is not None:
            self._lease.check()

    def _still_agreed(self) -> None:
        """Under the lease: what is to be done may have changed while somebody else was at work."""
        before = self._outlook.live.service if self._outlook else None
        now = self.live.service
        if self.command != "deploy" or (before and before.generation) == (now and now.generation):
            return
        assert self._reached is not None, "cloud() comes first"
        self._target = preflight.with_digest(self._reached, self.options)  # a promotion may have ended meanwhile
        found = preflight.decided(self.target, self.live, self.options)
        self.steps.talk.note("somebody else changed the service meanwhile: decided anew", warning=True)
        preflight.tell(self.target, self.options, found, self.steps.talk)
        if not found.plan.empty:
            self.agree(found.plan)

    def _retreat(self) -> str:
        """Traffic as it was before, and no tag; what to say of it, also when it could not be done."""
        if self._way is None or not self._way.base:
            return ""
        told, moved = shift.put_back(self.target, self._way.base, self.steps.talk.progress, self._way.kept)
        if moved is not None:
            self._state, self._given = moved, 0
        return told

    def _failure(self, error: OpsError) -> OpsError:
        """What failed, the revision's last words, and where the traffic is now."""
        failed = self.steps.taken[-1].name
        words = readiness.last_words(self.target, self.state.latest_created_revision) if failed != "ready" else []
        told = self._retreat()
        gate = failed != "ready" and type(error) in (OpsError, GateFailed)
        kind = GateFailed if told and not self._given and gate else type(error)
        return kind("\n".join([f"{failed}: {error.message}", *words, *([told] if told else [])]), error.remedy)

    def _left(self, error: Conflict) -> Conflict:
        """Somebody else is at work, so nothing is put back: where the traffic is then."""
        now = None
        with contextlib.suppress(OpsError):
            now = self._now()
        return shift.left(error, now) if now is not None and self._way is not None and self._way.base else error

    def _done(self) -> Plan:
        return Plan(f"{self.command} {self.target.name}", tuple(self.done))

    def _details(self) -> dict[str, Any]:
        return {
            "service": self.target.name,
            "image": self.target.service.image,
            "manifest_version": self._live.version if self._live else "",
            "revision": self._state.latest_created_revision if self._state else "",
            "previous_revision": self._way.previous if self._way else "",
            "steps": self.steps.as_json(),
        }

    def _record(self, outcome: str, error: BaseException | None) -> None:
        details = self._details()
        if error is not None:
            details["error"] = changing.told(error)
            details["failed_step"] = self.steps.taken[-1].name
        with changing.written(self.steps.talk):
            audit.record(
                self.target.bucket,
                command=self.command,
                environment=self.settings.environment,
                plan=self._done(),
                outcome=outcome,
                started_at=self.started_at,
                details=details,
            )

    def _tell_hooks(self, error: OpsError) -> None:
        result = {**self._details(), "error": error.message, "failed_step": self.steps.taken[-1].name}
        hooks.run(self.target, "on_failure", self.steps, self.command, self._done(), result)
        if isinstance(error, GateFailed):
            hooks.run(self.target, "on_rollback", self.steps, self.command, self._done(), result)

    def _announce(self, changes: Sequence[Change]) -> None:
        """Before a write: the lease must still be ours, and people see what comes."""
        self._check_lease()
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

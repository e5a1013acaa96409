"""Promote: what one environment validated serves in another: the same image digest, the same manifest, signed anew.

    gates → copy and commit the models → deploy the image by digest → the target must serve both → the image stays

The source must be healthy, the version old enough there, and the last load test passed for exactly the revision, the
digest and the version that are live. Typed again after it died, it goes on where it stopped. Where the target does not
become healthy, the version that was active before becomes it again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import Any

from scripts import lease
from scripts.errors import BadInput, Conflict, GateFailed, NotFound, OpsError, Refused
from scripts.models import gate, promotion, publish, shelf, statements
from scripts.models.gate import Decision
from scripts.models.promotion import Promotion
from scripts.models.publish import Publisher
from scripts.models.statements import Reading, Statement, Trusted
from scripts.plan import Plan
from scripts.service import (
    cache,
    changing,
    deploy,
    instances,
    journal,
    observe,
    ownership,
    planning,
    promoted,
    routing,
    shift,
    target,
    validation,
)
from scripts.service.observe import Live
from scripts.service.preflight import Options
from scripts.service.steps import Steps, Talk
from scripts.service.target import Target
from scripts.service.upkeep import Done, Work
from scripts.service.validation import Source
from scripts.settings import load
from scripts.settings.model import Settings


@dataclass(frozen=True)
class Promoting:
    """Everything that was decided: what the source serves, the models' part, and the target's service and job."""

    source: Source
    load_test: str
    models: Promotion
    live: Live
    plan: Plan


def check_names(source: str, to: str) -> None:
    """Raise BadInput unless both environments are named: neither has a default."""
    for option, name in (("--from", source), ("--to", to)):
        if not name:
            text = f"{option}: found nothing, expected an environment; there are: {', '.join(load.environments())}"
            raise BadInput(text, "For example: ./dev invoke promote --from staging --to prod")


def with_image(settings: Settings, key: str, image: str) -> Settings:
    """The settings with another image for one service, and for the job that runs it."""
    service = settings.service(key).model_copy(update={"image": image})
    return settings.model_copy(update={"services": {**settings.services, key: service}})


class Promote(Work):
    """`invoke promote`; settings are the target's."""

    def __init__(self, source: Settings, settings: Settings, service: str, min_age: str) -> None:
        super().__init__(settings, service)
        if source.environment == settings.environment:
            text = f"--from, --to: found {settings.environment} twice, expected two environments"
            raise BadInput(text, "For example: --from staging --to prod")
        self._min_age = journal.span(min_age, "--min-age")
        self._source_settings = source

    @cached_property
    def source(self) -> Target:
        return target.reach(self._source_settings, self._service)

    @cached_property
    def todo(self) -> Promoting:
        return decide(self.source, self.target, self._min_age)

    @property
    def plan(self) -> Plan:
        return self.todo.plan

    def carry_out(self, talk: Talk) -> Done:
        """Do it. Raises what its steps raise, GateFailed when the target did not become healthy (see the module)."""
        steps, todo = Steps(talk), self.todo
        revision = standing_revision(self.todo.live)
        if not todo.plan.empty:
            revision = _carry_out(self.source, self.target, todo, steps)
        version = todo.source.models.trusted.version
        fields = (
            ("image", todo.source.image),
            ("models", f"{version}, manifest sha256 {todo.source.models.trusted.manifest_sha256}"),
            ("revision", revision),
            ("validated by", todo.load_test),
        )
        names = (self.source.environment, self.target.environment)
        result = {
            "from": names[0], "to": names[1], "service": self.target.name, "image": todo.source.image,
            "manifest_version": version, "manifest_sha256": todo.source.models.trusted.manifest_sha256,
            "revision": revision, "load_test": todo.load_test, "changed": not todo.plan.empty, "steps": steps.as_json(),
        }  # fmt: skip
        what = "promoted" if result["changed"] else "nothing to change"
        return Done(f"{self.target.name} from {names[0]} to {names[1]}: {what}", fields, result)


def standing_revision(live: Live) -> str:
    """The revision that is ready in the target, or empty."""
    return live.service.latest_ready_revision if live.service is not None else ""


def decide(source: Target, to: Target, min_age: timedelta, talk: Talk | None = None) -> Promoting:
    """Check every gate and decide what the target lacks; nothing is changed. Raises Refused with the gate's remedy."""
    from scripts.service.steps import SILENT

    found = validation.look(source)
    load_test = validation.check(source, found, min_age, talk or SILENT)
    live = observe.look(to)
    ownership.check(to, live.foundation)
    content = found.models.trusted.manifest
    if not gate.models_equal(content, to.settings.specs):
        names = ", ".join(model.name for model in content.models)
        text = f"{source.environment} serves other models ({names}) than environments/{to.environment}.yaml asks for"
        raise Refused(text, f"Write the same models into environments/{to.environment}.yaml.")
    if to.settings.cache.version not in ("", content.version):
        text = f"environments/{to.environment}.yaml pins cache.version {to.settings.cache.version}"
        raise Refused(text, f"Empty cache.version in environments/{to.environment}.yaml, or pin {content.version}.")
    models = _models(found, to, live)
    return Promoting(found, load_test, models, live, _plan(source, to, found, models, live))


def _models(found: Source, to: Target, live: Live) -> Promotion:
    try:
        return promotion.prepare(found.models, to.bucket, live.foundation.trusted_keys, floor=live.floor)
    except Refused as error:
        raise type(error)(error.message, to.advice(error.remedy)) from error


def _plan(source: Target, to: Target, found: Source, models: Promotion, live: Live) -> Plan:
    wanted = replace(to, settings=with_image(to.settings, to.key, found.image))
    after = replace(live, models=replace(live.models, **_promoted(found, models)))
    plan = Plan(f"promote {to.name} from {source.environment} to {to.environment}", models.plan().changes)
    lacking = ownership.missing(to, live.foundation)
    ahead = plan if not lacking else Plan(plan.title, (*lacking, *plan.changes))
    own = (*planning.job_changes(wanted, after), *planning.service_changes(wanted, after))
    return ahead.extended((*own, *promoted.changes(to, live.service, found.image)))


def _promoted(found: Source, models: Promotion) -> dict[str, Any]:
    """What the target's bucket will say."""
    trusted = found.models.trusted
    serial = models.serial if models.commits or models.active is None else models.active.serial
    told = replace(trusted, serial=serial)
    return {"reading": Reading(told), "decision": Decision(True, "match", trusted.version, serial)}


def _carry_out(source: Target, to: Target, todo: Promoting, steps: Steps) -> str:
    details: dict[str, Any] = {
        "from": source.environment, "source_revision": todo.source.revision, "image_digest": todo.source.digest,
        "manifest_version": todo.models.version, "load_test": todo.load_test,
    }  # fmt: skip
    if ownership.provides(to):
        ownership.make_bucket(to)
        ownership.make_key(to)
    with _alone(to), changing.noted(to, "promote", todo.plan, steps, details):
        with steps.step("models") as step:
            active = _publish(source, to, todo, steps)
            step.outcome = f"{todo.models.version} " + (f"active as serial {active.serial}" if active else "is active")
        try:
            report = deploy.deploy(
                with_image(to.settings, to.key, todo.source.image), Options(to.key, "never"), steps.talk
            )
            details["revision"] = report.revision
            with steps.step("gate") as step:
                step.outcome = _check_target(to, todo.source, report.revision)
        except OpsError as error:
            told = _restore(to, todo, active, steps, error)
            if not told:
                raise
            text = f"{to.environment} did not become healthy; as before: {', '.join(told)}"
            raise GateFailed(f"{text}\n{error.message}", error.remedy) from error
        with steps.step("keep") as step, _alone(to, to.lease_name):
            _check_whole(to, report.revision)
            promoted.keep(to, todo.source.image, steps.talk)
            step.outcome = "the next deploy keeps this image"
    return report.revision


def _restore(to: Target, todo: Promoting, active: Trusted | None, steps: Steps, error: OpsError) -> list[str]:
    """Bring the target back to what served before the promotion; what was brought back. Traffic that somebody else
    changed meanwhile (Conflict) is left alone. Raises OpsError when the traffic cannot be brought back."""
    told = []
    if active is not None and todo.models.active is not None:
        told.append(f"models {_withdraw(to, todo.models.active, steps).version}")
    before, now = todo.live.service, to.run.get_service(to.name)
    shares = routing.serving(before) if before is not None else {}
    if before is None or now is None or not shares or shares == routing.serving(now) or isinstance(error, Conflict):
        return told
    notes = {name: before.annotations.get(name) for name in (routing.HELD, promoted.NOTE)}
    with steps.step("traffic") as step, _alone(to, to.lease_name):
        step.outcome, moved = shift.put_back(to, shares, steps.talk.progress, notes)
        if moved is None:
            raise OpsError("\n".join([error.message, step.outcome, *told]), error.remedy)
    return [*told, f"traffic on {routing.told(shares)}"]


def _check_whole(to: Target, revision: str) -> None:
    """Raise Conflict when what was promoted has lost traffic since it was checked."""
    now = to.run.get_service(to.name)
    if now is None or now.percent(revision) != routing.WHOLE:
        shares = routing.told(routing.serving(now)) if now is not None else "it is gone"
        text = f"revision {revision} of {to.name} does not serve any more: somebody changed the service: {shares}"
        raise Conflict(text, shift.AGAIN)


@contextlib.contextmanager
def _alone(to: Target, name: str = "") -> Iterator[None]:
    """Keep other promotions of this service out, or who wants the lease of that name."""
    with ownership.exclusive(to, name or f"promote-{to.name}", f"promote {to.name} to {to.environment}"):
        yield


def _publish(source: Target, to: Target, todo: Promoting, steps: Steps) -> Trusted | None:
    """The models' part, under the target's publication lease. Raises Conflict when either side changed meanwhile."""
    if todo.models.plan().empty:
        return None
    signer = cache.signer(to)
    keys = ownership.trusted_keys(to)

    def settled() -> None:
        fresh = validation.look(source)
        if fresh.identity != todo.source.identity:
            was, now = todo.source.identity, fresh.identity
            text = f"{source.environment} changed while it was promoted: {now} is live, {was} was validated"
            raise Conflict(text, "Run the same command again: it checks its gates anew.")

    purpose = f"promote {todo.models.version} from {source.environment}"
    with lease.hold(to.bucket, shelf.LEASE, purpose, ttl_s=cache.TTL_S, wait_s=cache.WAIT_S) as held:
        fresh = _models(todo.source, to, observe.look(to))
        if (fresh.active, fresh.commits) != (todo.models.active, todo.models.commits):
            text = f"the active version of {to.environment} changed while this was decided; nothing was done"
            raise Conflict(text, "Run the same command again: it looks anew, and shows its plan.")
        publisher = Publisher(to.bucket, signer, keys, held, fresh.serial)
        return promotion.carry_out(
            publisher, fresh, f"promoted from {source.environment}", settled, steps.talk.progress
        )


def _check_target(to: Target, source: Source, revision: str) -> str:
    """The target must serve the same digest and version. Raises OpsError."""
    found = to.run.get_revision(revision)
    digest = validation.image_of(found).rpartition("@")[2] if found is not None else ""
    if digest != source.digest:
        text = f"revision {revision} runs image {digest or 'without a digest'}, expected {source.digest}"
        raise OpsError(text, f"Run: ./dev invoke status --env {to.environment}")
    version = source.models.trusted.version
    seen = instances.await_instances(to, revision, max(1, to.service.min_instances))
    wrong = [item for item in seen if item.version != version or not item.cache_hit]
    if wrong:
        names = ", ".join(f"{item.id[:12]} ({item.version or 'none'}, {item.reason})" for item in wrong[:3])
        text = f"{len(wrong)} of {len(seen)} instances do not serve {version} from the cache: {names}"
        raise OpsError(text, f"Run: ./dev invoke logs --env {to.environment} --severity WARNING")
    return f"{len(seen)} of {len(seen)} instances serve {version} with {digest[:19]}"


def _withdraw(to: Target, before: Statement, steps: Steps) -> Trusted:
    """Make the version active again that was it before. Raises what the bucket raises."""
    keys, signer = ownership.trusted_keys(to), cache.signer(to)
    with (
        steps.step("withdraw") as step,
        lease.hold(to.bucket, shelf.LEASE, "withdraw a promotion", ttl_s=cache.TTL_S, wait_s=cache.WAIT_S) as held,
    ):
        content = statements.open_manifest(to.bucket, before)
        if isinstance(content, statements.Problem):
            raise NotFound(f"{before.version} cannot be made active again: {content.line()}", content.remedy)
        publisher = Publisher(to.bucket, signer, keys, held, publish.next_serial(to.bucket))
        trusted = publish.commit(publisher, content, "a promotion failed its checks")
        step.outcome = f"{trusted.version} active as serial {trusted.serial}"
    return trusted

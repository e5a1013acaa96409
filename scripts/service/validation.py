"""What makes a version and an image fit to be promoted: how the source serves them, since when, and its load test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from scripts import audit
from scripts.cloud.instances import Instance
from scripts.cloud.run import Revision, ServiceState
from scripts.errors import OpsError, Refused
from scripts.models import promotion
from scripts.models.promotion import Verified
from scripts.service import instances, observe, ownership, probe, routing
from scripts.service.steps import Talk
from scripts.service.target import Target
from scripts.units import age

LOADTEST = "loadtest"
RECORDS = 200


@dataclass(frozen=True)
class Source:
    """What the source environment serves: its revision, the image by digest, and the verified version."""

    state: ServiceState
    revision: str
    image: str
    models: Verified

    @property
    def digest(self) -> str:
        """sha256:… of the image."""
        return self.image.rpartition("@")[2]

    @property
    def identity(self) -> tuple[str, str, str, int]:
        """What must not change while it is promoted."""
        trusted = self.models.trusted
        return self.revision, self.digest, trusted.version, trusted.serial


def look(target: Target) -> Source:
    """What the source serves now. Raises NotFound without a service, Refused where it is not one verified whole."""
    state, env = observe.service(target), target.environment
    shares = routing.serving(state)
    revision = routing.most(shares)
    if state.percent(revision) != 100:
        text = f"the traffic of {target.name} in {env} is split ({routing.told(shares)}): nothing to promote as a whole"
        raise Refused(text, f"Run: ./dev invoke deploy --env {env}")
    found = target.run.get_revision(revision)
    image = image_of(found) if found is not None else ""
    if not image:
        text = f"the image of {revision} in {env} has no digest yet: the revision is not ready"
        raise Refused(text, f"Run: ./dev invoke status --env {env}")
    pinned = target.settings.cache.version
    keys = ownership.trusted_keys(target)
    try:
        models = promotion.verify(target.bucket, keys, floor=observe.floor(target, state), pinned_version=pinned)
    except Refused as error:
        raise type(error)(error.message, target.advice(error.remedy)) from error
    return Source(state, revision, image, models)


def image_of(revision: Revision) -> str:
    """The revision's image as REPOSITORY@sha256:…; empty while the platform does not tell its digest."""
    digest = str(revision.body.get("status", {}).get("imageDigest") or "").rpartition("@")[2]
    containers = revision.body.get("spec", {}).get("containers") or [{}]
    name = str(containers[0].get("image", "")).partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}@{digest}" if digest else ""


def check(target: Target, source: Source, min_age: timedelta, talk: Talk) -> str:
    """Every gate before a promotion; the object name of the load test's record.

    Raises Refused when the version is too young or what is live is not what the last load test validated, OpsError when
    the source does not answer its checks or an instance serves something else.
    """
    began = datetime.fromisoformat(source.models.trusted.statement.created_at)
    if datetime.now(UTC) - began < min_age:
        hours = min_age.total_seconds() / 3600
        text = f"{source.models.trusted.version} is active in {target.environment} for {age(began.isoformat())} only"
        raise Refused(f"{text}, expected {hours:g} h", "Wait, or say what is enough: --min-age 10m")
    record = _load_test(target, source)
    told = probe.check_all(target, source.state.url, talk.progress)
    wrong = [item for item in instances.of_revision(target, source.revision) if not _serves(item, source)]
    if wrong:
        names = ", ".join(f"{item.id[:12]} ({item.version or 'none'}, {item.reason})" for item in wrong[:3])
        text = f"instances in {target.environment} do not serve {source.models.trusted.version} from the cache: {names}"
        raise OpsError(text, f"Run: ./dev invoke status --env {target.environment}")
    talk.progress(told)
    return record


def _serves(item: Instance, source: Source) -> bool:
    return item.cache_hit and item.version == source.models.trusted.version


def _load_test(target: Target, source: Source) -> str:
    """The newest load test of the service: it must have passed, for exactly what is live. Raises Refused."""
    remedy = f"Run: ./dev invoke {LOADTEST} --env {target.environment}"
    records = (each for each in audit.latest(target.bucket, RECORDS) if each.get("command") == LOADTEST)
    newest = next((each for each in records if _details(each).get("service") in (None, target.name)), None)
    if newest is None:
        raise Refused(f"{target.name} was never load-tested in {target.environment}", remedy)
    details, name = _details(newest), str(newest["name"])
    if details.get("passed") is not True:
        raise Refused(f"the last load test of {target.name} in {target.environment} failed ({name})", remedy)
    tested = str(details.get("image_digest") or details.get("digest") or "").rpartition("@")[2]
    live = {
        "image": (tested, source.digest),
        "models": (details.get("manifest_version"), source.models.trusted.version),
        "revision": (details.get("revision") or source.revision, source.revision),
    }
    drifted = [
        f"{what} {now} is live, {then or 'none'} was tested" for what, (then, now) in live.items() if then != now
    ]
    if drifted:
        text = f"{target.environment} is not what its load test validated ({name}): {'; '.join(drifted)}"
        raise Refused(text, remedy)
    return name


def _details(record: Mapping[str, Any]) -> Mapping[str, Any]:
    found = record.get("details")
    return found if isinstance(found, Mapping) else {}

"""What must exist before a deploy, and who makes it: Terraform, or the command itself where provision is `self`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from scripts import lease
from scripts.cloud.scheduler import Schedule
from scripts.errors import Refused
from scripts.lease import Holder, Lease
from scripts.models import signing
from scripts.plan import Action, Change
from scripts.service.target import Target
from scripts.settings import keys
from scripts.settings.types import TrustedKey

LEASE_TTL_S = 12.0
# Longer than a lease lives: one that a killed command left behind is waited out, one that is renewed is refused.
LEASE_WAIT_S = 15.0


@dataclass(frozen=True)
class Foundation:
    """What is there of the things that a deploy builds on.

    signing: whether this environment can sign at all. schedule is only asked for where a deploy makes it.
    """

    bucket: bool
    job: bool
    service: bool
    schedule: bool
    signing: bool
    trusted_keys: tuple[TrustedKey, ...]


def trusted_keys(target: Target) -> tuple[TrustedKey, ...]:
    """The public keys that exist."""
    return keys.trust(target.settings).keys


def can_sign(target: Target) -> bool:
    """Whether the environment names a signing key; of a key in a file, whether the file exists."""
    kind, _, place = target.settings.signing_key.partition(":")
    return Path(place).is_file() if kind == "file" else bool(kind)


def provides(target: Target) -> bool:
    """Whether commands may create what Terraform owns elsewhere."""
    return target.settings.provision == "self"


def missing(target: Target, found: Foundation) -> list[Change]:
    """What has to be created before anything can be deployed, in order."""
    names = [
        (found.bucket, f"bucket {target.settings.cache.bucket}"),
        (found.signing and bool(found.trusted_keys), f"signing key {target.settings.signing.key or '(none named)'}"),
        (found.job or provides(target), f"job {target.job_name}"),
        (found.service or provides(target), f"service {target.name}"),
        (found.schedule or not provides(target), f"schedule {target.settings.sync.schedule_name}"),
    ]
    return [Change(Action.CREATE, name) for there, name in names if not there]


def check(target: Target, found: Foundation) -> None:
    """Refuse to go on when Terraform's part is missing, naming each thing and the way to get it."""
    lacking = missing(target, found)
    if lacking and not provides(target):
        names = ", ".join(change.target for change in lacking)
        text = f"environment {target.environment} is not provisioned on {target.cloud.name}: missing {names}"
        raise Refused(text, target.cloud.provisioning(target.environment))


def make_bucket(target: Target) -> bool:
    """Create the bucket; True when it was not there."""
    return target.bucket.create(target.settings.region, labels(target))


def make_key(target: Target) -> TrustedKey | None:
    """Make the signing key of a `file:` URI when it is not there; None when there was nothing to make."""
    kind, _, place = target.settings.signing_key.partition(":")
    if kind != "file" or (can_sign(target) and trusted_keys(target)):
        return None
    return signing.make_key(Path(place).parent)


def make_schedule(target: Target) -> Schedule:
    """Create the nightly schedule, paused unless the settings enable it; one that exists stays as it is."""
    sync = target.settings.sync
    place = f"projects/{target.settings.project}/locations/{target.settings.region}"
    return target.cloud.scheduler().apply(
        sync.schedule_name,
        cron=sync.schedule,
        time_zone=sync.time_zone,
        uri=f"https://run.googleapis.com/v2/{place}/jobs/{target.job_name}:run",
        paused=not sync.schedule_enabled,
        account=sync.service_account,
    )


def exclusive(
    target: Target, name: str, purpose: str, on_wait: Callable[[Holder], None] | None = None,
    wait_s: float | None = None,
) -> AbstractContextManager[Lease]:  # fmt: skip
    """Hold a lease in the environment's bucket. Raises Refused when a living command keeps it for wait_s."""
    patience_s = LEASE_WAIT_S if wait_s is None else wait_s
    return lease.hold(target.bucket, name, purpose, ttl_s=LEASE_TTL_S, wait_s=patience_s, on_wait=on_wait)


def labels(target: Target) -> dict[str, str]:
    """Labels of what this project creates by itself."""
    return {**target.settings.labels, "env": target.environment, "managed-by": "modelshelf"}

"""Read what is live before deciding: the bucket's trusted version, the job and the service as Cloud Run has them."""

from __future__ import annotations

from dataclasses import dataclass

from scripts.cloud.run import Job, ServiceState
from scripts.errors import NotFound
from scripts.models import gate
from scripts.models.gate import Look
from scripts.models.statements import Reading
from scripts.service import ownership
from scripts.service.ownership import Foundation
from scripts.service.target import Target


@dataclass(frozen=True)
class Live:
    """One look at everything a deploy compares with; models is what the bucket held then for the service's floor."""

    foundation: Foundation
    job: Job | None
    service: ServiceState | None
    floor: int
    models: Look

    @property
    def serial(self) -> int:
        """The serial of the trusted version, 0 without one."""
        return self.models.reading.trusted.serial if self.models.reading.trusted else 0

    @property
    def min_serial(self) -> int:
        """The lowest serial that instances shall accept."""
        return max(self.serial, self.floor)

    @property
    def version(self) -> str:
        """The trusted version, empty without one."""
        return self.models.reading.trusted.version if self.models.reading.trusted else ""


def look(target: Target) -> Live:
    """Read everything. Raises what the clients raise; nothing is changed."""
    there = target.bucket.exists()
    schedule = target.settings.sync.schedule_name
    trusted_keys = ownership.trusted_keys(target)
    job, live = target.run.get_job(target.job_name), target.run.get_service(target.name)
    foundation = Foundation(
        bucket=there,
        job=job is not None,
        service=live is not None,
        schedule=ownership.provides(target) and target.cloud.scheduler().get(schedule) is not None,
        signing=ownership.can_sign(target),
        trusted_keys=trusted_keys,
    )
    lowest = floor(target, live)
    return Live(foundation, job, live, lowest, models(target, lowest) if there else nothing(target))


def service(target: Target) -> ServiceState:
    """The service as it is. Raises NotFound when it does not exist."""
    found = target.run.get_service(target.name)
    if found is None:
        text = f"service {target.name} does not exist in {target.environment} ({target.cloud.name})"
        raise NotFound(text, f"Run: ./dev invoke deploy --env {target.environment}")
    return found


def floor(target: Target, service: ServiceState | None) -> int:
    """The lowest serial that the live service's instances accept: it never sinks by itself, or deleting the newest
    statements would bring an old version back. A pinned version is somebody's own choice and may be older."""
    return 0 if service is None or target.settings.cache.version else service.min_serial


def models(target: Target, min_serial: int = 0) -> Look:
    """What the bucket's statements say is active, and whether it is what the settings want."""
    keys = ownership.trusted_keys(target)
    settings = target.settings
    pinned = settings.cache.version
    return gate.look(target.bucket, settings.specs, keys, min_serial=min_serial, pinned_version=pinned)


def nothing(target: Target) -> Look:
    """What is to be said of a bucket that does not exist."""
    reading = Reading(None)
    return Look(gate.decide(reading, target.settings.specs, None), reading, None, ())

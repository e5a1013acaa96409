"""The start-up gate: may an instance serve from the shared copy, and if not, why.

decide() is pure. verify_files() compares a version's objects with its signed manifest by one listing per store: sizes
and checksums, no model bytes. look() does all of it for a container.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from scripts.errors import SYNC, BadInput
from scripts.models import holds, layout, statements
from scripts.models.glance import glance
from scripts.models.manifest import Manifest, Model
from scripts.models.statements import Problem, Reading, Trusted
from scripts.settings.types import ModelSpec, TrustedKey

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket
    from scripts.cloud.storage_objects import ObjectInfo

Reason = Literal["match", "held", "pinned", "no_trusted_version", "files_missing", "models_differ"]
HITS: tuple[Reason, ...] = ("match", "held", "pinned")
MISSES: tuple[Reason, ...] = ("no_trusted_version", "files_missing", "models_differ")

_PROVE = "Run: ./dev invoke cache.verify --full --env ENVIRONMENT"
# What is listed of a badly damaged version before the rest is only counted.
_NAMED = 10


@dataclass(frozen=True)
class Decision:
    """Hit or miss, why, and the version meant (empty and 0 when there is none)."""

    hit: bool
    reason: Reason
    version: str
    serial: int


@dataclass(frozen=True)
class Look:
    """Everything a container has to know at its start."""

    decision: Decision
    reading: Reading
    hold: holds.Hold | None
    problems: tuple[Problem, ...]


def decide(reading: Reading, specs: Sequence[ModelSpec], hold: holds.Hold | None) -> Decision:
    """Hit when the trusted version has exactly the models of the settings, or a hold or a pinned version says so."""
    trusted = reading.trusted
    if trusted is None:
        damaged = any(problem.kind == "files" for problem in reading.problems)
        return Decision(False, "files_missing" if damaged else "no_trusted_version", "", 0)
    if models_equal(trusted.manifest, specs):
        reason: Reason = "match"
    elif hold is not None:
        reason = "held"
    elif reading.pinned_version:
        reason = "pinned"
    else:
        reason = "models_differ"
    return Decision(reason in HITS, reason, trusted.version, trusted.serial)


def models_equal(manifest: Manifest, specs: Sequence[ModelSpec]) -> bool:
    """Whether a version holds exactly these models: name, kind, source, and the revision where one is set."""
    models = {model.name: model for model in manifest.models}
    return len(models) == len(specs) and all(
        spec.name in models and model_fits(models[spec.name], spec) for spec in specs
    )


def model_fits(model: Model, spec: ModelSpec) -> bool:
    """Whether a published model is the one a spec asks for."""
    same = (model.name, model.kind, model.source) == (spec.name, spec.kind, spec.source)
    return same and (not spec.revision or _bare(model.revision) == _bare(spec.revision))


def _bare(revision: str) -> str:
    return revision.removeprefix("sha256:")


def verify_files(bucket: Bucket, manifest: Manifest) -> tuple[Problem, ...]:
    """compare_files() with what the bucket lists, no bytes read."""
    stores = bucket.list_each(*manifest.stretches())
    return compare_files(manifest, {info.name: info for store in stores for info in store})


def compare_files(manifest: Manifest, found: Mapping[str, ObjectInfo]) -> tuple[Problem, ...]:
    """What differs between a manifest and its objects: missing, other size or crc32c, or not in the manifest."""
    expected = manifest.objects()
    faults: list[tuple[str, str]] = []
    for name, file in expected.items():
        info = found.get(name)
        if info is None:
            faults.append((name, "is missing"))
        elif info.size_bytes != file.size_bytes:
            faults.append((name, f"has {info.size_bytes} bytes, expected {file.size_bytes}"))
        elif info.crc32c != file.crc32c:
            faults.append((name, f"has the crc32c {info.crc32c}, expected {file.crc32c}: swapped or damaged"))
    for name, info in found.items():
        # A mount that may write leaves empty folder marks; they hold nothing that anybody could load.
        if name not in expected and not (name.endswith("/") and info.size_bytes == 0):
            faults.append((name, "is not in the manifest: put there by somebody else"))
    problems = [Problem(name, what, SYNC, "files") for name, what in faults[:_NAMED]]
    if len(faults) > _NAMED:
        what = f"{len(faults) - _NAMED} more files do not fit the manifest"
        problems.append(Problem(layout.manifest_name(manifest.version), what, SYNC, "files"))
    return tuple(problems)


def read(
    bucket: Bucket, keys: Sequence[TrustedKey], *, min_serial: int = 0, pinned_version: str = "",
    rejected: Collection[str] = (),
) -> Reading:  # fmt: skip
    """The version that is active, with every file compared: one with a missing or swapped file does not serve.

    rejected: versions of which the reader knows by itself that they must not serve (their bytes are others).
    By the short way (glance) where everything agrees, else by statements.read_trusted, which tells what does not.
    """
    short = glance(bucket, keys, min_serial=min_serial, pinned_version=pinned_version)
    if short is not None and short[0].version not in rejected and not compare_files(short[0].manifest, short[1]):
        return Reading(short[0], (), pinned_version)

    def check(trusted: Trusted) -> Iterable[Problem]:
        if trusted.version in rejected:
            what = f"version {trusted.version} has bytes that were not signed"
            return [Problem(layout.manifest_name(trusted.version), what, _PROVE, "files")]
        return verify_files(bucket, trusted.manifest)

    return statements.read_trusted(bucket, keys, min_serial=min_serial, pinned_version=pinned_version, check=check)


def look(
    bucket: Bucket,
    specs: Sequence[ModelSpec],
    keys: Sequence[TrustedKey],
    *,
    min_serial: int = 0,
    pinned_version: str = "",
    hold_matters: bool = True,
    rejected: Collection[str] = (),
) -> Look:
    """Read, verify and decide; an unreadable holds.json is a problem to report, not a reason to stay down.

    hold_matters=False saves its read where the models match: an instance at its start asks for a hold only when it
    decides between hit and miss. All else of that look is five calls, and one for each thousand files more.
    """
    reading = read(bucket, keys, min_serial=min_serial, pinned_version=pinned_version, rejected=rejected)
    problems = reading.problems
    hold = None
    if not hold_matters and (decision := decide(reading, specs, None)).hit:
        return Look(decision, reading, None, problems)
    try:
        hold = holds.read(bucket).hold
    except BadInput as error:
        problems = (*problems, Problem(layout.HOLDS, error.message, error.remedy, "holds"))
    return Look(decide(reading, specs, hold), reading, hold, problems)

"""Verifying on demand what the start-up gate verifies, and with full what it does not: every byte of every file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.errors import SYNC
from scripts.models import copies, gate
from scripts.models.manifest import ModelFile
from scripts.models.statements import Problem, Trusted
from scripts.settings.types import TrustedKey

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket


@dataclass(frozen=True)
class Verification:
    """What was found. trusted: what readers take (None: nothing); hashed_bytes: how much was read and hashed."""

    trusted: Trusted | None
    problems: tuple[Problem, ...]
    files: int
    hashed_bytes: int


def verify(
    bucket: Bucket, keys: Sequence[TrustedKey], *, version: str = "", floor: int = 0, full: bool = False,
    on_file: Callable[[str, int], None] = lambda name, size_bytes: None,
) -> Verification:  # fmt: skip
    """Check the active version, or the one named: signature, manifest, .done, every file by size and crc32c; copies.

    full: read every file back and compare its SHA-256 too. on_file is told each before it is read. Raises what the
    bucket raises.
    """
    reading = gate.read(bucket, keys, min_serial=floor, pinned_version=version)
    trusted, problems = reading.trusted, list(reading.problems)
    if trusted is None:
        return Verification(None, tuple(problems), 0, 0)
    if not version:
        problems.extend(copies.check(bucket, trusted, keys))
    objects = trusted.manifest.objects()
    hashed_bytes = 0
    for name, file in objects.items() if full else ():
        on_file(name, file.size_bytes)
        problem = _hash(bucket, name, file)
        hashed_bytes += file.size_bytes
        problems.extend([problem] if problem else [])
    return Verification(trusted, tuple(problems), len(objects), hashed_bytes)


def _hash(bucket: Bucket, name: str, file: ModelFile) -> Problem | None:
    info = bucket.stat(name)
    if info is None:
        return Problem(name, "is missing", SYNC, "files")
    digest = hashlib.sha256()
    for chunk in bucket.read_chunks(info):
        digest.update(chunk)
    if digest.hexdigest() == file.sha256:
        return None
    return Problem(name, f"has the sha256 {digest.hexdigest()}, signed was {file.sha256}", SYNC, "files")

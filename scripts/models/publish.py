"""The commit: how a version in the bucket becomes the active one. The order of writes is the protocol.

1. every file under its final name, created once   2. the whole compared: size and crc32c of every object
3. manifests/<version>.json, created once          4. manifests/<version>.done, created once
5. the lease still held                            6. statements/<serial>.dsse.json, created once: THE COMMIT
7. the copies manifest.json and .done, by compare-and-swap

Before 6 no reader looks at the version; after 6 everything it names has been there for long. The serial is fixed when
the work begins: whoever slept through a takeover finds it used and cannot commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scripts.errors import SYNC, Conflict, OpsError, Refused
from scripts.models import copies, gate, layout, manifest, signing, statements
from scripts.models.manifest import Manifest
from scripts.models.shelf import EXECUTION, NAMES
from scripts.models.statements import Statement, Trusted
from scripts.settings.types import TrustedKey

if TYPE_CHECKING:
    from securesystemslib.signer import Signer

    from scripts.cloud.storage import Bucket
    from scripts.cloud.storage_objects import ObjectInfo
    from scripts.lease import Lease

_ATTEMPTS = 3


@dataclass(frozen=True)
class Publisher:
    """Who may commit, and as which serial. serial: the one that comes next, fixed when the work began. execution: of
    the job whose tasks work together, or empty."""

    bucket: Bucket
    signer: Signer
    keys: tuple[TrustedKey, ...]
    lease: Lease
    serial: int
    execution: str = ""


def next_serial(bucket: Bucket, min_serial: int = 0) -> int:
    """One more than any statement that is or ever was there: a serial that was deleted (noncurrent) is not used again.

    Raises Refused when somebody put a statement at the end of the numbers.
    """
    known = [layout.statement_serial(info.name) for info in bucket.list(layout.STATEMENTS, versions=True)]
    following = max([serial for serial in known if serial is not None], default=0) + 1
    if following > layout.MAX_SERIAL:
        name = layout.statement_name(layout.MAX_SERIAL)
        raise Refused(f"no serial is left after {name}, which no honest writer made", "Delete it in every generation.")
    return max(following, min_serial)


def check_signer(signer: Signer, keys: Sequence[TrustedKey]) -> None:
    """Raise Refused when nobody would believe what this signer signs."""
    key = signing.key_of(signer)
    if key.key_id not in {trusted.key_id for trusted in keys}:
        known = ", ".join(trusted.key_id[:12] for trusted in keys) or "none"
        raise Refused(
            f"the signing key {key.key_id[:12]} is not among the trusted keys ({known})",
            "Add its public key to signing.trusted_keys in the environment file, then run the same command again.",
        )


def record(publisher: Publisher, content: Manifest) -> str:
    """Steps 2 to 4: compare every file, then write the manifest and .done; the manifest's digest.

    Raises OpsError when a file is not as the manifest says.
    """
    problems = gate.verify_files(publisher.bucket, content)
    if problems:
        listed = "; ".join(problem.line() for problem in problems[:3])
        raise OpsError(f"version {content.version} is not as it was written: {listed}", SYNC)
    data = manifest.dump(content)
    digest = manifest.sha256(data)
    publisher.lease.check()
    _create_same(publisher.bucket, layout.manifest_name(content.version), data)
    _create_same(publisher.bucket, layout.done_name(content.version), statements.done_bytes(content.version, digest))
    return digest


def _create_same(bucket: Bucket, name: str, data: bytes) -> None:
    """Create an object, or find it there with the very same content."""
    try:
        bucket.create_object(name, data)
    except Conflict:
        found = bucket.read(name, limit_bytes=manifest.MAX_BYTES)
        if found is None or found[0] != data:
            raise


def commit(
    publisher: Publisher, content: Manifest, reason: str, copies_seen: Mapping[str, ObjectInfo] | None = None
) -> Trusted:
    """Steps 5 to 7: make a recorded version the active one, and return what a reader then sees.

    copies_seen: manifest.json and .done as they were listed when the work began, which saves reading them. Raises
    Conflict when the lease was lost or somebody else committed this serial; nothing changed then.
    """
    serial, version = publisher.serial, content.version
    statement = Statement(serial, version, manifest.sha256(manifest.dump(content)), timestamp(), reason)
    data = statements.seal(statement, publisher.signer)
    publisher.lease.check()
    try:
        told = {NAMES: version} | ({EXECUTION: publisher.execution} if publisher.execution else {})
        publisher.bucket.create_object(layout.statement_name(serial), data, told)
    except Conflict as error:
        raise _lost(publisher, version) from error
    _, envelope = statements.unseal(data, publisher.keys)
    trusted = Trusted(serial, version, content, statement.manifest_sha256, statement, envelope)
    if copies_seen is None or not copies.write(publisher.bucket, trusted, copies_seen):
        mend(publisher, trusted)
    return trusted


def mend(publisher: Publisher, trusted: Trusted) -> bool:
    """Bring the copies in step with what is active; True when they were written."""
    for _ in range(_ATTEMPTS):
        if not copies.check(publisher.bucket, trusted, publisher.keys):
            return False
        if copies.repair(publisher.bucket, trusted, publisher.keys):
            return True
    return False


def _lost(publisher: Publisher, version: str) -> Conflict:
    found = statements.open_statement(publisher.bucket, publisher.serial, publisher.keys)
    if isinstance(found, statements.Problem):
        by = f"an object that is not believed ({found.what})"
    else:
        by = f"version {found[0].version} ({found[0].reason or 'no reason given'}, {found[0].created_at})"
    return Conflict(
        f"serial {publisher.serial} went to {by} while {version} was being prepared; {version} was not activated",
        "Run the same command again: it looks anew and pulls nothing that is already in the bucket.",
    )


def timestamp(clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> str:
    """The time as manifests and statements write it."""
    return clock().strftime("%Y-%m-%dT%H:%M:%SZ")

"""The readable copies at the top of the bucket: manifest.json and .done, for people and old tools.

Nothing trusts them. Whoever may write and finds them behind repairs them, and nobody ever moves them back: .done is
read first, then manifest.json, and only a manifest.json that is not verifiably newer is replaced, before .done is. A
writer that slept in between therefore either sees the newer serial or loses the compare-and-swap.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from scripts.errors import SYNC, BadInput, Conflict
from scripts.models import layout, manifest, signing, statements
from scripts.models.statements import Problem, Trusted
from scripts.models.strict import Reader, dump
from scripts.settings.types import TrustedKey

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket
    from scripts.cloud.storage_objects import ObjectInfo

MAX_BYTES = manifest.MAX_BYTES + signing.MAX_ENVELOPE_BYTES + 1024
_READER = Reader("manifest.json", SYNC)


def manifest_copy(trusted: Trusted) -> bytes:
    """The content of manifest.json: the active manifest as plain JSON with its serial and envelope."""
    return dump({**manifest.as_json(trusted.manifest), "serial": trusted.serial, "envelope": trusted.envelope})


def done_copy(trusted: Trusted) -> bytes:
    """The content of .done."""
    return statements.done_bytes(trusted.version, trusted.manifest_sha256)


def open_copy(data: bytes, keys: Sequence[TrustedKey]) -> Trusted:
    """The version that a copy of manifest.json tells, as far as the copy alone can prove it: signed, and not altered.

    Raises BadInput or signing.Untrusted.
    """
    value = _READER.load(data, MAX_BYTES)
    if not isinstance(value, dict) or not isinstance(value.get("envelope"), dict):
        _READER.fail("", "no envelope", "the manifest with its serial and envelope")
    envelope = value["envelope"]
    statement, _ = statements.unseal(dump(envelope), keys)
    plain = dump({key: entry for key, entry in value.items() if key not in ("serial", "envelope")})
    digest = manifest.sha256(plain)
    if digest != statement.manifest_sha256:
        _READER.fail("", f"the digest {digest[:12]}…", f"the signed {statement.manifest_sha256[:12]}…")
    content = manifest.parse(plain)
    trusted = Trusted(statement.serial, statement.version, content, digest, statement, envelope)
    if content.version != statement.version or manifest_copy(trusted) != data:
        _READER.fail("", "other bytes", f"the copy of version {statement.version}, serial {statement.serial}")
    return trusted


def check(bucket: Bucket, trusted: Trusted, keys: Sequence[TrustedKey]) -> tuple[Problem, ...]:
    """What is wrong with the copies, each with its own words; empty when both are in step."""
    problems: list[Problem] = []
    for name, expected in ((layout.MANIFEST_COPY, manifest_copy(trusted)), (layout.DONE_COPY, done_copy(trusted))):
        try:
            found = bucket.read(name, limit_bytes=MAX_BYTES)
        except BadInput as error:
            problems.append(Problem(name, error.message, SYNC, "copies"))
            continue
        if found is None:
            problems.append(Problem(name, "is missing", SYNC, "copies"))
        elif found[0] != expected:
            problems.append(Problem(name, _difference(found[0], trusted, keys), SYNC, "copies"))
    return tuple(problems)


def _difference(data: bytes, trusted: Trusted, keys: Sequence[TrustedKey]) -> str:
    active = f"version {trusted.version} (serial {trusted.serial}) is active"
    serial = _serial(data, keys)
    if serial > trusted.serial:
        return f"proves that serial {serial} was signed, but {active}: newer statements were deleted or damaged"
    try:
        version = json.loads(data)["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"is not what was written there, altered; {active}"
    if version != trusted.version:
        return f"names {ascii(version)[:80]}, but {active}"
    return f"names the active version but was altered, or is of another serial; {active}"


def are(listed: Mapping[str, ObjectInfo], trusted: Trusted) -> bool:
    """Whether both copies are in step as far as their size and checksum in a listing tell; costs no call."""
    from scripts.cloud.storage_objects import crc32c

    expected = {layout.MANIFEST_COPY: manifest_copy(trusted), layout.DONE_COPY: done_copy(trusted)}
    return all(
        name in listed and (listed[name].size_bytes, listed[name].crc32c) == (len(data), crc32c(data))
        for name, data in expected.items()
    )


def write(bucket: Bucket, trusted: Trusted, seen: Mapping[str, ObjectInfo]) -> bool:
    """Write both copies over what was seen of them; False when somebody else wrote one meanwhile (then repair())."""
    try:
        for name, data in ((layout.MANIFEST_COPY, manifest_copy(trusted)), (layout.DONE_COPY, done_copy(trusted))):
            bucket.replace(name, data, seen[name].generation if name in seen else 0)
    except Conflict:
        return False
    return True


def repair(bucket: Bucket, trusted: Trusted, keys: Sequence[TrustedKey]) -> bool:
    """Bring both copies in step with what is active; True when anything was written.

    Leaves them alone when they are newer than `trusted`, or when somebody else repairs them at the same time.
    """
    done = bucket.stat(layout.DONE_COPY)  # before manifest.json: see above
    copy = _read(bucket, layout.MANIFEST_COPY)
    expected = manifest_copy(trusted)
    if copy is not None and copy[0] != expected and _serial(copy[0], keys) > trusted.serial:
        return False
    try:
        wrote = False
        if copy is None or copy[0] != expected:
            bucket.replace(layout.MANIFEST_COPY, expected, copy[1] if copy else 0)
            wrote = True
        if done is None or not _same(bucket, layout.DONE_COPY, done.generation, done_copy(trusted)):
            bucket.replace(layout.DONE_COPY, done_copy(trusted), done.generation if done else 0)
            wrote = True
    except Conflict:
        return False
    return wrote


def _read(bucket: Bucket, name: str) -> tuple[bytes, int] | None:
    try:
        found = bucket.read(name, limit_bytes=MAX_BYTES)
    except BadInput:  # larger than any copy: replace it
        info = bucket.stat(name)
        return (b"", info.generation) if info is not None else None
    return (found[0], found[1].generation) if found is not None else None


def _same(bucket: Bucket, name: str, generation: int, expected: bytes) -> bool:
    try:
        found = bucket.read(name, generation, limit_bytes=MAX_BYTES)
    except BadInput:
        return False
    return found is not None and found[0] == expected


def _serial(data: bytes, keys: Sequence[TrustedKey]) -> int:
    """The serial that a copy of manifest.json can prove by its envelope, else 0: a forged one is not "newer"."""
    try:
        envelope = json.loads(data)["envelope"]
        statement, _ = statements.unseal(signing.dump_envelope(envelope), keys)
    except (ValueError, KeyError, TypeError, RecursionError, BadInput, signing.Untrusted):
        return 0
    return statement.serial

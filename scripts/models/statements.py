"""Statements: the commits. The highest one that holds up says which version is active.

Each is a DSSE envelope around {serial, version, manifest_sha256, created_at, reason}, created once under its serial.
A reader takes the highest whose envelope verifies, whose serial is the one in its name and at least MODEL_MIN_SERIAL,
whose manifest digest matches and whose version has its .done; one that fails is reported and the next lower one serves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scripts.errors import SYNC, BadInput
from scripts.models import layout, manifest, signing
from scripts.models.manifest import Manifest
from scripts.models.strict import Reader, dump, show
from scripts.settings.types import TrustedKey

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket
    from scripts.cloud.storage_objects import ObjectInfo

MAX_DONE_BYTES = 4 << 10
# Nobody reaches this honestly; it bounds what a flood of forged statements can cost at start.
MAX_TRIED = 500

_KEYS = ("serial", "version", "manifest_sha256", "created_at", "reason")
_READER = Reader("statement", SYNC)


@dataclass(frozen=True)
class Statement:
    """Says that a version is the active one, since when and why."""

    serial: int
    version: str
    manifest_sha256: str
    created_at: str
    reason: str


@dataclass(frozen=True)
class Problem:
    """Something in the bucket that was not believed. object: its name; what: why; remedy: what to do.

    kind: names, statement, signature, serial, manifest, done or files; decide() tells them apart by it.
    """

    object: str
    what: str
    remedy: str
    kind: str = "statement"

    def line(self) -> str:
        """The problem on one line."""
        return f"{self.object}: {self.what}"


@dataclass(frozen=True)
class Trusted:
    """A version that may serve: its statement held up, and its manifest is the one that was signed."""

    serial: int
    version: str
    manifest: Manifest
    manifest_sha256: str
    statement: Statement
    envelope: dict[str, Any]


@dataclass(frozen=True)
class Reading:
    """What a reader found: the version to use, if any, and everything that did not hold up on the way."""

    trusted: Trusted | None
    problems: tuple[Problem, ...] = ()
    pinned_version: str = ""


Check = Callable[[Trusted], Iterable[Problem]]


def dump_statement(statement: Statement) -> bytes:
    """The payload that is signed."""
    return dump({key: getattr(statement, key) for key in _KEYS})


def parse_statement(payload: bytes) -> Statement:
    """Read a signed payload strictly; raises BadInput with the place."""
    value = _READER.record(_READER.load(payload, signing.MAX_ENVELOPE_BYTES), "", _KEYS)
    return Statement(
        serial=_READER.whole(value["serial"], "serial", least=1, most=layout.MAX_SERIAL),
        version=layout.check_version(_READER.text(value["version"], "version"), "statement: version"),
        manifest_sha256=_READER.sha256(value["manifest_sha256"], "manifest_sha256"),
        created_at=_READER.time(value["created_at"], "created_at"),
        reason=_READER.text(value["reason"], "reason", empty=True),
    )


def seal(statement: Statement, signer: Any) -> bytes:
    """The bytes of a statement's object: signed, in an envelope."""
    payload = dump_statement(statement)
    parse_statement(payload)
    return signing.dump_envelope(signing.sign(payload, signing.STATEMENT_TYPE, signer))


def unseal(data: bytes, keys: Sequence[TrustedKey]) -> tuple[Statement, dict[str, Any]]:
    """The statement in an object's bytes and its envelope; raises BadInput or signing.Untrusted."""
    envelope = signing.parse_envelope(data)
    return parse_statement(signing.verify(envelope, keys)), envelope


def done_bytes(version: str, manifest_sha256: str) -> bytes:
    """The content of a version's .done, and of the copy at the top."""
    return dump({"version": version, "manifest_sha256": manifest_sha256})


def serials(bucket: Bucket) -> tuple[list[int], tuple[Problem, ...]]:
    """The serials of all statements there, highest first, and a Problem for each name that is none."""
    found: list[int] = []
    strange: list[Problem] = []
    for info in bucket.list(layout.STATEMENTS):
        serial = layout.statement_serial(info.name)
        if serial is not None:
            found.append(serial)
        elif not info.name.endswith("/") or info.size_bytes:
            remedy = "Find out who put it there (audit/ and the bucket's access log), then delete it."
            strange.append(Problem(show(info.name), "is no name of a statement; ignored", remedy, "names"))
    return sorted(found, reverse=True), tuple(strange[:20])


def above(bucket: Bucket, serial: int) -> list[ObjectInfo]:
    """Every generation, live or not, of the statements with a higher serial; at most MAX_TRIED."""
    listed = bucket.list(layout.STATEMENTS, versions=True)
    return [info for info in listed if (layout.statement_serial(info.name) or 0) > serial][:MAX_TRIED]


def was_signed(bucket: Bucket, info: ObjectInfo, keys: Sequence[TrustedKey]) -> bool:
    """Whether this generation of a statement is one that a trusted key signed under its own serial."""
    try:
        found = bucket.read(info.name, info.generation, limit_bytes=signing.MAX_ENVELOPE_BYTES)
        return found is not None and unseal(found[0], keys)[0].serial == layout.statement_serial(info.name)
    except (BadInput, signing.Untrusted):
        return False


def read_trusted(
    bucket: Bucket,
    keys: Sequence[TrustedKey],
    *,
    min_serial: int = 0,
    pinned_version: str = "",
    check: Check | None = None,
) -> Reading:
    """The version that the statements say is active (or the highest statement for pinned_version), fully checked.

    check sees a version that held up otherwise and may still reject it (gate.verify_files does). Raises what the bucket
    raises (NotFound, AccessDenied, Unreachable) and BadInput for a pinned_version that is no version name.
    """
    if pinned_version:
        layout.check_version(pinned_version, "MODEL_CACHE_VERSION")
    found, strange = serials(bucket)
    search = _Search(bucket, tuple(keys), pinned_version, check, list(strange))
    if not keys:
        remedy = "Set signing.trusted_keys in the environment file."
        return Reading(None, (*strange, Problem(layout.STATEMENTS, "no key is trusted", remedy, "signature")))
    recent = [serial for serial in found if serial >= min_serial]
    for serial in recent[:MAX_TRIED]:
        trusted = search.look_at(serial)
        if trusted is not None:
            return Reading(trusted, tuple(search.problems), pinned_version)
    if len(recent) > MAX_TRIED:
        what = f"{MAX_TRIED} statements were tried and none held up; the other {len(recent) - MAX_TRIED} were not read"
        search.problems.append(Problem(layout.STATEMENTS, what, SYNC))
    old = [serial for serial in found if serial < min_serial]
    if old:
        what = f"serial {old[0]} is below MODEL_MIN_SERIAL {min_serial}; it and older ones are ignored"
        search.problems.append(Problem(layout.statement_name(old[0]), what, SYNC, "serial"))
    if pinned_version and not search.problems:
        what = f"no statement names the pinned version {pinned_version}"
        remedy = "Run: ./dev invoke cache.list --env ENVIRONMENT, then correct or empty MODEL_CACHE_VERSION."
        search.problems.append(Problem(layout.STATEMENTS, what, remedy))
    return Reading(None, tuple(search.problems), pinned_version)


@dataclass
class _Search:
    """One walk down the statements; a version that failed is not read again for an older statement."""

    bucket: Bucket
    keys: tuple[TrustedKey, ...]
    pinned_version: str
    check: Check | None
    problems: list[Problem]
    failed: set[tuple[str, str]] = field(default_factory=set)

    def look_at(self, serial: int) -> Trusted | None:
        name = layout.statement_name(serial)
        opened = open_statement(self.bucket, serial, self.keys)
        if isinstance(opened, Problem):
            self.problems.append(opened)
            return None
        statement, envelope = opened
        if self.pinned_version and statement.version != self.pinned_version:
            return None
        identity = (statement.version, statement.manifest_sha256)
        if identity in self.failed:
            self.problems.append(Problem(name, f"names {statement.version}, which did not hold up", SYNC))
            return None
        version = open_version(self.bucket, statement, envelope)
        if isinstance(version, Problem):
            self.problems.append(version)
        else:
            faults = list(self.check(version)) if self.check else []
            if not faults:
                return version
            self.problems.extend(faults)
        self.failed.add(identity)
        return None


def open_statement(
    bucket: Bucket, serial: int, keys: Sequence[TrustedKey]
) -> tuple[Statement, dict[str, Any]] | Problem:
    """The verified statement with this serial and its envelope, or why it is not believed."""
    name = layout.statement_name(serial)
    try:
        data = bucket.read(name, limit_bytes=signing.MAX_ENVELOPE_BYTES)
        if data is None:
            return Problem(name, "was listed and is gone", SYNC)
        statement, envelope = unseal(data[0], keys)
    except signing.Untrusted as error:
        return Problem(name, error.message, error.remedy, "signature")
    except BadInput as error:
        return Problem(name, error.message, error.remedy)
    if statement.serial != serial:
        what = f"holds the statement with serial {statement.serial}: an old statement put back under a new name"
        return Problem(name, what, "Find out who put it there, then delete it.", "serial")
    return statement, envelope


def open_version(bucket: Bucket, statement: Statement, envelope: dict[str, Any]) -> Trusted | Problem:
    """The version that a verified statement names, with its manifest and .done checked, or what is wrong with it."""
    content = open_manifest(bucket, statement)
    if isinstance(content, Problem):
        return content
    fault = _done_fault(bucket, statement)
    if fault:
        return Problem(layout.done_name(statement.version), fault, SYNC, "done")
    return Trusted(statement.serial, statement.version, content, statement.manifest_sha256, statement, envelope)


def open_manifest(bucket: Bucket, statement: Statement) -> Manifest | Problem:
    """The manifest that a verified statement signed, or what is wrong with it; whether it is complete is not asked."""
    name = layout.manifest_name(statement.version)
    try:
        found = bucket.read(name, limit_bytes=manifest.MAX_BYTES)
    except BadInput as error:
        return Problem(name, error.message, error.remedy, "manifest")
    if found is None:
        return Problem(name, f"is missing, though statement {statement.serial} names it", SYNC, "manifest")
    return judge_manifest(found[0], statement)


def judge_manifest(data: bytes, statement: Statement) -> Manifest | Problem:
    """The manifest in an object's bytes, or why it is not the one that was signed."""
    name, digest = layout.manifest_name(statement.version), manifest.sha256(data)
    if digest != statement.manifest_sha256:
        signed = statement.manifest_sha256[:12]
        what = f"has the digest {digest[:12]}…, but statement {statement.serial} signed {signed}…: altered"
        return Problem(name, what, SYNC, "manifest")
    try:
        content = manifest.parse(data)
    except BadInput as error:
        return Problem(name, error.message, error.remedy, "manifest")
    if content.version != statement.version:
        what = f"is the manifest of {content.version}, expected {statement.version}"
        return Problem(name, what, SYNC, "manifest")
    return content


def _done_fault(bucket: Bucket, statement: Statement) -> str:
    try:
        done = bucket.read(layout.done_name(statement.version), limit_bytes=MAX_DONE_BYTES)
    except BadInput as error:
        return error.message
    if done is None:
        return f"is missing, so version {statement.version} is not known to be complete"
    return judge_done(done[0], statement)


def judge_done(data: bytes, statement: Statement) -> str:
    """What is wrong with the bytes of a version's .done, or empty."""
    if data != done_bytes(statement.version, statement.manifest_sha256):
        return f"does not say what statement {statement.serial} says of version {statement.version}: altered"
    return ""

"""After a disaster: bring back what the signatures vouch for, from what the bucket still has in any generation.

Statements that were deleted or overwritten come back from their noncurrent generations or from the envelope in a copy
of manifest.json; manifests, files and .done of the versions they name from noncurrent generations that fit what was
signed. Nothing is pulled, nothing unsigned is believed, and what is replaced stays as a noncurrent generation. What
cannot be found again is told: the next sync pulls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scripts.errors import SYNC, BadInput
from scripts.models import copies, gate, holds, layout, manifest, signing, statements
from scripts.models.holds import Holds
from scripts.models.manifest import Manifest
from scripts.models.statements import Problem, Statement, Trusted
from scripts.plan import Action, Change, Plan
from scripts.settings.types import TrustedKey

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket
    from scripts.cloud.storage_objects import ObjectInfo

# So many versions, newest statement first, are looked after: as many as retention keeps by default.
VERSIONS = 3


@dataclass(frozen=True)
class Fix:
    """One object to be put right: written from data, or copied from one of its own noncurrent generations.

    generation: the live one that is replaced, 0 when there is none.
    """

    name: str
    what: str
    generation: int
    data: bytes | None = None
    source: ObjectInfo | None = None


@dataclass(frozen=True)
class Repair:
    """What a repair would do. lost: what no generation brings back. active: what readers take then."""

    fixes: tuple[Fix, ...]
    lost: tuple[Problem, ...]
    active: Trusted | None

    def plan(self) -> Plan:
        """The changes in the order in which they are made."""
        made = (
            Change(Action.UPDATE, fix.name, "", "other bytes", fix.what)
            if fix.generation
            else Change(Action.CREATE, fix.name, "", None, fix.what)
            for fix in self.fixes
        )
        return Plan("repair", tuple(made))


def prepare(bucket: Bucket, keys: Sequence[TrustedKey]) -> Repair:
    """Look at every generation of what matters and decide. Raises what the bucket raises."""
    work = _Work(bucket, tuple(keys))
    work.statements()
    active: Trusted | None = None
    versions: set[str] = set()
    for serial in sorted(work.signed, reverse=True):
        statement, envelope = work.signed[serial]
        if statement.version in versions or len(versions) >= VERSIONS:
            continue
        content = work.version(statement)
        if content is not None:
            versions.add(statement.version)
            if active is None:
                active = Trusted(serial, statement.version, content, statement.manifest_sha256, statement, envelope)
    work.holds()
    if active is not None:
        work.copies(active)
    return Repair(tuple(work.fixes), tuple(work.lost), active)


def carry_out(bucket: Bucket, todo: Repair) -> None:
    """Make the fixes, each by compare-and-swap; run under the publication lease."""
    for fix in todo.fixes:
        if fix.data is not None:
            bucket.replace(fix.name, fix.data, fix.generation)
        elif fix.source is not None:
            bucket.copy(fix.name, fix.name, source_generation=fix.source.generation, generation=fix.generation)


@dataclass
class _Work:
    """What was found so far. signed: by serial, every statement that some generation of some object proves."""

    bucket: Bucket
    keys: tuple[TrustedKey, ...]
    fixes: list[Fix] = field(default_factory=list)
    lost: list[Problem] = field(default_factory=list)
    signed: dict[int, tuple[Statement, dict[str, object]]] = field(default_factory=dict)
    told: dict[str, bytes] = field(default_factory=dict)

    def statements(self) -> None:
        """Every serial that was ever signed; those whose live object does not say so are to be written again."""
        generations = _by_name(self.bucket.list(layout.STATEMENTS, versions=True))
        for name, infos in generations.items():
            serial = layout.statement_serial(name)
            data = self._first(infos, self._opens) if serial is not None else None
            if data is not None:
                self._note(name, infos, data)
        for data in self._generations(layout.MANIFEST_COPY, copies.MAX_BYTES):
            try:
                trusted = copies.open_copy(data, self.keys)
            except (BadInput, signing.Untrusted):
                continue
            self.told.setdefault(trusted.version, manifest.dump(trusted.manifest))
            if trusted.serial not in self.signed:
                name = layout.statement_name(trusted.serial)
                self._note(name, generations.get(name, []), signing.dump_envelope(trusted.envelope))

    def _note(self, name: str, infos: Sequence[ObjectInfo], data: bytes) -> None:
        statement, envelope = statements.unseal(data, self.keys)
        if layout.statement_name(statement.serial) != name:
            return
        self.signed[statement.serial] = (statement, envelope)
        self._write(name, infos, data, f"the statement for {statement.version}")

    def version(self, statement: Statement) -> Manifest | None:
        """The manifest of a version that is whole, or will be by the fixes noted here; None when it cannot be."""
        name = layout.manifest_name(statement.version)
        infos = self.bucket.list(f"{layout.MANIFESTS}{statement.version}.", versions=True)
        mine = [info for info in infos if info.name == name]
        data = self._first(mine, lambda _, found: manifest.sha256(found) == statement.manifest_sha256)
        data = data or self.told.get(statement.version)
        if data is None or manifest.sha256(data) != statement.manifest_sha256:
            if infos:  # of a version that was pruned nothing is left, and nothing is missed
                self.lost.append(Problem(name, "is gone in every generation", SYNC, "manifest"))
            return None
        content = manifest.parse(data)
        files, lost = self._files(content)
        if lost:
            # Nothing is left of a version that was pruned but what old copies of manifest.json tell of it.
            self.lost.extend(lost if infos else [])
            return None
        self.fixes.extend(files)
        self._write(name, mine, data, f"the manifest of {statement.version}")
        done = [info for info in infos if info.name == layout.done_name(statement.version)]
        mark = statements.done_bytes(statement.version, statement.manifest_sha256)
        self._write(layout.done_name(statement.version), done, mark, "the mark that it is complete")
        return content

    def _files(self, content: Manifest) -> tuple[list[Fix], list[Problem]]:
        if not gate.verify_files(self.bucket, content):
            return [], []
        folders = sorted({layout.folder(model.kind, content.version) for model in content.models})
        listed = [info for folder in folders for info in self.bucket.list(f"{folder}/", versions=True)]
        generations, fixes, lost = _by_name(listed), [], []
        for name, file in content.objects().items():
            live = _live(generations.get(name, []))
            if live is not None and (live.size_bytes, live.crc32c) == (file.size_bytes, file.crc32c):
                continue
            fits = [
                info for info in generations.get(name, [])
                if info.deleted and (info.size_bytes, info.crc32c) == (file.size_bytes, file.crc32c)
            ]  # fmt: skip
            if fits:
                fixes.append(Fix(name, "a file of it", live.generation if live else 0, source=fits[-1]))
            else:
                lost.append(Problem(name, "is gone, or other bytes, in every generation", SYNC, "files"))
        return fixes, lost

    def holds(self) -> None:
        """holds.json that cannot be read keeps every sync from working: it says nothing from then on."""
        try:
            holds.read(self.bucket)
        except BadInput:
            info = self.bucket.stat(layout.HOLDS)
            if info is not None:
                self.fixes.append(
                    Fix(layout.HOLDS, "unreadable: no hold, no pins", info.generation, holds.dump_holds(Holds()))
                )

    def copies(self, active: Trusted) -> None:
        """The readable copies of what readers take then."""
        for name, data in (
            (layout.MANIFEST_COPY, copies.manifest_copy(active)),
            (layout.DONE_COPY, copies.done_copy(active)),
        ):
            info = self.bucket.stat(name)
            self._write(name, [info] if info else [], data, f"the copy for {active.version}")

    def _write(self, name: str, infos: Sequence[ObjectInfo], data: bytes, what: str) -> None:
        from scripts.cloud.storage_objects import crc32c

        live = _live(infos)
        if live is None or (live.size_bytes, live.crc32c) != (len(data), crc32c(data)):
            self.fixes.append(Fix(name, what, live.generation if live else 0, data))

    def _opens(self, name: str, data: bytes) -> bool:
        try:
            return statements.unseal(data, self.keys)[0].serial == layout.statement_serial(name)
        except (BadInput, signing.Untrusted):
            return False

    def _first(self, infos: Sequence[ObjectInfo], fits: Callable[[str, bytes], bool]) -> bytes | None:
        """The content of the youngest generation that fits."""
        for info in sorted(infos, key=lambda item: -item.generation):
            data = self._read(info, manifest.MAX_BYTES)
            if data is not None and fits(info.name, data):
                return data
        return None

    def _generations(self, name: str, limit_bytes: int) -> Iterator[bytes]:
        infos = [info for info in self.bucket.list(name, versions=True) if info.name == name]
        for info in sorted(infos, key=lambda item: -item.generation):
            data = self._read(info, limit_bytes)
            if data is not None:
                yield data

    def _read(self, info: ObjectInfo, limit_bytes: int) -> bytes | None:
        try:
            found = self.bucket.read(info.name, info.generation, limit_bytes=limit_bytes)
        except BadInput:  # larger than anything that was written here
            return None
        return found[0] if found is not None else None


def _by_name(infos: Sequence[ObjectInfo]) -> dict[str, list[ObjectInfo]]:
    found: dict[str, list[ObjectInfo]] = {}
    for info in infos:
        found.setdefault(info.name, []).append(info)
    return found


def _live(infos: Sequence[ObjectInfo]) -> ObjectInfo | None:
    return next((info for info in infos if not info.deleted), None)

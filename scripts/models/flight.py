"""A version in flight: the note that several tasks of one job execution work by, and what each of them placed.

.tmp/<version>/flight.dsse.json   what becomes this version: serial, revisions, time; created before anything else
.tmp/<version>/shares/<i>.json    the files that task i placed, and shares/<i>.dsse.json its signature, created last

Both are signed: what a task believes of another one's bytes, its manifest will say under the same key. Of several notes
of one execution the one that was created first counts (generations only grow), so all tasks agree on it. The task whose
signature was created last publishes; when it is run again after it died, it still is that one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.errors import SYNC, BadInput, Conflict, OpsError
from scripts.models import layout, manifest, signing
from scripts.models.publish import Publisher
from scripts.models.shelf import EXECUTION
from scripts.models.strict import Reader, dump
from scripts.models.transfer import Placed, Wanted

FLIGHT_TYPE = "application/vnd.modelshelf.flight+json"
SHARE_TYPE = "application/vnd.modelshelf.share+json"
_KEYS = ("created_at", "execution", "identity", "revisions", "serial", "tasks", "version")
_READER = Reader("flight", SYNC)
_LIMIT_BYTES = 64 << 10


@dataclass(frozen=True)
class Share:
    """Which task of a job execution this is: index of count, execution its name."""

    index: int = 0
    count: int = 1
    execution: str = ""

    @property
    def group(self) -> str:
        """Who holds the lease together; empty: nobody but this process."""
        return f"execution {self.execution}" if self.count > 1 and self.execution else ""


ALONE = Share()


@dataclass(frozen=True)
class Landed:
    """What tasks placed, by final name, with the bytes that they received and those that were there already."""

    placed: Mapping[str, Placed]
    upstream_bytes: int
    reused_bytes: int


@dataclass(frozen=True)
class Flight:
    """What becomes a version. identity: of its contents; revisions: by model name; tasks: how many work on it."""

    version: str
    serial: int
    identity: str
    revisions: Mapping[str, str]
    execution: str
    tasks: int
    created_at: str


def begin(publisher: Publisher, flight: Flight) -> Flight:
    """Leave the note, and return the one that counts: this, or what another task of the execution left first."""
    bucket, name = publisher.bucket, layout.flight_name(flight.version)
    data = _sealed(vars(flight) | {"revisions": dict(flight.revisions)}, FLIGHT_TYPE, publisher)
    own = None
    try:
        own = bucket.create_object(name, data, {EXECUTION: flight.execution})
    except Conflict:  # two tasks in the same second give the same name
        if flight.tasks == 1:
            raise
    if flight.tasks == 1:
        return flight
    first = joined(publisher, Share(0, flight.tasks, flight.execution))
    if first is None:
        raise Conflict(f"{name} is somebody else's", "Run the same command again.")
    if own is not None and first.version != flight.version:
        bucket.delete(name, own.generation)
    return first


def joined(publisher: Publisher, share: Share) -> Flight | None:
    """The flight of this execution that was begun first and can still be committed, or None."""
    if not share.execution:
        return None
    listed = publisher.bucket.list(layout.TMP)
    notes = [info for info in listed if info.metadata.get(EXECUTION) == share.execution]
    for info in sorted(notes, key=lambda info: info.generation):
        found = publisher.bucket.read(info.name, limit_bytes=_LIMIT_BYTES)
        flight = _flight(found[0], publisher) if found is not None else None
        if flight is None or layout.flight_name(flight.version) != info.name:
            continue
        wanted = (share.execution, share.count, publisher.serial)
        if (flight.execution, flight.tasks, flight.serial) == wanted:
            return flight
    return None


def committed(publisher: Publisher, share: Share, serial: int) -> bool:
    """Whether this execution's tasks made the statement with this serial: the other tasks have no work left then."""
    info = publisher.bucket.stat(layout.statement_name(serial))
    return bool(share.execution) and info is not None and info.metadata.get(EXECUTION) == share.execution


def mine(groups: Sequence[list[Wanted]], share: Share) -> list[list[Wanted]]:
    """This task's contents: the largest first, each to whoever has least so far (ties: the lowest index)."""
    loads = [0] * share.count
    chosen = []
    for group in groups:
        index = min(range(share.count), key=lambda number: (loads[number], number))
        # A file costs a few calls however small it is: about as long as a megabyte.
        loads[index] += group[0].file.size_bytes + (1 << 20) * len(group)
        if index == share.index:
            chosen.append(group)
    return chosen


def landed(publisher: Publisher, flight: Flight, share: Share) -> bool:
    """Whether an attempt at this very share that died has placed it and told so."""
    return publisher.bucket.stat(_signature(layout.share_name(flight.version, share.index))) is not None


def land(publisher: Publisher, flight: Flight, share: Share, done: Landed) -> None:
    """Tell what this task placed: the files, then their signature."""
    listed = {name: [item.generation, item.size_bytes, item.sha256, item.crc32c] for name, item in done.placed.items()}
    files = dump({"upstream_bytes": done.upstream_bytes, "reused_bytes": done.reused_bytes, "files": listed})
    facts = {"execution": share.execution, "files_sha256": manifest.sha256(files), "index": share.index}
    name = layout.share_name(flight.version, share.index)
    publisher.lease.check()
    seen = publisher.bucket.stat(name)
    publisher.bucket.replace(name, files, seen.generation if seen is not None else 0)
    sealed = _sealed({**facts, "version": flight.version}, SHARE_TYPE, publisher)
    publisher.bucket.create_object(_signature(name), sealed)


def together(publisher: Publisher, flight: Flight, share: Share) -> Landed | None:
    """The files of all tasks when this one is to publish them, the last that landed; None: another one will.

    Raises OpsError when another task's note is not what its signature says.
    """
    names = [layout.share_name(flight.version, index) for index in range(flight.tasks)]
    listed = {info.name: info for info in publisher.bucket.list(layout.shares_folder(flight.version))}
    signatures = [listed[_signature(name)] for name in names if _signature(name) in listed]
    last = max(signatures, key=lambda info: info.generation)
    if len(signatures) < flight.tasks or last.name != _signature(names[share.index]):
        return None
    shares = [_share(publisher, flight, name, index) for index, name in enumerate(names)]
    return Landed(
        {name: item for each in shares for name, item in each.placed.items()},
        sum(each.upstream_bytes for each in shares),
        sum(each.reused_bytes for each in shares),
    )


def _share(publisher: Publisher, flight: Flight, name: str, index: int) -> Landed:
    files = publisher.bucket.read(name, limit_bytes=manifest.MAX_BYTES)
    signature = publisher.bucket.read(_signature(name), limit_bytes=_LIMIT_BYTES)
    expected = {"execution": flight.execution, "index": index, "version": flight.version}
    try:
        told = _opened(signature[0] if signature else b"", SHARE_TYPE, publisher)
        if files is None or told != {**expected, "files_sha256": manifest.sha256(files[0])}:
            raise BadInput(f"{name}: found other files than were signed, expected those of task {index}", SYNC)
        value = _READER.load(files[0], manifest.MAX_BYTES)
    except OpsError as error:
        raise OpsError(f"what task {index} placed is not believed: {error.message}", SYNC) from error
    placed = {key: Placed(key, *item) for key, item in value["files"].items()}
    return Landed(placed, value["upstream_bytes"], value["reused_bytes"])


def _signature(name: str) -> str:
    return f"{name.removesuffix('.json')}.dsse.json"


def _flight(data: bytes, publisher: Publisher) -> Flight | None:
    """A note that one of the trusted keys signed, or None."""
    try:
        value = _READER.record(_opened(data, FLIGHT_TYPE, publisher), "", _KEYS)
        return Flight(**value)
    except OpsError:
        return None


def _sealed(value: dict[str, Any], payload_type: str, publisher: Publisher) -> bytes:
    return signing.dump_envelope(signing.sign(dump(value), payload_type, publisher.signer))


def _opened(data: bytes, payload_type: str, publisher: Publisher) -> Any:
    """The JSON that was signed. Raises BadInput and signing.Untrusted."""
    payload = signing.verify(signing.parse_envelope(data), publisher.keys, payload_type)
    return _READER.load(payload, _LIMIT_BYTES)

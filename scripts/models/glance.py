"""The short way to the active version: its readable copy, when everything that the bucket lists agrees with it.

manifest.json carries the manifest, the serial and the signed envelope: one read tells all. Listings then prove that no
higher statement is there, and that the statement, the manifest, .done and every file have the size and checksum that
follow from it; four calls at once, and one more for each thousand files of a store beyond the first (a page of a
listing). The copy itself is believed in nothing: what it says is signed, and whatever does not fit sends the reader the
long way (statements.read_trusted), which says what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scripts.errors import BadInput
from scripts.models import copies, layout, manifest, signing, statements
from scripts.models.statements import Trusted
from scripts.settings.types import TrustedKey

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket
    from scripts.cloud.storage_objects import ObjectInfo


def glance(
    bucket: Bucket, keys: Sequence[TrustedKey], *, min_serial: int = 0, pinned_version: str = ""
) -> tuple[Trusted, dict[str, ObjectInfo]] | None:
    """The active version with its objects by name (not compared yet), or None when the long way must be taken.

    Raises what the bucket raises: NotFound, AccessDenied, Unreachable.
    """
    from scripts.cloud.storage_objects import Stretch

    trusted = _copy(bucket, keys)
    if trusted is None or trusted.serial < min_serial or pinned_version not in ("", trusted.version):
        return None
    record_of = layout.manifest_name(trusted.version).removesuffix("json")
    commits, record, *stores = bucket.list_each(
        Stretch(layout.STATEMENTS), Stretch(record_of), *trusted.manifest.stretches()
    )
    if not (_is_newest(trusted, commits) and _is_recorded(trusted, record)):
        return None
    return trusted, {info.name: info for store in stores for info in store}


def _copy(bucket: Bucket, keys: Sequence[TrustedKey]) -> Trusted | None:
    try:
        found = bucket.read(layout.MANIFEST_COPY, limit_bytes=copies.MAX_BYTES)
        return copies.open_copy(found[0], keys) if found is not None else None
    except (BadInput, signing.Untrusted):
        return None


def _is_newest(trusted: Trusted, commits: Sequence[ObjectInfo]) -> bool:
    """Whether its statement is the highest one listed and unchanged, and nothing else lies among the statements."""
    serials = [layout.statement_serial(info.name) for info in commits]
    known = [serial for serial in serials if serial is not None]
    if len(known) < len(serials) or trusted.serial != max(known, default=0):
        return False
    newest = commits[serials.index(trusted.serial)]
    return _is(newest, signing.dump_envelope(trusted.envelope))


def _is_recorded(trusted: Trusted, record: Sequence[ObjectInfo]) -> bool:
    expected = {
        layout.manifest_name(trusted.version): manifest.dump(trusted.manifest),
        layout.done_name(trusted.version): statements.done_bytes(trusted.version, trusted.manifest_sha256),
    }
    found = {info.name: info for info in record}
    return all(name in found and _is(found[name], data) for name, data in expected.items())


def _is(info: ObjectInfo, data: bytes) -> bool:
    from scripts.cloud.storage_objects import crc32c

    return info.size_bytes == len(data) and info.crc32c == crc32c(data)

"""What dead runs leave behind: files under `.tmp/`, and version folders that never became versions.

Only for who holds the publication lease. Everything is removed by generation: a plain delete in a versioned bucket
would only hide it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scripts.models import layout

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket
    from scripts.cloud.storage_objects import ObjectInfo


def version_names(bucket: Bucket) -> set[str]:
    """Every version name that appears anywhere in the bucket, finished or not."""
    folders = [layout.TMP, *(f"{store}/" for store in layout.STORES.values())]
    found = {path.rstrip("/").rpartition("/")[2] for folder in folders for path in bucket.prefixes(folder)}
    return {name for name in found | _recorded(bucket) if layout.is_version(name)}


def _recorded(bucket: Bucket) -> set[str]:
    """Versions that have, or once had, a manifest or .done: these are versions, whatever became of them."""
    names = (info.name for info in bucket.list(layout.MANIFESTS, versions=True))
    return {name.removeprefix(layout.MANIFESTS).rpartition(".")[0] for name in names}


def clear(bucket: Bucket) -> int:
    """Remove what dead publishers left, folders that never became versions too, if `.tmp/` tells of any; the bytes
    freed.

    Whoever holds the lease is the only publisher, so whatever is there after a commit is nobody's. `.tmp/` goes last:
    whoever dies in between has left what makes the next one look again. Nothing there costs one call.
    """
    left = in_tmp(bucket)
    return clear_unborn(bucket) + _remove(bucket, left) if left else 0


def in_tmp(bucket: Bucket) -> Sequence[ObjectInfo]:
    """Every generation under `.tmp/` that belongs to a version."""
    return [info for info in bucket.list(layout.TMP, versions=True) if layout.split_tmp(info.name) is not None]


def clear_tmp(bucket: Bucket) -> int:
    """Remove everything under `.tmp/` that belongs to a version, in every generation; the bytes freed."""
    return _remove(bucket, in_tmp(bucket))


def _remove(bucket: Bucket, infos: Sequence[ObjectInfo]) -> int:
    return sum(info.size_bytes for info in infos if bucket.delete(info.name, info.generation))


def clear_unborn(bucket: Bucket) -> int:
    """Remove version folders that never had a manifest or .done, in every generation; the bytes freed.

    Such a folder was never named by a statement: a statement is only made after its version's manifest and .done.
    """
    freed_bytes = 0
    recorded = _recorded(bucket)
    for store in layout.STORES.values():
        for path in bucket.prefixes(f"{store}/"):
            version = path.rstrip("/").rpartition("/")[2]
            if not layout.is_version(version) or version in recorded:
                continue
            freed_bytes += _remove(bucket, bucket.list(path, versions=True))
    return freed_bytes

"""What dead runs leave behind: files under `.tmp/`, and version folders that never became versions.

Only for who holds the publication lease. Everything is removed by generation: a plain delete in a versioned bucket
would only hide it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.models import layout
from scripts.models.spans import Span

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket
    from scripts.cloud.storage_objects import ObjectInfo

Check = Callable[[], None]
# Later than every version name.
_ALL = "~"


@dataclass(frozen=True)
class Leftovers:
    """What dead runs left that may be of use, none of it proven.

    versions: every version name that appears anywhere in the bucket, finished or not. whole: live objects of versions
    that were never published by their path without the version, newest version first. parts: spans of large files by
    the digest of the whole.
    """

    versions: frozenset[str]
    whole: Mapping[str, tuple[ObjectInfo, ...]]
    parts: Mapping[str, Mapping[Span, ObjectInfo]]


def look(bucket: Bucket, newest: str = "") -> Leftovers:
    """See what is there: four calls, and one for each folder that may be of use.

    newest: the latest version that is published; a later one that was recorded was never committed.
    """
    tmp = [(info, parts) for info in bucket.list(layout.TMP) if (parts := layout.split_tmp(info.name)) is not None]
    paths = [path for store in layout.STORES.values() for path in bucket.prefixes(f"{store}/")]
    recorded = _recorded(bucket)
    folders = [path.rstrip("/").rpartition("/")[2] for path in paths]
    versions = {version for version in [*folders, *recorded] if layout.is_version(version)}
    whole: dict[str, tuple[ObjectInfo, ...]] = {}
    published = {version for version in recorded if version <= newest}
    for path in sorted(_without(paths, published, _ALL), key=lambda path: path.rpartition("/")[0], reverse=True):
        version = path.rstrip("/").rpartition("/")[2]
        for info in bucket.list(path):
            rest = layout.without_version(info.name, version)
            whole[rest] = (*whole.get(rest, ()), info)
    return Leftovers(frozenset(versions | {version for _, (version, _) in tmp}), whole, _parts(tmp))


def _parts(tmp: Sequence[tuple[ObjectInfo, tuple[str, str]]]) -> dict[str, dict[Span, ObjectInfo]]:
    """The spans among what is under `.tmp/` (the newest version's where there are several), if their size fits."""
    found: dict[str, dict[Span, ObjectInfo]] = {}
    for info, (_, rest) in tmp:
        part = layout.split_part(rest)
        if part is not None and info.size_bytes == part[2] - part[1]:
            found.setdefault(part[0], {})[Span(part[1], part[2])] = info
    return found


def _recorded(bucket: Bucket) -> set[str]:
    """Versions that have, or once had, a manifest or .done: these are versions, whatever became of them."""
    names = (info.name for info in bucket.list(layout.MANIFESTS, versions=True))
    return {name.removeprefix(layout.MANIFESTS).rpartition(".")[0] for name in names}


def clear(bucket: Bucket, check: Check = lambda: None) -> int:
    """Remove what dead publishers left, folders that never became versions too, if `.tmp/` tells of any; the bytes
    freed.

    check: raises when this is not the only publisher any more; asked before every removal. `.tmp/` goes last: whoever
    dies in between has left what makes the next one look again. Nothing there costs one call.
    """
    left = _in_tmp(bucket, _ALL)
    return clear_unborn(bucket, check) + _remove(bucket, left, check) if left else 0


def clear_tmp(bucket: Bucket, check: Check = lambda: None, upto: str = _ALL) -> int:
    """Remove everything under `.tmp/` that belongs to a version up to this one, in every generation; the bytes freed.

    Whoever holds the lease is the only publisher, so whatever is there after a commit is nobody's. A publisher that
    lost it without knowing passes by its successor's: that one's version is later.
    """
    return _remove(bucket, _in_tmp(bucket, upto), check)


def clear_unborn(bucket: Bucket, check: Check = lambda: None, upto: str = _ALL) -> int:
    """Remove folders of versions up to this one that never had a manifest or .done, in every generation; bytes freed.

    Such a folder was never named by a statement: a statement is only made after its version's manifest and .done. What
    is recorded is asked again after the files were listed: what became a version meanwhile stays.
    """
    paths = [path for store in layout.STORES.values() for path in bucket.prefixes(f"{store}/")]
    unborn = _without(paths, _recorded(bucket), upto)
    infos = {path: bucket.list(path, versions=True) for path in unborn}
    still = _without(unborn, _recorded(bucket), upto) if unborn else []
    return sum(_remove(bucket, infos[path], check) for path in still)


def _without(paths: Sequence[str], recorded: Collection[str], upto: str) -> list[str]:
    named = ((path, path.rstrip("/").rpartition("/")[2]) for path in paths)
    return [path for path, name in named if layout.is_version(name) and name <= upto and name not in recorded]


def _in_tmp(bucket: Bucket, upto: str) -> list[ObjectInfo]:
    named = ((info, layout.split_tmp(info.name)) for info in bucket.list(layout.TMP, versions=True))
    return [info for info, parts in named if parts is not None and parts[0] <= upto]


def _remove(bucket: Bucket, infos: Sequence[ObjectInfo], check: Check) -> int:
    freed_bytes = 0
    for info in infos:
        check()
        if bucket.delete(info.name, info.generation):
            freed_bytes += info.size_bytes
    return freed_bytes

"""All versions that a bucket's statements vouch for, newest statement first; the past, for copying and for showing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from scripts.models import statements
from scripts.models.manifest import Manifest
from scripts.models.statements import Problem, Statement
from scripts.settings.types import TrustedKey

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket


def verified(bucket: Bucket, keys: Sequence[TrustedKey]) -> Iterator[tuple[Statement, dict[str, object]] | Problem]:
    """Every statement (with its envelope) that verifies, or why one does not; highest serial first."""
    for serial in statements.serials(bucket)[0][: statements.MAX_TRIED]:
        yield statements.open_statement(bucket, serial, keys)


def signed_manifests(bucket: Bucket, keys: Sequence[TrustedKey], *, limit: int) -> list[Manifest]:
    """The manifests of up to `limit` versions as they were signed, newest statement first, each version once.

    Whether their files are still there is not asked: this tells what was meant, and where bytes may be found.
    """
    found: list[Manifest] = []
    seen: set[str] = set()
    for item in verified(bucket, keys):
        if isinstance(item, Problem) or item[0].version in seen:
            continue
        seen.add(item[0].version)
        content = statements.open_manifest(bucket, item[0])
        if not isinstance(content, Problem):
            found.append(content)
        if len(seen) >= limit:
            break
    return found

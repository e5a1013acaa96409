"""All versions that a bucket's statements vouch for, newest statement first; the past, for copying and for showing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from scripts.models import statements
from scripts.models.statements import Problem, Statement, Trusted
from scripts.settings.types import TrustedKey

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket


def verified(bucket: Bucket, keys: Sequence[TrustedKey]) -> Iterator[tuple[Statement, dict[str, object]] | Problem]:
    """Every statement (with its envelope) that verifies, or why one does not; highest serial first."""
    for serial in statements.serials(bucket)[0][: statements.MAX_TRIED]:
        yield statements.open_statement(bucket, serial, keys)


def trusted_versions(bucket: Bucket, keys: Sequence[TrustedKey], *, limit: int) -> list[Trusted]:
    """Up to `limit` versions whose statement, manifest and .done hold up, each once; files are not compared here."""
    found: list[Trusted] = []
    seen: set[str] = set()
    for item in verified(bucket, keys):
        if isinstance(item, Problem) or item[0].version in seen:
            continue
        seen.add(item[0].version)
        opened = statements.open_version(bucket, *item)
        if not isinstance(opened, Problem):
            found.append(opened)
        if len(seen) >= limit:
            break
    return found

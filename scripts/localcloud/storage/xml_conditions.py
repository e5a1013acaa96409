"""Preconditions that only the XML API has: dates, tags of an upload, and those of a copy's source.

cloud.google.com/storage/docs/xml-api/reference-headers
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from scripts.localcloud.storage.conditions import Conditions, integer
from scripts.localcloud.storage.records import Record
from scripts.localcloud.storage.xml_format import etag
from scripts.localcloud.web import ApiError, Request

_SOURCE = "x-goog-copy-source-"


def check_read(record: Record, request: Request) -> None:
    """Whether a GET or HEAD is to be answered with content. Raises ApiError 304 or 412."""
    headers = request.headers
    Conditions.of(request.query, headers=headers).check(
        record.generation, record.metageneration, etag(record), reading=True
    )
    _check_dates(record, headers, reading=True)
    if headers.get("if-range") and headers["if-range"].strip('"') != etag(record):
        headers.pop("range", None)  # the client has a part of something else: it gets the whole


def check_source(record: Record, headers: Mapping[str, str]) -> None:
    """Whether a copy may be made of this source. Raises ApiError 412."""
    asked = {key.removeprefix(_SOURCE): value for key, value in headers.items() if key.startswith(_SOURCE)}
    numbers = {f"if{key}Match": asked.get(f"if-{key.lower()}-match") for key in ("Generation", "Metageneration")}
    wanted = Conditions.of(numbers, headers=asked)
    wanted.check(record.generation, record.metageneration, etag(record))
    _check_dates(record, asked, reading=False)


def for_change(live: Record | None, request: Request) -> None:
    """If-Match and If-None-Match of a PUT or DELETE become the generation that must be there when it is carried out.

    Raises ApiError 400 or 412.
    """
    wanted = Conditions.of({}, headers=request.headers)
    if not wanted.etags and not wanted.not_etags:
        return
    generation = live.generation if live is not None else 0
    wanted.check(generation, 0, etag(live) if live is not None else "")
    if wanted.etags and live is None:
        raise _failed(412)
    if integer(request.query, "ifGenerationMatch") not in (None, generation):
        raise _failed(412)
    request.query["ifGenerationMatch"] = str(generation)


def _check_dates(record: Record, headers: Mapping[str, str], *, reading: bool) -> None:
    """Dates count to the second, and not at all beside a tag (RFC 9110, section 13.2.2)."""
    updated = datetime.fromisoformat(record.updated).replace(microsecond=0)
    until, since = _date(headers.get("if-unmodified-since")), _date(headers.get("if-modified-since"))
    if until is not None and updated > until and "if-match" not in headers:
        raise _failed(412)
    if since is not None and updated <= since and "if-none-match" not in headers:
        raise _failed(304 if reading else 412)


def _date(text: str | None) -> datetime | None:
    """A date of HTTP; None for what is none, which is overlooked."""
    try:
        found = parsedate_to_datetime(text or "")
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _failed(code: int) -> ApiError:
    return ApiError(code, "At least one of the pre-conditions you specified did not hold.", "conditionNotMet")

"""Preconditions: ifGenerationMatch and its siblings, If-Match and If-None-Match."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scripts.localcloud.web import ApiError

_KEYS = ("GenerationMatch", "GenerationNotMatch", "MetagenerationMatch", "MetagenerationNotMatch")
_MAX = 2**63 - 1


@dataclass(frozen=True)
class Conditions:
    """What a request demands of the state it finds; generation and metageneration 0 stand for "does not exist"."""

    generation: int | None = None
    not_generation: int | None = None
    metageneration: int | None = None
    not_metageneration: int | None = None
    etags: tuple[str, ...] = ()
    not_etags: tuple[str, ...] = ()

    @classmethod
    def of(cls, query: Mapping[str, Any], prefix: str = "if", headers: Mapping[str, str] | None = None) -> Conditions:
        """From the query parameters (prefix "ifSource" for a copy's source) and, when given, the headers.

        Raises ApiError 400 for a value that is not a whole number.
        """
        # google-cloud-storage's uploads spell the last one "ifMetaGenerationNotMatch".
        query = {key.replace("MetaGeneration", "Metageneration"): value for key, value in query.items()}
        numbers = [integer(query, prefix + key) for key in _KEYS]
        headers = headers or {}
        etags = _tags(headers.get("if-match", "")), _tags(headers.get("if-none-match", ""))
        return cls(numbers[0], numbers[1], numbers[2], numbers[3], *etags)

    def check(self, generation: int, metageneration: int, etag: str = "", *, reading: bool = False) -> None:
        """Raises ApiError 412, or 304 when a read finds the one thing that it already has."""
        if _differs(self.generation, generation) or _differs(self.metageneration, metageneration):
            raise _failed(412)
        if self.etags and "*" not in self.etags and etag not in self.etags:
            raise _failed(412)
        unwanted = (self.not_generation == generation) or (self.not_metageneration == metageneration)
        if unwanted or (etag and (etag in self.not_etags or "*" in self.not_etags)):
            raise _failed(304 if reading else 412)


def integer(values: Mapping[str, Any], key: str) -> int | None:
    """A whole number from 0 to 2^63-1 out of a query or a JSON object. Raises ApiError 400 for anything else."""
    value = values.get(key)
    if value is None:
        return None
    text = str(value)
    if isinstance(value, (str, int)) and text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= _MAX:
        return int(text)
    raise ApiError(400, f"Invalid value for {key}: {text[:100]!r}; expected a whole number", "invalidParameter")


def _differs(wanted: int | None, found: int) -> bool:
    return wanted is not None and wanted != found


def _tags(header: str) -> tuple[str, ...]:
    return tuple(tag.strip().removeprefix("W/").strip('"') for tag in header.split(",") if tag.strip())


def _failed(code: int) -> ApiError:
    return ApiError(code, "At least one of the pre-conditions you specified did not hold.", "conditionNotMet")

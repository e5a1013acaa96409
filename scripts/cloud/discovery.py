"""Google's own description of its APIs as JSON Schema: checks a resource before it is sent, offline.

Source: the discovery documents that ship inside google-api-python-client. Their property types follow "JSON type and
format" of the Google API Discovery Service: 64-bit integers are strings, unknown fields do not exist.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from scripts.errors import BadInput, OpsError

_FORMATS: dict[str, dict[str, Any]] = {
    "int32": {"minimum": -(2**31), "maximum": 2**31 - 1},
    "uint32": {"minimum": 0, "maximum": 2**32 - 1},
    "int64": {"pattern": r"^-?[0-9]{1,19}$"},
    "uint64": {"pattern": r"^[0-9]{1,20}$"},
    "byte": {"pattern": r"^[A-Za-z0-9+/_-]*={0,2}$"},
    "google-datetime": {
        "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9:]+)$"
    },
    "date-time": {"pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9:]+)$"},
    "date": {"pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
    "google-duration": {"pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
}
_FORMAT_WORDS = {
    "int32": "a whole number of 32 bits",
    "uint32": "a whole number of 32 bits, not negative",
    "int64": 'a whole number in quotes, like "3600"',
    "uint64": 'a whole number in quotes, not negative, like "3600"',
    "byte": "base64 text",
    "google-datetime": "a time like 2026-11-20T02:00:00Z",
    "date-time": "a time like 2026-11-20T02:00:00Z",
    "date": "a date like 2026-11-20",
    "google-duration": "a duration like 30s",
}
_TYPE_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}


def validate(api: str, version: str, name: str, value: Any, remedy: str = "") -> None:
    """Check a value (plain JSON data) against a schema of an API, e.g. ("run", "v1", "Service").

    Raises BadInput with one line for each unknown field, wrong type and wrong enum: `path: found …, expected …`.
    """
    problems = sorted(set(_problems(api, version, name, value)))
    if problems:
        lines = [f"{_dotted(path) or name}: found {found}, expected {expected}" for path, found, expected in problems]
        raise BadInput("\n".join(lines), remedy or f"Compare with the schema {name} of the API {api} {version}.")


@cache
def schema(api: str, version: str) -> dict[str, Any]:
    """All schemas of an API as one JSON Schema: `{"$defs": {name: …}}`. Raises OpsError for an unknown API."""
    package = importlib.util.find_spec("googleapiclient")
    folders = package.submodule_search_locations if package is not None else None
    file = Path(next(iter(folders or [""]))) / "discovery_cache" / "documents" / f"{api}.{version}.json"
    try:
        written = json.loads(file.read_bytes())["schemas"]
    except OSError as error:
        raise OpsError(f"no description of the API {api} {version} is installed", "Run: ./dev invoke doctor") from error
    return {"$defs": {name: _converted(described) for name, described in written.items()}}


def _converted(described: Mapping[str, Any]) -> dict[str, Any]:
    """One schema of a discovery document as JSON Schema; objects are closed."""
    if "$ref" in described:
        return {"$ref": f"#/$defs/{described['$ref']}"}
    kind = described.get("type", "any")
    if kind == "any":
        return {}
    made: dict[str, Any] = {"type": kind}
    if "enum" in described:
        made["enum"] = list(described["enum"])
    if kind == "array":
        made["items"] = _converted(described.get("items", {}))
    elif kind == "object":
        made["properties"] = {name: _converted(each) for name, each in described.get("properties", {}).items()}
        extra = described.get("additionalProperties")
        made["additionalProperties"] = _converted(extra) if isinstance(extra, Mapping) else bool(extra)
    written_format = described.get("format")
    if written_format in _FORMATS:
        made |= _FORMATS[written_format]
        made["description"] = _FORMAT_WORDS[written_format]
    elif "pattern" in described:
        made["pattern"] = described["pattern"]
    return made


@cache
def _validator(api: str, version: str, name: str) -> Any:
    from jsonschema import Draft202012Validator

    if name not in schema(api, version)["$defs"]:
        raise OpsError(f"the API {api} {version} has no schema {name!r}")
    return Draft202012Validator(schema(api, version) | {"$ref": f"#/$defs/{name}"})


def _problems(api: str, version: str, name: str, value: Any) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    for error in _validator(api, version, name).iter_errors(value):
        path = tuple(error.absolute_path)
        if error.validator != "additionalProperties":
            yield path, _shown(error.instance), _expected(error.validator, error.schema)
            continue
        known = sorted(error.schema["properties"])
        for extra in sorted(set(map(str, error.instance)) - set(known)):
            yield (*path, extra), "an unknown field", _known(extra, known)


def _known(extra: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(extra, known, 1, 0.6)
    return f"one of {', '.join(known)}" + (f"; did you mean {close[0]}?" if close else "")


def _expected(validator: str, described: Mapping[str, Any]) -> str:
    if validator == "enum":
        return "one of " + ", ".join(map(str, described["enum"]))
    words = described.get("description") or _TYPE_WORDS.get(str(described.get("type")), "another value")
    return str(words)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:79] + "…"


def _dotted(path: Sequence[str | int]) -> str:
    """A path as people write it; a key that is no plain word stands in brackets."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", part):
            text += f".{part}"
        else:
            text += f"[{json.dumps(part, ensure_ascii=False)}]"
    return text.removeprefix(".")

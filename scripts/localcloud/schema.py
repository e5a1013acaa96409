"""Checks request bodies against the field names and types of Google's own discovery document.

Refuses unknown fields as Google does ("Unknown name … Cannot find field."); Cloud Storage alone, whose front is older
than that of the other APIs, overlooks them, and refuses values of a wrong type only. The document is read as data from
the installed google-api-python-client; where that is absent nothing is checked.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.localcloud.web import ApiError, Match, Request

_WHOLE = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_DOUBLE = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|NaN|-?Infinity", re.ASCII)
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int, float, str),
    "number": (int, float, str),
    "boolean": (bool,),
}


_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:]{8}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:?[0-9]{2})")
_FORMATS = {
    "byte": re.compile(r"[A-Za-z0-9+/_-]*={0,2}"),
    "date": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    "date-time": _TIME,
    "google-datetime": _TIME,
    "google-duration": re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,9})?s"),
}
_WELL_KNOWN = {
    "google-datetime": "type.googleapis.com/google.protobuf.Timestamp",
    "google-duration": "type.googleapis.com/google.protobuf.Duration",
    "byte": "TYPE_BYTES",
}
_RANGES = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
_ECHOING = ("run", "cloudscheduler")  # their answers repeat what bodies say
# Google's own clients write the enums of these by number, and the rooms read them.
_NUMBERED = ("logging.entries.write", "cloudscheduler.")
_VERSION = re.compile(r"/(v[0-9]+)(?:/|$)")


@dataclass(frozen=True)
class _Reader:
    """How an API reads bodies. numbers: enums may come as numbers; overlooks: fields that it does not know."""

    numbers: bool = False
    overlooks: bool = False


_OLD_FRONT = _Reader(overlooks=True)


def enter(match: Match, request: Request) -> None:
    """Give a request what its path says, and have its body checked against the method that it calls."""
    request.params = match.params
    request.accept = functools.partial(accepted, match.operation, request.raw_path)


def accepted(operation: str, path: str, value: Any) -> Any:
    """The body of a call of Google's method `operation` as it is taken: of Cloud Storage's without what it overlooks.

    path is the request's (it tells the version of the API). Raises ApiError 400.
    """
    api, version = operation.partition(".")[0], _VERSION.search(path)
    document = f"{api}.{version[1] if version else 'v1'}"
    name = _requests(document).get(operation)
    if name is None:
        return value
    if not name:
        return _nothing(value)
    if api == "storage":
        try:
            return _taken(_schemas(document), {"$ref": name}, value, "", _OLD_FRONT)
        except ApiError as error:
            raise ApiError(400, error.message, "invalid") from None
    root = "" if name.endswith("Request") else name[0].lower() + name[1:]
    check(document, name, value, root, numbers=operation.startswith(_NUMBERED))
    return _plain(_schemas(document), {"$ref": name}, value) if api in _ECHOING else value


def _nothing(value: Any) -> Any:
    """The body of a call of a method that has none: an empty one at most."""
    for key in value:
        raise ApiError(400, f'Invalid JSON payload received. Unknown name "{key}": Cannot find field.', "invalid")
    return value


@functools.cache
def _requests(document: str) -> dict[str, str]:
    """The schemas of the bodies of an API's methods, by the methods' ids."""
    found: dict[str, str] = {}
    waiting = [_document(document)]
    while waiting:
        resource = waiting.pop()
        waiting += resource.get("resources", {}).values()
        for method in resource.get("methods", {}).values():
            found[method["id"]] = method.get("request", {}).get("$ref", "")
    return found


def _schemas(document: str) -> dict[str, Any]:
    schemas: dict[str, Any] = _document(document).get("schemas", {})
    return schemas


@functools.cache
def _document(document: str) -> dict[str, Any]:
    found = importlib.util.find_spec("googleapiclient")
    if found is None or not found.origin:
        return {}
    path = Path(found.origin).parent / "discovery_cache" / "documents" / f"{document}.json"
    if not path.exists():
        return {}
    read: dict[str, Any] = json.loads(path.read_bytes())
    return {key: read[key] for key in ("schemas", "methods", "resources") if key in read}


def check(document: str, name: str, value: Any, root: str, *, numbers: bool = False) -> None:
    """Raise ApiError 400 at the first field that schema `name` does not know or whose type is wrong.

    root is what the message calls the body, e.g. `service`; numbers: enums may come as numbers too, which whoever
    keeps the value must then read.
    """
    schemas = _schemas(document)
    if name in schemas:
        _taken(schemas, schemas[name], value, root, _Reader(numbers))


def without_nulls(value: Any) -> Any:
    """The value without fields that are null: Google's JSON reads null as absent."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def _taken(schemas: dict[str, Any], schema: dict[str, Any], value: Any, place: str, reader: _Reader) -> Any:
    """The value as a reader takes it: all of it, or without the fields that it overlooks. Raises ApiError 400."""
    if value is None:
        return None
    schema = schemas.get(schema.get("$ref", ""), schema)
    kind = schema.get("type")
    if kind == "object":
        return _taken_object(schemas, schema, value, place, reader)
    if kind == "array":
        if not isinstance(value, list):
            raise _wrong(place, value, "a list")
        items = schema.get("items", {})
        return [_taken_item(schemas, items, item, f"{place}[{index}]", reader) for index, item in enumerate(value)]
    if kind in _TYPES:
        _check_scalar(schema, kind, value, place, reader.numbers)
    return value


def _taken_object(schemas: dict[str, Any], schema: dict[str, Any], value: Any, place: str, reader: _Reader) -> Any:
    if not isinstance(value, dict):
        raise _wrong(place, value, "an object")
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    if "properties" not in schema and others is None:
        return value  # of any form
    taken = {}
    for key, item in value.items():
        inner = properties.get(key, others)
        if inner is not None:
            taken[key] = _taken(schemas, inner, item, f"{place}.{key}".lstrip("."), reader)
        elif not reader.overlooks:
            at = f" at '{place}'" if place else ""
            raise ApiError(400, f'Invalid JSON payload received. Unknown name "{key}"{at}: Cannot find field.')
    return taken


def _taken_item(schemas: dict[str, Any], schema: dict[str, Any], item: Any, place: str, reader: _Reader) -> Any:
    """An item of a list, which may not be null as a field may (protobuf.dev/programming-guides/json)."""
    if item is None:
        raise _wrong(place, item, "a value")
    return _taken(schemas, schema, item, place, reader)


def _plain(schemas: dict[str, Any], schema: dict[str, Any], value: Any) -> Any:
    """A checked value with its numbers as Google writes them: 32 bits as a number, 64 bits as text."""
    schema = schemas.get(schema.get("$ref", ""), schema)
    if isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        return {key: _plain(schemas, properties.get(key, others), item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(schemas, schema.get("items", {}), item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if schema.get("type") == "integer":
        return int(value)
    return str(int(value)) if schema.get("format") in ("int64", "uint64") else value


def _check_scalar(schema: dict[str, Any], kind: str, value: Any, place: str, numbers: bool) -> None:
    form = schema.get("format", "")
    if kind == "string" and "enum" in schema:
        fits = value in schema["enum"] if isinstance(value, str) else numbers and type(value) is int
        if not fits:
            raise _wrong(place, value, "TYPE_ENUM")
        return
    if kind == "string" and form in ("int64", "uint64"):
        kind = "integer"  # travels as text, accepted as number
    fits = isinstance(value, _TYPES[kind]) and (kind == "boolean") >= isinstance(value, bool)
    if fits and kind == "integer":
        fits = value.is_integer() if isinstance(value, float) else _WHOLE.fullmatch(str(value)) is not None
    if fits and kind == "number":
        fits = _is_double(value)
    if not fits:
        raise _wrong(place, value, f"TYPE_{kind.upper()}")
    if form in _RANGES and not _RANGES[form][0] <= int(value) <= _RANGES[form][1]:
        raise _wrong(place, value, f"TYPE_{form.upper()}")
    if form in _FORMATS and _FORMATS[form].fullmatch(value) is None:
        raise _wrong(place, value, _WELL_KNOWN.get(form, f"TYPE_{form.upper()}"))


def _is_double(value: int | float | str) -> bool:
    if isinstance(value, str):
        return _DOUBLE.fullmatch(value) is not None
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _wrong(place: str, value: Any, expected: str) -> ApiError:
    shown = json.dumps(value)[:80]
    return ApiError(400, f"Invalid value at '{place}' ({expected}), {shown}")

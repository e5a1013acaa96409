"""Checks request bodies against the field names and types of Google's own discovery document.

Refuses unknown fields as Google does ("Unknown name … Cannot find field."). The document is read as data from the
installed google-api-python-client; where that is absent nothing is checked.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from scripts.localcloud.web import ApiError

_WHOLE = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int, float, str),
    "number": (int, float, str),
    "boolean": (bool,),
}


@functools.cache
def _schemas(document: str) -> dict[str, Any]:
    found = importlib.util.find_spec("googleapiclient")
    if found is None or not found.origin:
        return {}
    path = Path(found.origin).parent / "discovery_cache" / "documents" / f"{document}.json"
    if not path.exists():
        return {}
    schemas: dict[str, Any] = json.loads(path.read_bytes())["schemas"]
    return schemas


def check(document: str, name: str, value: Any, root: str) -> None:
    """Raise ApiError 400 at the first field that schema `name` does not know or whose type is wrong.

    root is what the message calls the body, e.g. `service`.
    """
    schemas = _schemas(document)
    if name in schemas:
        _check(schemas, schemas[name], value, root)


def without_nulls(value: Any) -> Any:
    """The value without fields that are null: Google's JSON reads null as absent."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def _check(schemas: dict[str, Any], schema: dict[str, Any], value: Any, place: str) -> None:
    if value is None:
        return
    schema = schemas.get(schema.get("$ref", ""), schema)
    kind = schema.get("type")
    if kind == "object":
        if not isinstance(value, dict):
            raise _wrong(place, value, "an object")
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        for key, item in value.items():
            inner = properties.get(key, others)
            if inner is None and properties:
                raise ApiError(
                    400,
                    f"Invalid JSON payload received. Unknown name \"{key}\" at '{place}': Cannot find field.",
                )
            if inner is not None:
                _check(schemas, inner, item, f"{place}.{key}")
    elif kind == "array":
        if not isinstance(value, list):
            raise _wrong(place, value, "a list")
        for index, item in enumerate(value):
            if item is None:
                raise _wrong(f"{place}[{index}]", item, "a value")
            _check(schemas, schema.get("items", {}), item, f"{place}[{index}]")
    elif kind in _TYPES:
        wide = kind == "string" and schema.get("format") in ("int64", "uint64")  # travels as text, accepted as number
        _check_scalar("integer" if wide else kind, value, place)


def _check_scalar(kind: str, value: Any, place: str) -> None:
    fits = isinstance(value, _TYPES[kind]) and (kind == "boolean") >= isinstance(value, bool)
    if fits and kind == "integer":
        fits = value.is_integer() if isinstance(value, float) else _WHOLE.fullmatch(str(value)) is not None
    if not fits:
        raise _wrong(place, value, f"TYPE_{kind.upper()}")


def _wrong(place: str, value: Any, expected: str) -> ApiError:
    shown = json.dumps(value)[:80]
    return ApiError(400, f"Invalid value at '{place}' ({expected}), {shown}")

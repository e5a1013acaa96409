"""Google's methods as its discovery documents describe them: which one a request means, and what its bodies may be.

Source: the documents that ship inside google-api-python-client. Nothing here knows the stand-in's own routes.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scripts.cloud import discovery
from scripts.errors import BadInput

# In the order in which a path that several APIs have (projects/P/locations) is tried.
APIS = (
    ("storage", "v1"), ("run", "v1"), ("run", "v2"), ("logging", "v2"), ("cloudscheduler", "v1"), ("monitoring", "v3"),
    ("secretmanager", "v1"), ("iam", "v1"), ("serviceusage", "v1"), ("cloudresourcemanager", "v1"),
    ("cloudresourcemanager", "v3"), ("cloudkms", "v1"), ("iamcredentials", "v1"),
)  # fmt: skip


@dataclass(frozen=True)
class Method:
    """One method: `asked` and `answered` name the schemas of its bodies, "" for none; media is an upload's path."""

    id: str
    api: str
    version: str
    verb: str
    path: str
    pattern: re.Pattern[str]
    asked: str
    answered: str
    parameters: tuple[tuple[str, str, str], ...]  # name, place (path or query), type or format
    media: bool = False


@cache
def document(api: str, version: str) -> dict[str, Any]:
    """A discovery document as it is shipped."""
    package = importlib.util.find_spec("googleapiclient")
    assert package is not None and package.origin is not None
    file = Path(package.origin).parent / "discovery_cache" / "documents" / f"{api}.{version}.json"
    found: dict[str, Any] = json.loads(file.read_bytes())
    return found


@cache
def methods() -> tuple[Method, ...]:
    """Every method of every API above; an upload's paths are methods of their own with the same id."""
    return tuple(method for api, version in APIS for method in _methods(api, version))


def _methods(api: str, version: str) -> Iterator[Method]:
    described = document(api, version)
    common = described.get("parameters", {})
    waiting: list[Mapping[str, Any]] = [described]
    while waiting:
        resource = waiting.pop()
        waiting += resource.get("resources", {}).values()
        for each in resource.get("methods", {}).values():
            path = "/" + described["servicePath"] + each.get("flatPath", each["path"])
            yield _method(api, version, each, path, common)
            for upload in each.get("mediaUpload", {}).get("protocols", {}).values():
                yield _method(api, version, each, upload["path"], common, media=True)


def _method(
    api: str, version: str, each: Mapping[str, Any], path: str, common: Mapping[str, Any], media: bool = False
) -> Method:
    known = {**common, **each.get("parameters", {})}
    parameters = tuple(
        (name, said.get("location", "query"), said.get("format", said.get("type", "string")))
        for name, said in sorted(known.items())
    )
    many = any(said.get("pattern", "").endswith(".*$") for said in known.values())
    return Method(
        each["id"], api, version, each["httpMethod"], path, _pattern(path, api == "storage", many),
        each.get("request", {}).get("$ref", ""), each.get("response", {}).get("$ref", ""), parameters, media,
    )  # fmt: skip


def _pattern(path: str, colons: bool, many: bool) -> re.Pattern[str]:
    parts = re.split(r"\{\+?\w+\}", path)
    inner = [r"[^/]+" if colons else r"[^/:]+"] * (len(parts) - 1)
    if many and inner:
        inner[-1] = r".+"
    text = re.escape(parts[0])
    for one, part in zip(inner, parts[1:], strict=True):
        text += one + re.escape(part)
    return re.compile(text)


@cache
def find(verb: str, path: str, host: str = "") -> tuple[Method, ...]:
    """The methods that a request may mean, best first: several APIs have the same paths on one port."""
    found = [each for each in methods() if verb == each.verb and each.pattern.fullmatch(path)]
    if not found and path.startswith(("/upload/", "/resumable/")) and verb == "PUT":
        found = list(find("POST", path, host))  # a piece of a resumable upload
    named = [each for each in found if each.api in host.split(".")[0]]
    return tuple(named or found)


def problems(method: Method, name: str, value: Any) -> str:
    """What a schema of a method's API finds wrong with a value: lines `path: found …, expected …`, "" for nothing."""
    try:
        discovery.validate(method.api, method.version, name, value)
    except BadInput as error:
        return error.message
    return ""


def lenient(method: Method, name: str, value: Any) -> Any:
    """A request's body as Google's JSON reader takes it: null is absent, numbers may be text and text numbers.

    Source: "JSON Mapping" of Protocol Buffers' documentation; names may be those of the .proto (snake_case) as well.
    """
    return _lenient(document(method.api, method.version)["schemas"], {"$ref": name}, value)


def _lenient(schemas: Mapping[str, Any], schema: Mapping[str, Any], value: Any) -> Any:
    schema = schemas[schema["$ref"]] if "$ref" in schema else schema
    kind, form = schema.get("type"), schema.get("format", "")
    if isinstance(value, dict):
        known = schema.get("properties", {})
        extra = schema.get("additionalProperties")
        made = {}
        for key, item in value.items():
            name = key if key in known else _camel(key) if _camel(key) in known else key
            inner = known.get(name, extra if isinstance(extra, Mapping) else {})
            if item is not None:
                made[name] = _lenient(schemas, inner, item)
        return made
    if isinstance(value, list):
        return [_lenient(schemas, schema.get("items", {}), item) for item in value]
    return _scalar(schema, kind, form, value)


def _scalar(schema: Mapping[str, Any], kind: str | None, form: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return value
    if kind == "string" and form in ("int64", "uint64") and isinstance(value, (int, float)) and value == int(value):
        return str(int(value))
    if kind == "string" and "enum" in schema and isinstance(value, int):
        return schema["enum"][0]  # by number
    if kind == "integer" and isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        return int(value)
    if kind == "number" and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _camel(name: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda found: found[1].upper(), name)

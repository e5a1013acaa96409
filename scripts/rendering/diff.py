"""What applying a rendered resource would change in the live one: only what we manage counts.

The API adds defaults, annotations and status of its own: keys that only the live mapping has are ignored. Lists are
replaced as a whole by a PUT, so they are compared completely: elements by name where all have one, else by place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from scripts.plan import Action, Change

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti|)")
_UNITS = {"m": Decimal("0.001"), "": Decimal(1), "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9)} | {
    "T": Decimal(10**12), "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
}  # fmt: skip

# What the API leaves out of its answer when it is the default.
_DEFAULTS = {"initialDelaySeconds": 0}
# The live namespace is the project's number where we write its id.
_IGNORED = frozenset({"metadata.namespace"})
# Keys that only templates/ write: where the rendered file has none, a live one is to be removed.
_OURS = (
    "command",
    "args",
    "volumes",
    "volumeMounts",
    "run.googleapis.com/network-interfaces",
    "run.googleapis.com/vpc-access-connector",
    "run.googleapis.com/vpc-access-egress",
)


def changes(desired: Mapping[str, Any], live: Mapping[str, Any] | None, target: str) -> tuple[Change, ...]:
    """The changes that turn live into desired, in the order of the rendered file; none = nothing to change.

    desired, live: resources as the API's JSON; live is None when the resource does not exist. target names the
    resource for people, e.g. "service tabular-service".
    """
    if live is None:
        return (Change(Action.CREATE, target),)
    return tuple(_mapping(desired, live, target, ""))


def _compare(desired: Any, live: Any, target: str, path: str) -> Iterator[Change]:
    if path == "spec.traffic" and isinstance(desired, list) and isinstance(live, list):
        if _traffic(desired) != _traffic(live):
            yield Change(Action.UPDATE, target, path, _traffic_text(live), _traffic_text(desired))
    elif isinstance(desired, Mapping) and isinstance(live, Mapping):
        yield from _mapping(desired, live, target, path)
    elif isinstance(desired, list) and isinstance(live, list):
        yield from _list(desired, live, target, path)
    elif not _same(desired, live, path):
        yield Change(Action.UPDATE, target, path, live, desired)


def _mapping(desired: Mapping[str, Any], live: Mapping[str, Any], target: str, path: str) -> Iterator[Change]:
    for key, wanted in desired.items():
        place = _join(path, key)
        found = live.get(key, _DEFAULTS.get(key))
        if place in _IGNORED or (_nothing(wanted) and _nothing(found)):
            continue
        if found is None:
            yield Change(Action.CREATE, target, place, None, wanted)
        else:
            yield from _compare(wanted, found, target, place)
    for key in _OURS:
        if key not in desired and not _nothing(live.get(key)):
            yield Change(Action.DELETE, target, _join(path, key), live[key])


def _list(desired: list[Any], live: list[Any], target: str, path: str) -> Iterator[Change]:
    wanted, found = _by_name(desired), _by_name(live)
    if wanted is None or found is None:
        wanted, found = dict(enumerate(desired)), dict(enumerate(live))
    environment = path.endswith(".env")
    for name, element in wanted.items():
        place = f"{path}[{name}]"
        if name not in found:
            yield Change(Action.CREATE, target, place, None, _variable(element) if environment else element)
        elif environment:
            yield from _variables(element, found[name], target, place)
        else:
            yield from _compare(element, found[name], target, place)
    for name, element in found.items():
        if name not in wanted:
            place = f"{path}[{name}]"
            yield Change(Action.DELETE, target, place, _variable(element) if environment else element)


def _variables(desired: Any, live: Any, target: str, place: str) -> Iterator[Change]:
    wanted, found = _variable(desired), _variable(live)
    if wanted != found:
        yield Change(Action.UPDATE, target, place, found, wanted)


def _variable(element: Any) -> Any:
    """The value of an environment variable; the API leaves an empty one out."""
    if not isinstance(element, Mapping):
        return element
    source = element.get("valueFrom")
    if not source:
        return element.get("value") or ""
    secret = source.get("secretKeyRef") if isinstance(source, Mapping) else None
    return f"secret {secret.get('name')}:{secret.get('key')}" if isinstance(secret, Mapping) else source


def _by_name(elements: Sequence[Any]) -> dict[Any, Any] | None:
    """The elements by name, or None when one has no name or two have the same."""
    if not all(isinstance(element, Mapping) and element.get("name") for element in elements):
        return None
    named = {element["name"]: element for element in elements}
    return named if len(named) == len(elements) else None


def _same(desired: Any, live: Any, path: str) -> bool:
    """Whether two values mean the same: the API writes 64-bit numbers as text and quantities in its own unit."""
    if ".resources." in path:
        wanted, found = _quantity(desired), _quantity(live)
        if wanted is not None and found is not None:
            return wanted == found
    text = _text(desired)
    return bool(desired == live and type(desired) is type(live)) or (text is not None and text == _text(live))


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, str | int | float) else None


def _quantity(value: Any) -> Decimal | None:
    match = _QUANTITY.fullmatch(str(value))
    return Decimal(match[1]) * _UNITS[match[2]] if match else None


def _nothing(value: Any) -> bool:
    """Whether the API leaves a value out of its answer: an empty text, list or mapping."""
    return value is None or (isinstance(value, str | list | tuple | Mapping) and not value)


def _traffic(entries: list[Any]) -> list[tuple[int, str, str]]:
    """Traffic as (percent, revision, tag); the latest revision is called latest, order does not count."""
    return sorted(
        (
            int(entry.get("percent") or 0),
            "latest" if entry.get("latestRevision") else str(entry.get("revisionName") or "latest"),
            str(entry.get("tag") or ""),
        )
        for entry in entries
    )


def _traffic_text(entries: list[Any]) -> str:
    parts = [f"{percent} % {name}" + (f" (tag {tag})" if tag else "") for percent, name, tag in _traffic(entries)]
    return ", ".join(reversed(parts)) or "none"


def _join(path: str, key: str) -> str:
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", key)
    step = key if plain else f"[{key}]"
    return f"{path}.{step}" if path and plain else f"{path}{step}"

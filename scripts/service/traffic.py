"""The stand-in's request log and its faults on demand, as `local.requests` and `local.fault` use them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from scripts.cloud import connect, standin
from scripts.errors import BadInput, ExitCode
from scripts.settings import load
from scripts.units import size

_TEXTS = ("on", "kind", "bucket", "object", "instance")
_FRACTIONS = ("probability", "delay_s")
Table = tuple[Sequence[str], list[list[str]]]


def requests(asked: Mapping[str, str]) -> dict[str, Any]:
    """What the request log holds: {requests, matched} or {summary, matched}. Raises BadInput, Unreachable."""
    query = urlencode({key: value for key, value in asked.items() if value})
    with _named("local.requests"):
        found: dict[str, Any] = standin.call(_url(), f"/_local/requests?{query}")
    return found


def requests_table(found: Mapping[str, Any]) -> Table:
    """Calls, or sums of them, as people read them."""
    if "summary" in found:
        return _sums(found["summary"])
    heads = ("time", "operation", "object", "status", "in", "out", "ms", "caller", "fault")
    return heads, [_call(each) for each in found["requests"]]


def requests_line(found: Mapping[str, Any]) -> str:
    """How many of the calls that match are shown."""
    shown = len(found.get("summary", found.get("requests", ())))
    if "summary" in found:
        return f"{found['matched']} calls"
    return f"{shown} of {found['matched']} calls"


def fault(asked: Mapping[str, str], *, dry_run: bool = False) -> dict[str, Any]:
    """Set a fault; with dry_run only look whether it could be. Raises BadInput naming what is wrong with it."""
    body: dict[str, Any] = {key: _typed(key, value) for key, value in asked.items()}
    with _named("local.fault"):
        found: dict[str, Any] = standin.call(_url(), "/_local/faults", body | ({"dry_run": True} if dry_run else {}))
    return {"dry_run": dry_run, "set": [found]}


def clear(id: str | bool, asked: Mapping[str, str], *, dry_run: bool = False) -> dict[str, Any]:
    """Remove one fault, or all of them (True or `all`). Raises BadInput for an unknown one."""
    if asked:
        raise BadInput(f"--clear and --{next(iter(asked)).replace('_', '-')} exclude each other", "Give one of them.")
    url, wanted = _url(), "" if id in (True, "all") else str(id)
    there = standin.call(url, "/_local/faults")["faults"]
    chosen = [each for each in there if wanted in ("", each["id"])]
    if wanted and not chosen:
        known = ", ".join(each["id"] for each in there) or "none"
        raise BadInput(
            f"--clear: there is no fault {wanted!r}; set are: {known}", "See them: ./dev invoke local.faults"
        )
    if not dry_run:
        chosen = standin.call(url, f"/_local/faults/{quote(wanted)}".rstrip("/"), method="DELETE")["cleared"]
    return {"dry_run": dry_run, "cleared": chosen}


def told(found: Mapping[str, Any]) -> list[str]:
    """What was done, or would be."""
    would = "would " if found["dry_run"] else ""
    if "set" in found:
        return [f"{would}set {'' if would else each['id'] + ': '}{_meant(each)}" for each in found["set"]]
    verb = "would clear" if would else "cleared"
    lines = [f"{verb} {each['id']}: {_meant(each)}; {_happened(each)}" for each in found["cleared"]]
    return lines or ["no fault is set"]


def exit_code(found: Mapping[str, Any]) -> int:
    """DIFFERENCE for a dry run that would change something."""
    changes = found.get("set") or found.get("cleared")
    return int(ExitCode.DIFFERENCE if found["dry_run"] and changes else ExitCode.OK)


def faults() -> dict[str, Any]:
    """The faults that are set: {faults}. Raises Unreachable."""
    return {"faults": standin.call(_url(), "/_local/faults")["faults"]}


def faults_table(found: Mapping[str, Any]) -> Table:
    """id, on, kind, and what came of it."""
    heads = ("id", "on", "kind", "when", "seen", "fired", "missed", "left")
    return heads, [
        [
            each["id"], each["on"], each["kind"], _when(each), str(each["seen"]), str(each["fired"]),
            str(each["missed"]), "forever" if each["left"] is None else str(each["left"]),
        ]
        for each in found["faults"]
    ]  # fmt: skip


def _meant(each: Mapping[str, Any]) -> str:
    return f"{each['kind']} on {each['on']} ({_when(each)})"


def _when(each: Mapping[str, Any]) -> str:
    words = [f"call {each['nth']}" if each["nth"] != 1 or not ("every" in each or "probability" in each) else ""]
    words.append(f"every {each['every']}" if "every" in each else "")
    words.append(f"chance {each['probability']:g}" if "probability" in each else "")
    words.append(f"{each['count']} times" if each["count"] not in (1, "forever") else "")
    words.append("forever" if each["count"] == "forever" else "")
    for key in ("bucket", "object", "instance", "after_bytes", "delay_s", "rate_bytes_s", "retry_after_s"):
        words.append(f"{key.replace('_', '-')} {each[key]}" if key in each else "")
    return ", ".join(word for word in words if word)


def _happened(each: Mapping[str, Any]) -> str:
    return f"seen {each['seen']}, fired {each['fired']}"


def _typed(key: str, value: str) -> Any:
    """An option's text as the value that it stands for. Raises BadInput."""
    if key in _TEXTS or (key == "count" and value == "forever"):
        return value
    try:
        return float(value) if key in _FRACTIONS else int(value)
    except ValueError:
        expected = "a number" if key in _FRACTIONS else "a whole number"
        option = f"--{key.replace('_', '-')}"
        raise BadInput(f"{option}: found {value!r}, expected {expected}", f"For example: {option} 3") from None


@contextlib.contextmanager
def _named(task: str) -> Iterator[None]:
    """Tell a value that the stand-in refuses by its option, which has the name of the field."""
    try:
        yield
    except BadInput as error:
        field, colon, rest = error.message.partition(": ")
        named = f"--{field.replace('_', '-')}: {rest}" if colon and re.fullmatch("[a-z_]+", field) else error.message
        raise BadInput(named, f"Run: ./dev invoke --help {task}") from None


def _call(each: Mapping[str, Any]) -> list[str]:
    name = f"{each['bucket']}/{each['object']}" if each["object"] else each["bucket"]
    caller = each["instance"] or (each["account"] if "@" in each["account"] else each["agent"].partition(" ")[0])
    return [
        _moment(each["time"]), each["operation"], name or each["path"], str(each["status"] or "none"),
        size(each["bytes_in"]), size(each["bytes_out"]), f"{each['ms']:.1f}", caller, each["fault"],
    ]  # fmt: skip


def _moment(time: str) -> str:
    """The time of day, with the date where it is not today's."""
    return time[11:23] if time[:10] == datetime.now(UTC).date().isoformat() else time[:23]


def _caller(kind: str, name: str) -> str:
    """A user agent by its first words, an instance by the first letters of its id, else as it is."""
    words = name.split(" ")
    if kind not in ("caller", "instance"):
        return name
    if len(words) == 1:
        return name[:12] if re.fullmatch("[0-9a-f]{40,}", name) else name
    return " ".join(word[:21] if word.startswith("instance/") else word for word in words[:2])


def _sums(found: Sequence[Mapping[str, Any]]) -> Table:
    kind = next(iter(found[0])) if found else "name"
    heads = (kind, "calls", "in", "out", "errors", "p50 ms", "p95 ms")
    return heads, [
        [
            _caller(kind, each[kind]) or "(none)", str(each["count"]), size(each["bytes_in"]), size(each["bytes_out"]),
            str(each["errors"]), f"{each['p50_ms']:.1f}", f"{each['p95_ms']:.1f}",
        ]
        for each in found
    ]  # fmt: skip


def _url() -> str:
    return connect.standin_url(load.rehearsal_endpoint())

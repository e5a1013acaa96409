"""HTML from values: Jinja is imported when somebody first looks, so that the daemon starts without it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.localcloud.console import values

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = Path(__file__).resolve().parent
ASSETS = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


def render(template: str, data: dict[str, Any]) -> bytes:
    """A template of this package as UTF-8; text that is no Unicode (a lone surrogate) is shown as a question mark."""
    return _environment().get_template(template).render(data).encode("utf-8", errors="replace")


@functools.cache
def asset(name: str) -> bytes:
    """The bytes of one of ASSETS."""
    return (_HERE / "static" / name).read_bytes()


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        size=values.size,
        duration=values.duration,
        age=values.age,
        clock_time=values.clock_time,
        day_time=values.day_time,
        points=points,
        ticks=ticks,
        spans=spans,
        progress=progress,
        latency=values.latency,
        number=values.number,
        parted=parted,
    )
    return made


def points(rates: Sequence[float], width: int = 120, height: int = 28, top: float = 1.0) -> str:
    """A sparkline's points for <polyline>, scaled to the highest rate, or to top if that is higher."""
    if len(rates) < 2:
        return ""
    top = max(*rates, top, 1.0)
    step = width / (len(rates) - 1)
    return " ".join(f"{at * step:.1f},{height - 1 - rate / top * (height - 3):.1f}" for at, rate in enumerate(rates))


def ticks(counts: Sequence[float], width: int, height: int, top: float) -> str:
    """A <path> of upright strokes beside points(), one for each that is not zero and at least 2 high to be seen."""
    step, top = width / max(len(counts) - 1, 1), max(top, 1.0)
    strokes = (
        f"M{at * step:.1f},{height - 1}v-{max(2.0, count / top * (height - 3)):.1f}"
        for at, count in enumerate(counts)
        if count
    )
    return "".join(strokes)


def spans(targets: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The traffic targets that get requests, each with start: where its part of the bar begins, in percent."""
    found, start = [], 0
    for target in targets:
        if target["percent"]:
            found.append({**target, "start": start})
            start += target["percent"]
    return found


def progress(execution: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of an execution's bar in percent of its tasks: [{kind: good|bad|wait, start, width}]."""
    total = max(execution["tasks"], 1)
    found, start = [], 0.0
    for key, kind in (("succeeded", "good"), ("failed", "bad"), ("running", "wait")):
        width = min(100 * execution[key] / total, 100 - start)
        if width > 0:
            found.append({"kind": kind, "start": round(start, 2), "width": round(width, 2)})
            start += width
    return found


def parted(items: Sequence[dict[str, Any]], kind: str) -> dict[str, list[dict[str, Any]]]:
    """{whole, rest}: what is shown whole, and what is only named; of many, those first that need a look."""
    most, troubled = _MOST[kind]
    if len(items) <= most:
        return {"whole": list(items), "rest": []}
    ordered = sorted(items, key=lambda each: not troubled(each))
    return {"whole": ordered[:most], "rest": ordered[most:]}


def _failed_last(job: dict[str, Any]) -> bool:
    return bool(job["executions"]) and job["executions"][0]["state"] in ("failed", "running")


_MOST: dict[str, tuple[int, Callable[[dict[str, Any]], bool]]] = {
    "services": (16, lambda each: each["ready"]["status"] != "True"),
    "instances": (40, lambda each: each["state"] != "ready"),
    "jobs": (8, _failed_last),
    "buckets": (10, lambda each: each["held"] or bool(each["versions"])),
}

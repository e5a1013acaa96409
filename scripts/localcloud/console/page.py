"""HTML from values: Jinja is imported when somebody first looks, so that the daemon starts without it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
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
        spans=spans,
    )
    return made


def points(rates: Sequence[float], width: int = 120, height: int = 28) -> str:
    """A sparkline's points for <polyline>, scaled to the highest rate."""
    if len(rates) < 2:
        return ""
    top = max(*rates, 1.0)
    step = width / (len(rates) - 1)
    return " ".join(f"{at * step:.1f},{height - 1 - rate / top * (height - 3):.1f}" for at, rate in enumerate(rates))


def spans(targets: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The traffic targets that get requests, each with start: where its part of the bar begins, in percent."""
    found, start = [], 0
    for target in targets:
        if target["percent"]:
            found.append({**target, "start": start})
            start += target["percent"]
    return found

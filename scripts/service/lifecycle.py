"""Lifecycle rules of the stand-in's buckets at once, instead of with the next day of its clock."""

from __future__ import annotations

from typing import Any

from scripts.cloud import connect, standin
from scripts.errors import ExitCode, NotFound
from scripts.settings import load

TIMEOUT_S = 600.0
_COUNTS = ("deleted", "archived", "changed", "aborted", "kept")
_SHOWN = 20


def run(bucket: str = "", *, now: bool) -> dict[str, Any]:
    """Carry the rules of all buckets (or of one) out; without `now` only say what they would do.

    Raises NotFound for an unknown bucket, Unreachable when the stand-in does not run.
    """
    url = connect.standin_url(load.rehearsal_endpoint())
    body = {"bucket": bucket, "dry_run": not now}
    try:
        found: dict[str, Any] = standin.call(url, "/_local/lifecycle", body, timeout_s=TIMEOUT_S)
    except NotFound:
        text = f"--bucket: there is no bucket {bucket!r} in the stand-in"
        raise NotFound(text, "Run: ./dev invoke local.status") from None
    return found


def told(found: dict[str, Any]) -> list[str]:
    """A report as lines: counts for each bucket, and the first changes."""
    lines: list[str] = []
    would = "would be " if found["dry_run"] else ""
    for report in found["buckets"]:
        counts = [f"{report[key]} {would if key != 'kept' else ''}{key}" for key in _COUNTS if report[key]]
        lines.append(f"{report['bucket']}: {', '.join(counts) or 'nothing to do'}")
        for change in report["changes"][:_SHOWN]:
            detail = f" ({change['detail']})" if change["detail"] else ""
            mark = f"#{change['generation']}" if change["generation"] else ""
            lines.append(f"  {change['did']:<8} {change['name']}{mark}{detail}")
        more = sum(report[key] for key in _COUNTS) - _SHOWN
        if more > 0:
            lines.append(f"  and {more} more")
    if found["dry_run"] and exit_code(found):
        lines.append("Carry it out: ./dev invoke local.lifecycle --now")
    return lines or ["no bucket has lifecycle rules"]


def exit_code(found: dict[str, Any]) -> int:
    """2 when only shown and there is something to do, else 0."""
    open_ends = any(report[key] for report in found["buckets"] for key in _COUNTS if key != "kept")
    return int(ExitCode.DIFFERENCE if found["dry_run"] and open_ends else ExitCode.OK)

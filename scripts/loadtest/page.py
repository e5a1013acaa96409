"""The report as one HTML page that needs nothing else: no script, no font, no address."""

from __future__ import annotations

from typing import Any

from scripts.loadtest import charts
from scripts.loadtest.report import PERCENTILES, Report
from scripts.loadtest.thresholds import milliseconds
from scripts.settings.project import ROOT
from scripts.units import size

TEMPLATES = ROOT / "templates" / "loadtest"


def render(report: Report) -> str:
    """The page. Whatever comes from outside is escaped."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters.update(ms=milliseconds, size=size, number=lambda value: f"{value:,}")
    return made.get_template("report.html.j2").render(_values(report))


def _values(report: Report) -> dict[str, Any]:
    limit = next((each.threshold for each in report.verdicts if each.threshold.metric == "p99"), None)
    latency = {each.instance: each for each in report.found.served}
    most = max((each.requests for each in report.evidence.witnesses), default=0)
    return {
        "report": report,
        "subject": report.subject,
        "found": report.found,
        "proof": report.evidence,
        "failures": report.failures,
        "errors": sum(report.found.errors.values()),
        "time": charts.over_time(report.found.seconds, limit.limit if limit else None, limit.text if limit else ""),
        "curve": charts.percentiles(report.found.latency),
        "percentiles": [(f"p{percent:g}", report.found.latency.at_ms(percent)) for percent in PERCENTILES],
        "instances": [
            {"witness": each, "own": latency.get(each.instance), "share": 100 * each.requests / most if most else 0}
            for each in sorted(report.evidence.witnesses, key=lambda each: -each.requests)
        ],
        "box": {"width": charts.WIDTH, "height": charts.HEIGHT},
    }

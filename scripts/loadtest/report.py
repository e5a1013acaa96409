"""What came of a load test: for the terminal, for scripts, for the audit, and its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scripts.errors import OpsError
from scripts.loadtest.evidence import Evidence
from scripts.loadtest.measurement import Measurement
from scripts.loadtest.schedule import Schedule
from scripts.loadtest.thresholds import Verdict, milliseconds
from scripts.units import size

PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)
SLOWER = "Ask for less (--rate), give it more room (max_instances, cpu), or see: ./dev invoke logs --env ENVIRONMENT"
ASKED = "{} answers what is asked for: correct --path or --body, or see: ./dev invoke logs --env ENVIRONMENT"
GENERATOR = "Run it on a machine with idle processors, with more --processes, or at a lower --rate; {}"
UNRELIABLE = "until then its figures say nothing of the service."
LAG = "where such lag is usual, accept it with --send-lag TIME."
Row = tuple[str, str]
Table = tuple[Sequence[str], list[list[str]]]


@dataclass(frozen=True)
class Subject:
    """What was tested. image_digest is empty where Cloud Run does not tell it."""

    environment: str
    cloud: str
    service: str
    url: str
    path: str
    revision: str
    image: str
    image_digest: str


@dataclass(frozen=True)
class Report:
    """started_at is RFC 3339. place: the folder of the HTML page and the JSON document; empty when none was written."""

    subject: Subject
    started_at: str
    schedule: Schedule
    found: Measurement
    evidence: Evidence
    verdicts: tuple[Verdict, ...]
    bottleneck: str
    place: str

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Why the test failed, each with its remedy: the generator first, since then nothing else counts."""
        late = self.bottleneck.startswith("the generator sent late")
        slow = [(self.bottleneck, GENERATOR.format(LAG if late else UNRELIABLE))] if self.bottleneck else []
        crossed = [(verdict.line(), self._remedy(verdict)) for verdict in self.verdicts if not verdict.passed]
        empty = [("nothing was measured: the schedule holds no request", "Raise --rate or --duration.")]
        return [*(empty if not self.found.due else []), *slow, *crossed, *self.evidence.problems()]

    def _remedy(self, verdict: Verdict) -> str:
        """What is refused (4xx) is asked wrongly, whatever the rate is; 429 is the platform's "too many"."""
        refused = (kind for kind in self.found.errors if kind.startswith("HTTP 4") and kind != "HTTP 429")
        kind = next(refused, "") if verdict.threshold.metric == "errors" else ""
        return ASKED.format(kind) if kind else SLOWER

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def title(self) -> str:
        """One line that says what was tested."""
        return f"load test of {self.subject.service} on {self.subject.environment}"

    @property
    def versions(self) -> str:
        """The version of the models that its instances serve."""
        return ", ".join(sorted({each.version for each in self.evidence.witnesses if each.version}))

    def check(self) -> None:
        """Return if the test passed; raises OpsError with every failure and its remedy."""
        failures = self.failures
        if failures:
            remedies = dict.fromkeys(remedy for _, remedy in failures)
            raise OpsError("\n".join(what for what, _ in failures), "\n".join(remedies))

    def rows(self) -> list[Row]:
        """Names and values for people."""
        found, proof = self.found, self.evidence
        shown = ", ".join(
            f"p{percent:g} {milliseconds(found.latency.at_ms(percent))}" for percent in (50, 95, 99, 99.9)
        )
        rate = f"{found.rate:.4g} requests a second, {100 * found.achieved:.1f} % of what was due"
        lag = f"p99 {milliseconds(found.lag.at_ms(99))}, {_many(found.processes, 'process', 'processes')}"
        starts = f"{_many(proof.hits, 'hit')}, {_many(proof.misses, 'miss', 'misses')}, "
        starts += _many(proof.cold_starts, "cold start")
        kinds = ", ".join(f"{count} × {what}" for what, count in list(found.errors.items())[:5])
        errors = f"{sum(found.errors.values())} of {found.latency.count} ({found.error_percent:.3g} %)"
        kept = ((("✓ " if each.passed else "✗ ") + each.line()) for each in self.verdicts)
        return [
            ("asked", f"{self.subject.path} at {self.subject.url}"),
            ("sent", f"{found.sent_in_time} in {found.measured_s:g} s: {rate}"),
            ("latency", f"{shown}, max {milliseconds(found.latency.max_ms)}"),
            ("errors", errors + (f": {kinds}" if kinds else "")),
            ("send lag", lag),
            ("instances", f"{proof.serving} served; {starts}"),
            ("pulled upstream", size(proof.upstream_bytes)),
            ("duplicate downloads", self.proof),
            *(("threshold", line) for line in kept),
            ("verdict", "passed" if self.passed else "failed"),
            *([("report", f"{self.place}/report.html")] if self.place else []),
        ]  # fmt: skip

    @property
    def proof(self) -> str:
        """The claim about duplicate downloads in words."""
        if not self.evidence.expected:
            return "no proof was asked for (--instances 0)"
        if self.evidence.problems():
            return f"NOT proven absent: {self.evidence.problems()[0][0]}"
        return f"none: {self.evidence.serving} instances, every start a hit, 0 B pulled"

    def table(self) -> Table:
        """One line for each instance."""
        latency = {each.instance: each for each in self.found.served}
        rows = []
        for each in self.evidence.witnesses:
            own = latency.get(each.instance)
            times = [milliseconds(own.p50_ms), milliseconds(own.p99_ms)] if own else ["", ""]
            start = "during the test" if each.cold else "before"
            pulled = size(each.upstream_bytes)
            rows.append([each.instance[:12], str(each.requests), *times, each.verdict, each.reason, start, pulled])
        return ("instance", "requests", "p50", "p99", "cache", "reason", "started", "pulled"), rows

    def details(self) -> dict[str, Any]:
        """What the audit record keeps, and what a promotion asks for."""
        return {
            "service": self.subject.service, "image": self.subject.image, "image_digest": self.subject.image_digest,
            "revision": self.subject.revision, "manifest_version": self.versions, "path": self.subject.path,
            "rate": self.schedule.stages[-1].to_rate, "duration_s": self.found.measured_s,
            "requests": self.found.latency.count,
            "p99_ms": self.found.latency.at_ms(99), "errors": sum(self.found.errors.values()),
            "instances": self.evidence.serving, "hits": self.evidence.hits, "misses": self.evidence.misses,
            "cold_starts": self.evidence.cold_starts, "upstream_bytes": self.evidence.upstream_bytes,
            "passed": self.passed, "failures": [what for what, _ in self.failures],
        }  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """The document of `loadtest --json`."""
        found = self.found
        return {
            "environment": self.subject.environment, "cloud": self.subject.cloud, "url": self.subject.url,
            "started_at": self.started_at, **self.details(), "warm_up_s": self.schedule.warm_up_s,
            "stages": [vars(stage) for stage in self.schedule.stages],
            "due": found.due, "sent_in_time": found.sent_in_time, "unsent": found.unsent, "achieved": found.achieved,
            "latency_ms": {
                **{f"p{percent:g}": found.latency.at_ms(percent) for percent in PERCENTILES},
                "mean": found.latency.mean_ms, "max": found.latency.max_ms,
            },
            "send_lag_ms": {"p50": found.lag.at_ms(50), "p99": found.lag.at_ms(99), "max": found.lag.max_ms},
            "error_percent": found.error_percent, "errors_by_kind": dict(found.errors),
            "processes": found.processes, "peak_in_flight": found.peak_in_flight,
            "thresholds": [
                {"text": each.threshold.text, "measured": each.value, "passed": each.passed} for each in self.verdicts
            ],
            "witnesses": [vars(each) for each in self.evidence.witnesses],
            "pulled_during_test": None if self.evidence.pulled is None else dict(self.evidence.pulled),
            "served": [vars(each) for each in found.served],
            "seconds": [vars(each) for each in found.seconds],
            "histogram": found.latency.coded(), "report": self.place,
        }  # fmt: skip


def _many(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"

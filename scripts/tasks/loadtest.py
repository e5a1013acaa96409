"""invoke loadtest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scripts.tasks._command import begin, command

if TYPE_CHECKING:
    from scripts.settings.model import Settings
    from scripts.tasks._screen import Screen


@command(
    help={
        "rate": "requests a second, whatever the service answers (default: 50)",
        "duration": "how long the rate is held: 30s, 2m (default: 30s)",
        "instances": "how many instances have to serve, none of which may download twice; 0 asks for no proof",
        "path": "what is asked for",
        "body": "JSON to POST; without it /embed gets a sentence, and other paths are read (GET)",
        "ramp": "before that, rates that change evenly: FROM..TO:TIME, several with commas (10..50:20s)",
        "threshold": "what has to hold: p50 to p99.9, mean or max in ms or s, errors in percent",
        "processes": "processes that send (default: two, or as many as the rate needs)",
        "warm_up": "how long requests are sent before any is measured; 0 for not at all",
        "send_lag": "how late the generator itself may be (p99) before its figures count as worthless",
        "output": "folder for report.html and report.json (default: a new one in the state folder)",
    },
    exits={1: "a threshold was crossed, a model pulled twice, or the generator too slow"},
    more="An open model: latency counts from the moment at which a request was due. The cloud's own logs prove that no "
    "instance downloaded the models. Where the stand-in serves, missing instances are started first.",
)
def loadtest(
    c: Any, env: str = "", service: str = "tabular", rate: str = "50", duration: str = "30s", instances: int = 3,
    path: str = "/embed", body: str = "", ramp: str = "", threshold: str = "p99<500ms,errors<0.1%", processes: int = 0,
    warm_up: str = "5s", send_lag: str = "50ms", output: str = "", dry_run: bool = False, yes: bool = False,
    json: bool = False,
) -> int:  # fmt: skip
    """Load a service, and prove that no model is pulled twice."""
    asked = {key: value for key, value in locals().items() if key not in ("c", "env", "dry_run", "yes", "json")}
    return _carried_out(begin(env, json), asked, dry_run, yes)


def _carried_out(begun: tuple[Screen, Settings], asked: dict[str, Any], dry_run: bool, yes: bool) -> int:
    from scripts.loadtest import run as domain
    from scripts.service.steps import Steps
    from scripts.tasks._screen import show_plan

    screen, settings = begun
    test = domain.prepare(settings, domain.Options(**asked))
    if dry_run:
        return show_plan(screen, test.plan)
    screen.confirm(test.asks, yes or not test.asks)
    report = domain.run(test, Steps(screen))
    screen.rows(report.title, report.rows(), report.table())
    screen.result(report.as_json())
    report.check()
    return 0

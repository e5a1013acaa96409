"""invoke doctor."""

from __future__ import annotations

from typing import Any

from scripts.tasks._command import command


@command(exits={3: "something needed is missing"})
def doctor(c: Any, json: bool = False) -> int:
    """Tell what this machine has, what is missing, and what for."""
    from scripts import doctor as domain
    from scripts.tasks._screen import Screen

    screen = Screen(json=json)
    findings = domain.examine()
    screen.table(domain.HEADERS, [finding.cells() for finding in findings])
    screen.lines(domain.verdict(findings))
    screen.result({"findings": [finding.as_json() for finding in findings]})
    return domain.exit_code(findings)

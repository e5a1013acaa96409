"""invoke render."""

from __future__ import annotations

from typing import Any

from scripts.tasks._command import command, settings_for


@command(help={"output": "folder to write service.yaml and job.yaml to (default: print both)"})
def render(c: Any, env: str = "", service: str = "tabular", output: str = "") -> None:
    """Print or write the Cloud Run YAML of an environment."""
    from scripts.rendering import render as domain
    from scripts.tasks._screen import Screen

    talk, screen, settings = Screen(json=True), Screen(), settings_for(env)
    for note in domain.notes(settings):
        talk.note(note, warning=True)
    if output:
        screen.lines(str(path) for path in domain.write(settings, output, service=service))
    else:
        screen.text(
            f"{domain.service_yaml(settings, service=service)}---\n{domain.job_yaml(settings, service=service)}"
        )

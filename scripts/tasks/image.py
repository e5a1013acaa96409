"""invoke image.*: container images."""

from __future__ import annotations

from typing import Any

from scripts.tasks._command import begin, command


@command(
    help={
        "push": "push it to the registry that the environment file names, and keep its digest",
        "tag": "its tag (default: the commit of this checkout)",
        "tool": "docker, podman or gcloud (default: the first of them that is there)",
    },
    more="Without a tool that builds images it says what to install (exit code 3). gcloud builds with Cloud Build.",
)
def build(
    c: Any, env: str = "", service: str = "tabular", push: bool = False, tag: str = "", tool: str = "",
    dry_run: bool = False, json: bool = False,
) -> int:  # fmt: skip
    """Build a service's image, push it, and keep its digest."""
    from scripts.service import image as domain
    from scripts.tasks._screen import carry_out

    screen, settings = begin(env, json)
    work = domain.Image(settings, service, tag=tag, tool=tool, push=push)
    return carry_out(screen, work, dry_run, yes=True)

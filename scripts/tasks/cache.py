"""invoke cache.*: what the bucket holds."""

from __future__ import annotations

from typing import Any

from scripts.tasks._command import begin, command


@command(name="list")
def list_versions(c: Any, env: str = "", json: bool = False) -> None:
    """List the versions of the models: which is active, held, complete, and what was not believed."""
    from scripts.service import inventory, target

    screen, settings = begin(env, json)
    found = inventory.survey(target.reach(settings))
    screen.table(inventory.HEADERS, [version.cells() for version in found.versions])
    if not found.versions:
        screen.line(f"no version in bucket {found.bucket} yet")
    for problem in found.problems:
        screen.note(f"{problem.line()}. {problem.remedy}", warning=True)
    screen.result(found.as_json())


@command(help={"files": "also list every file of the version"})
def show(c: Any, env: str = "", files: bool = False, json: bool = False) -> None:
    """Show the active version: who signed it, when and why, its models, and whether its copies are in step."""
    from scripts.service import inventory, target

    screen, settings = begin(env, json)
    found = inventory.show(target.reach(settings))
    screen.rows(f"models of {settings.environment}", found.rows())
    screen.table(inventory.MODEL_HEADERS, found.models())
    if files:
        screen.table(inventory.FILE_HEADERS, found.files())
    screen.result(found.as_json())

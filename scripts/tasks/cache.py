"""invoke cache.*: what the bucket holds, and every change of it but a sync's own."""

from __future__ import annotations

from typing import Any

from scripts.tasks import sync
from scripts.tasks._command import begin, command


@command(name="list")
def list_versions(c: Any, env: str = "", json: bool = False) -> None:
    """List the versions of the models, and the state of each.

    Also what in the bucket was not believed, and what to do about it.
    """
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
    """Show the active version: its signature, models and copies."""
    from scripts.service import inventory, target

    screen, settings = begin(env, json)
    found = inventory.show(target.reach(settings))
    screen.rows(f"models of {settings.environment}", found.rows())
    screen.table(inventory.MODEL_HEADERS, found.models())
    if files:
        screen.table(inventory.FILE_HEADERS, found.files())
    screen.result(found.as_json())


@command(
    help={
        "full": "read every file back and compare its SHA-256, not only sizes and checksums",
        "version": "verify this version instead of the active one",
    },
    exits={2: "something is wrong, or nothing may serve"},
)
def verify(c: Any, env: str = "", full: bool = False, version: str = "", json: bool = False) -> int:
    """Verify the models in the bucket against what was signed.

    Signature, manifest, .done and every file; changes nothing.
    """
    from scripts.service import checkup

    screen, settings = begin(env, json)
    found = checkup.verify(settings, version, full, screen)
    screen.rows(found.title, found.rows())
    screen.result(found.as_json())
    return found.exit_code


@command(name="sync", help=sync.ACCEPT)
def sync_models(
    c: Any, env: str = "", service: str = "tabular", accept: bool = False, dry_run: bool = False, json: bool = False
) -> int:
    """Run the sync job now: the same as `sync`.

    A tag that moved upstream stays at the published revision until somebody accepts it.
    """
    return sync.carry_out(env, service, accept, dry_run, json)


_ROLLBACK = {
    "to": "go back to this version (default: the newest complete one that is older than the active one)",
    "generation": "go back to the version that this generation of manifest.json tells",
    "reason": "why; shown wherever the hold is told",
    "service": "service that follows, by its short name",
}


@command(help=_ROLLBACK)
def rollback(
    c: Any, env: str = "", to: str = "", generation: int = 0, reason: str = "", service: str = "tabular",
    dry_run: bool = False, yes: bool = False, json: bool = False,
) -> int:  # fmt: skip
    """Make an earlier version active, and hold there.

    Ends when every instance serves it. No sync replaces it until cache.resume.
    """
    from scripts.service import upkeep
    from scripts.tasks._screen import carry_out

    screen, settings = begin(env, json)
    return carry_out(screen, upkeep.Rolling(settings, service, to, generation, reason), dry_run, yes)


@command()
def resume(c: Any, env: str = "", dry_run: bool = False, json: bool = False) -> int:
    """Lift the hold of a rollback: syncs publish again.

    The active version stays until the next sync.
    """
    from scripts.service import upkeep

    return _holds(env, json, dry_run, upkeep.resume)


@command(help={"version": "a complete version: see cache.list"})
def pin(c: Any, version: str = "", env: str = "", dry_run: bool = False, json: bool = False) -> int:
    """Keep a version: no pruning removes it until it is unpinned."""
    from scripts.service import upkeep

    return _holds(env, json, dry_run, upkeep.pin(version, keep=True))


@command(help={"version": "a pinned version: see cache.list"})
def unpin(c: Any, version: str = "", env: str = "", dry_run: bool = False, json: bool = False) -> int:
    """Let a pinned version go: the next pruning may remove it."""
    from scripts.service import upkeep

    return _holds(env, json, dry_run, upkeep.pin(version, keep=False))


@command(help={"keep": "how many complete versions to keep (default: cache.keep of the environment)"})
def prune(c: Any, env: str = "", keep: int = 0, dry_run: bool = False, yes: bool = False, json: bool = False) -> int:
    """Remove old versions and what interrupted syncs left.

    Never one that is active, held or pinned, or that a live revision names.
    """
    from scripts.service import upkeep
    from scripts.tasks._screen import carry_out

    screen, settings = begin(env, json)
    work = upkeep.Pruner(settings, keep)
    screen.table(upkeep.KEPT, work.kept())
    return carry_out(screen, work, dry_run, yes)


@command(exits={2: "--dry-run: something would change; else: something is lost that only a sync brings back"})
def repair(c: Any, env: str = "", dry_run: bool = False, yes: bool = False, json: bool = False) -> int:
    """After a disaster: bring back what signatures vouch for.

    It takes what the bucket still has, noncurrent generations too, and pulls nothing.
    """
    from scripts.service import upkeep
    from scripts.tasks._screen import carry_out

    screen, settings = begin(env, json)
    work = upkeep.Mender(settings)
    for line in work.lost():
        screen.note(line, warning=True)
    return carry_out(screen, work, dry_run, yes)


@command()
def keys(c: Any, env: str = "", json: bool = False) -> None:
    """List the trusted keys, and which statements each signed.

    A key may go when no statement that readers could take needs it.
    """
    from scripts.service import cache as domain
    from scripts.service import target

    screen, settings = begin(env, json)
    found = domain.keys(target.reach(settings))
    screen.table(domain.KEY_HEADERS, [item.cells() for item in found])
    screen.result({"keys": [{**vars(item), "serials": list(item.serials)} for item in found]})


def _holds(env: str, json: bool, dry_run: bool, change: Any) -> int:
    from scripts.tasks._screen import show_done, show_plan

    screen, settings = begin(env, json)
    todo = change(settings, screen, dry_run)
    return show_plan(screen, todo) if dry_run else show_done(screen, todo)

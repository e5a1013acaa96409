"""invoke lock.*: the leases of an environment."""

from __future__ import annotations

from typing import Any

from scripts.tasks._command import begin, command


@command()
def status(c: Any, env: str = "", json: bool = False) -> None:
    """Show the leases: who holds which, what for, and until when."""
    from scripts.service import locks, target

    screen, settings = begin(env, json)
    found = locks.listed(target.reach(settings))
    screen.table(locks.HEADERS, [lock.cells() for lock in found])
    if not found:
        screen.line("no lease was ever held")
    screen.result({"leases": [lock.as_json() for lock in found]})


@command(
    help={"name": "name of the lease: see lock.status"},
    more="One that expired is simply freed. One that is held is freed only after its holder was named and somebody "
    "agreed; the holder's next write then fails.",
)
def release(c: Any, name: str = "", env: str = "", dry_run: bool = False, yes: bool = False, json: bool = False) -> int:
    """Free a lease that a dead command left behind."""
    from scripts.service import locks
    from scripts.tasks._screen import carry_out

    screen, settings = begin(env, json)
    work = locks.Release(settings, name)
    return carry_out(screen, work, dry_run, yes or not work.asks)

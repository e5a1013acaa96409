"""The schedule of an environment's sync job: read it, run it now, pause and resume it."""

from __future__ import annotations

from collections.abc import Callable

from scripts.cloud.scheduler import Schedule, Scheduler
from scripts.errors import NotFound
from scripts.plan import Action, Change, Plan
from scripts.service import changing, ownership, target
from scripts.service.target import Target
from scripts.settings.model import Settings

STATES = {"pause": "PAUSED", "resume": "ENABLED"}


def plan(settings: Settings, verb: str) -> Plan:
    """What pause, resume or run would change; nothing when the schedule is in that state already."""
    reached = target.reach(settings)
    return _plan(_found(reached, reached.cloud.scheduler()), verb)


def act(settings: Settings, verb: str) -> Schedule:
    """Do what the verb says and return the schedule as it then is. Raises NotFound when there is no schedule."""
    reached = target.reach(settings)
    scheduler = reached.cloud.scheduler()
    before = _found(reached, scheduler)
    verbs: dict[str, Callable[[str], Schedule]] = {
        "run": scheduler.run,
        "pause": scheduler.pause,
        "resume": scheduler.resume,
    }
    todo = _plan(before, verb)
    if verb not in verbs or todo.empty:
        return before
    command = f"schedule.{verb}"
    lease = ownership.exclusive(reached, f"schedule-{reached.job_name}", command)
    with lease, changing.recorded(reached, command, todo):
        return verbs[verb](before.name)


def rows(schedule: Schedule) -> list[tuple[str, str]]:
    """Names and values for people."""
    return [
        ("state", schedule.state.lower()),
        ("when", f"{schedule.cron} ({schedule.time_zone})"),
        ("next run", "not while it is paused" if schedule.state == "PAUSED" else schedule.next_run or "unknown"),
        ("last run", schedule.last_run or "never"),
        ("last result", schedule.last_status or ("ok" if schedule.last_run else "none")),
        ("calls", schedule.target),
    ]


def _plan(schedule: Schedule, verb: str) -> Plan:
    name = f"schedule {schedule.name}"
    if verb == "run":
        return Plan(name, (Change(Action.RUN, name, after=schedule.target),))
    wanted = STATES.get(verb, schedule.state)
    changed = (Change(Action.UPDATE, name, "state", schedule.state, wanted),) if wanted != schedule.state else ()
    return Plan(name, changed)


def _found(reached: Target, scheduler: Scheduler) -> Schedule:
    name = reached.settings.sync.schedule_name
    found = scheduler.get(name)
    if found is None:
        text = f"schedule {name} does not exist on {reached.cloud.name}"
        raise NotFound(text, reached.cloud.provisioning(reached.environment))
    return found

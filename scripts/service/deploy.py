"""Deploy: bring a service and its sync job to what the environment file says, and prove that it serves.

    cloud → plan → bucket → keys → job → models → service → ready → verify → traffic

Every step reads before it writes, so an interrupted deploy is completed by the next one. From `keys` on the lease
`deploy-<service>` keeps other deploys out, and an audit record tells how it ended, also when it failed. What serves
keeps its traffic until the new revision has been verified at its own URL, and gets it back when a gate fails.
"""

from __future__ import annotations

from scripts.errors import Unreachable
from scripts.plan import Action, Change, Plan
from scripts.service import memory, planning, preflight, target
from scripts.service.deployment import Agree, Deployment
from scripts.service.preflight import Options
from scripts.service.report import Report
from scripts.service.steps import SILENT, Steps, Talk
from scripts.settings.model import Settings


def plan_deploy(settings: Settings, options: Options, talk: Talk = SILENT) -> Plan:
    """What deploy would do, without doing any of it: not even a stand-in is started. talk hears what deserves care."""
    options.check(settings)
    try:
        reached = target.reach(settings, options.service)
    except Unreachable:
        if settings.provision != "self" or settings.endpoint is not None:
            raise
        start = Change(Action.RUN, "stand-in cloud", after="it is not running; what it keeps is only known once it is")
        return Plan(f"deploy {options.service} to {settings.environment}", (start,))
    reached = preflight.with_digest(reached, options)
    found = preflight.outlook(reached, options)
    if found.live.foundation.bucket:
        for line in planning.warnings(reached, found.live):
            talk.note(line, warning=True)
    preflight.tell(reached, options, found, talk)
    preflight.validate(reached, found, talk, only_looking=True)
    return found.plan


def deploy(settings: Settings, options: Options, talk: Talk, agree: Agree = lambda plan: None) -> Report:
    """Carry a deploy out and return what came of it. agree sees the plan before anything changes, and may raise.

    Raises Refused (a lease is held, Terraform's part is missing, a hook), Unreachable, Conflict, GateFailed when a
    check or a watched share failed and the traffic is where it was, and OpsError when the sync job or the revision
    fails, with the last log lines of what failed.
    """
    options.check(settings)
    run = Deployment(settings, options, Steps(talk), agree=agree)
    run.cloud()
    run.plan()
    memory.remember(settings.environment)
    run.bucket()
    with run.exclusive():
        run.keys()
        run.job()
        run.models(options.mode(settings))
        run.service()
        with run.protected():
            run.ready()
            run.verify()
            run.traffic()
    return run.report()

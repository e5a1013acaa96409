"""What can be typed: `./dev invoke --list`. Each task lives in scripts/tasks/, its work in the domain it names."""

import sys

# Invoke switches the writing of bytecode off; with it every later command starts faster.
sys.dont_write_bytecode = False

from invoke.collection import Collection  # noqa: E402

from scripts.tasks import (  # noqa: E402
    _usage,
    cache,
    deploy,
    doctor,
    health,
    history,
    image,
    loadtest,
    local,
    lock,
    logs,
    promote,
    render,
    rollback,
    schedule,
    status,
    sync,
    toggle,
)

namespace = Collection(
    deploy.deploy,
    promote.promote,
    rollback.rollback,
    toggle.toggle,
    status.status,
    health.health,
    sync.sync,
    render.render,
    loadtest.loadtest,
    logs.logs,
    history.history,
    doctor.doctor,
    cache=Collection.from_module(cache),
    schedule=Collection.from_module(schedule),
    image=Collection.from_module(image),
    lock=Collection.from_module(lock),
    local=Collection.from_module(local),
)
_usage.install(namespace)

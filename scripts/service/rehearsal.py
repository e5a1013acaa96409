"""The stand-in on this machine, as `local.*` commands use it: start, stop, look, and play what traffic would do."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from scripts.cloud import connect, standin
from scripts.cloud.standin import Address
from scripts.errors import BadInput, NotFound, Unreachable
from scripts.service.steps import Steps, Talk
from scripts.settings import load, project
from scripts.settings.model import Settings

MAX_INSTANCES = 50


def folder() -> Path:
    """Where the stand-in keeps everything."""
    return project.state_dir() / "cloud"


def up(talk: Talk, *, model: bool = True) -> Address:
    """Start the daemon, and have the real model fetched; a model that cannot be had is only a warning here.

    Raises what standin.start raises.
    """
    steps = Steps(talk)
    with steps.step("daemon") as step:
        address = standin.start(folder(), project.port(), talk.progress)
        step.outcome = f"process {address.pid}, state in {address.state}"
        caution = standin.outdated(address.url)
    if caution:
        talk.note(caution, warning=True)
    if model:
        with steps.step("model") as step:
            try:
                standin.fetch_corpus(address.url, talk.progress)
                step.outcome = "present"
            except Unreachable as error:
                step.outcome = "missing"
                talk.note(f"{error.message}. {error.remedy}", warning=True)
    return address


def down() -> bool:
    """Stop the daemon; False when none was running."""
    return standin.stop(folder())


def reset() -> bool:
    """Stop the daemon and remove what it keeps; False when there was nothing."""
    return standin.reset(folder())


def status() -> dict[str, Any]:
    """What every room of the stand-in reports. Raises Unreachable when it does not run."""
    found: dict[str, Any] = standin.call(_url(), "/_local/status")
    return found


def log_lines(count: int) -> list[str]:
    """The last lines of the daemon's log. Raises BadInput for a count below 1, NotFound without a log."""
    if count < 1:
        raise BadInput(f"--lines: found {count}, expected 1 or more", "For example: --lines 50")
    return standin.log_lines(folder(), count)


def upstreams(*, stop: bool, start: bool, dry_run: bool = False) -> dict[str, Any]:
    """Counts of the upstreams' requests and bytes, after stopping or starting them where that is asked for."""
    if stop and start:
        raise BadInput("--stop and --start exclude each other", "Give one of them, or none to look only.")
    body = {"running": start} if (stop or start) and not dry_run else None
    found: dict[str, Any] = standin.call(_url(), "/_local/upstreams", body)
    return found


def scale(service: str, count: int, settings: Settings | None = None) -> dict[str, Any]:
    """Start `count` further instances of a service and wait until they are ready.

    service: its short name in the settings' environment; without settings its name in Cloud Run, or a short name of
    any environment. Raises BadInput for a count out of range, NotFound for an unknown service, OpsError when an
    instance does not become ready.
    """
    if not 1 <= count <= MAX_INSTANCES:
        raise BadInput(f"--instances: found {count}, expected 1 to {MAX_INSTANCES}", "For example: --instances 1")
    url = _url()
    if settings is not None:
        return standin.add_instances(url, settings.service(service).cloud_run_name, count, settings.project)
    for name in (service, *_cloud_run_names(service)):
        with contextlib.suppress(NotFound):
            return standin.add_instances(url, name, count, _owner(url, name))
    raise NotFound(f"service {service!r} does not run in the stand-in", "Run: ./dev invoke local.status")


def _owner(url: str, service: str) -> str:
    """The project whose service is meant when only its name was given; empty when none of its instances runs."""
    listed = standin.call(url, f"/_local/instances?service={service}")["instances"]
    projects = sorted({str(item["project"]) for item in listed})
    if len(projects) > 1:
        text = f"several environments run a service {service!r}: projects {', '.join(projects)}"
        raise BadInput(text, "Say which one: --env NAME")
    return projects[0] if projects else ""


def _cloud_run_names(service: str) -> list[str]:
    described = (load.read(name) for name in load.environments())
    names = [one.services[service].cloud_run_name for one in described if service in one.services]
    return list(dict.fromkeys(names))


def _url() -> str:
    return connect.standin_url(load.rehearsal_endpoint())

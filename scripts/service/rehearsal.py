"""The stand-in on this machine, as `local.*` commands use it: start, stop, look, and play what traffic would do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.cloud import connect, standin
from scripts.cloud.standin import Address
from scripts.errors import BadInput, NotFound, OpsError, Unreachable
from scripts.service.steps import Steps, Talk
from scripts.settings import load, project

MAX_INSTANCES = 50
SCALE_TIMEOUT_S = 300.0  # an instance may wait for a version until its startup probe gives up


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


def upstreams(*, stop: bool, start: bool) -> dict[str, Any]:
    """Counts of the upstreams' requests and bytes, after stopping or starting them where that is asked for."""
    if stop and start:
        raise BadInput("--stop and --start exclude each other", "Give one of them, or none to look only.")
    body = {"running": start} if stop or start else None
    found: dict[str, Any] = standin.call(_url(), "/_local/upstreams", body)
    return found


def scale(service: str, count: int) -> dict[str, Any]:
    """Start instances of a service until `count` run. service: its name in Cloud Run, or its short name.

    Raises BadInput for a count that cannot be (the stand-in only adds), NotFound for an unknown service.
    """
    if not 1 <= count <= MAX_INSTANCES:
        found = "nothing" if count < 0 else count
        raise BadInput(f"--instances: found {found}, expected 1 to {MAX_INSTANCES}", "For example: --instances 3")
    url = _url()
    for name in (service, *_cloud_run_names(service)):
        running = [item for item in _instances(url, name) if item["state"] == "ready"]
        if running and count < len(running):
            text = f"{len(running)} instances of {name} run; the stand-in adds instances and removes none"
            raise BadInput(text, "Run: ./dev invoke local.down, then local.up: it starts min_instances again.")
        if count == len(running):
            return {"service": name, "running": count, "started": 0}
        try:
            body = {"count": count - len(running)}
            told = standin.call(url, f"/_local/services/{name}/instances", body, timeout_s=SCALE_TIMEOUT_S)
        except NotFound:
            continue
        if told.get("problem"):
            text = f"only {told['ready']} of {body['count']} further instances became ready: {told['problem']}"
            raise OpsError(text, "Run: ./dev invoke logs --env ENV")
        return {"service": name, "running": count, "started": told["ready"]}
    raise NotFound(f"service {service!r} does not run in the stand-in", "Run: ./dev invoke local.status")


def _instances(url: str, service: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = standin.call(url, f"/_local/instances?service={service}")["instances"]
    return listed


def rows(found: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A report of the stand-in as names and values; nested mappings are named like storage.buckets."""
    pairs: list[tuple[str, str]] = []
    for key, value in found.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            pairs += rows(value, f"{name}.")
        else:
            pairs.append((name, _text(value)))
    return pairs


def _text(value: Any) -> str:
    if isinstance(value, list):
        items = [", ".join(f"{k} {v}" for k, v in item.items()) if isinstance(item, Mapping) else str(item)
                 for item in value]  # fmt: skip
        return "\n".join(items) or "none"
    return str(value)


def _cloud_run_names(service: str) -> list[str]:
    described = (load.read(name) for name in load.environments())
    names = [one.services[service].cloud_run_name for one in described if service in one.services]
    return list(dict.fromkeys(names))


def _url() -> str:
    return connect.standin_url(load.rehearsal_endpoint())

"""Settings + templates → Cloud Run YAML, checked against Google's own schema before anybody sees it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import yaml

from scripts.cloud import discovery
from scripts.errors import OpsError, Refused
from scripts.rendering.quoting import comment, quoted
from scripts.settings import keys, project
from scripts.settings.model import Service, Settings
from scripts.settings.runtime import Runtime, to_environ
from scripts.settings.types import TrustedKey

TEMPLATES = project.ROOT / "templates"
SERVICE_TEMPLATE = "cloudrun/service.yaml.j2"
JOB_TEMPLATE = "cloudrun/job.yaml.j2"

Keys = Sequence[TrustedKey] | None


def render_service(
    settings: Settings,
    *,
    service: str = "tabular",
    min_serial: int = 0,
    model_version: str = "",
    trusted_keys: Keys = None,
) -> dict[str, Any]:
    """A Cloud Run v1 Service as the API takes it; arguments and errors are service_yaml's."""
    return _parsed(
        service_yaml(
            settings, service=service, min_serial=min_serial, model_version=model_version, trusted_keys=trusted_keys
        )
    )


def render_job(settings: Settings, *, service: str = "tabular", trusted_keys: Keys = None) -> dict[str, Any]:
    """The sync job as the API takes it; arguments and errors are job_yaml's."""
    return _parsed(job_yaml(settings, service=service, trusted_keys=trusted_keys))


def service_yaml(
    settings: Settings,
    *,
    service: str = "tabular",
    min_serial: int = 0,
    model_version: str = "",
    trusted_keys: Keys = None,
) -> str:
    """A Cloud Run v1 Service as YAML.

    min_serial: the lowest statement that instances accept. model_version is written as an annotation, so that a new
    version makes a new revision. trusted_keys: None = those of the settings whose files exist.
    Raises NotFound for an unknown service, BadInput when Google's schema or a template refuses something.
    """
    described = settings.service(service)
    runtime = _runtime(settings, trusted_keys, min_serial=min_serial)
    text = _rendered(
        SERVICE_TEMPLATE, _values(settings, service, described, runtime) | {"model_version": model_version}
    )
    _check("Service", SERVICE_TEMPLATE, text)
    return text


def job_yaml(settings: Settings, *, service: str = "tabular", trusted_keys: Keys = None) -> str:
    """The sync job, which runs a service's image, as Cloud Run v1 YAML. Raises as service_yaml does."""
    described = settings.service(service)
    runtime = _runtime(settings, trusted_keys, sync_mode=True)
    text = _rendered(JOB_TEMPLATE, _values(settings, service, described, runtime) | {"sync": settings.sync})
    _check("Job", JOB_TEMPLATE, text)
    return text


def notes(settings: Settings) -> tuple[str, ...]:
    """What somebody who renders should know, one sentence each."""
    told: list[str] = []
    trusted = keys.trust(settings)
    for path in trusted.missing:
        told.append(f"{path} does not exist yet: MODEL_TRUSTED_KEYS is rendered without it; the first sync makes it.")
    if not settings.signing.trusted_keys:
        told.append(
            f"environments/{settings.environment}.yaml names no trusted key: instances would accept no version."
        )
    if settings.rehearsal:
        told.append(f"Rehearsal on {settings.endpoint}: models and keys are those of environments/local.yaml.")
    return tuple(told)


def write(settings: Settings, output: str | Path, *, service: str = "tabular", trusted_keys: Keys = None) -> list[Path]:
    """Render everything of a service into a folder, each file in one step; the paths written."""
    folder = Path(output)
    texts = {
        "service.yaml": service_yaml(settings, service=service, trusted_keys=trusted_keys),
        "job.yaml": job_yaml(settings, service=service, trusted_keys=trusted_keys),
    }
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        return [_replaced(Path(folder) / name, text) for name, text in texts.items()]
    except OSError as error:
        reason = "it is a file, expected a folder" if folder.is_file() else error.strerror
        raise Refused(f"cannot write to {folder}: {reason}", "Choose another folder with --output") from error


def _replaced(path: Path, text: str) -> Path:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(text, encoding="utf-8")
        return fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _runtime(settings: Settings, trusted_keys: Keys, *, min_serial: int = 0, sync_mode: bool = False) -> Runtime:
    mount = Path(settings.cache.mount_path)
    return Runtime(
        environment=settings.environment,
        project=settings.project,
        region=settings.region,
        bucket=settings.cache.bucket,
        models=settings.specs,
        mount_path=mount,
        enabled=settings.cache.enabled,
        pinned_version=settings.cache.version,
        min_serial=min_serial,
        trusted_keys=tuple(keys.trust(settings).keys if trusted_keys is None else trusted_keys),
        on_miss=settings.cache.on_miss,
        wait_timeout_s=settings.cache.wait_timeout_s,
        verify=settings.cache.verify,
        sync_job=settings.sync.job_name,
        signing_key=settings.signing_key,
        keep=settings.cache.keep,
        sync_mode=sync_mode,
        ollama_models=mount / "ollama",
        sbert_home=mount / "sbert",
    )


def _values(settings: Settings, name: str, service: Service, runtime: Runtime) -> dict[str, Any]:
    labels = dict(settings.labels) | {"env": settings.environment, "service": name, "managed-by": "modelshelf"}
    secrets = {variable: reference.rpartition(":") for variable, reference in service.secret_env.items()}
    return {
        "name": name,
        "environment": settings.environment,
        "project": settings.project,
        "service": service,
        "cache": settings.cache,
        "labels": dict(sorted(labels.items())),
        "network": _network(service),
        "env": dict(service.env) | to_environ(runtime),
        "secrets": {
            variable: {"name": secret, "version": version} for variable, (secret, _, version) in secrets.items()
        },
    }


def _network(service: Service) -> dict[str, str]:
    """The annotations for a private network (Cloud Run v1 has no fields for it)."""
    vpc = service.vpc
    if vpc is None:
        return {}
    if vpc.connector:
        way = {"run.googleapis.com/vpc-access-connector": vpc.connector}
    else:
        interface = {"network": vpc.network, "subnetwork": vpc.subnetwork}
        given = {key: value for key, value in interface.items() if value}
        way = {"run.googleapis.com/network-interfaces": json.dumps([given])}
    return way | {"run.googleapis.com/vpc-access-egress": vpc.egress}


@cache
def _templates() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # YAML, not HTML: every value passes the filter `yaml`
        keep_trailing_newline=True,
    )
    made.filters |= {"yaml": _yaml, "comment": comment}
    return made


def _yaml(value: Any) -> str:
    # The text of an undefined value is jinja's error that names it.
    return str(value) if isinstance(value, jinja2.Undefined) else quoted(value)


def _rendered(template: str, values: Mapping[str, Any]) -> str:
    try:
        return _templates().get_template(template).render(values)
    except jinja2.TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f"templates/{template}" + (f":{line}" if line else "")
        raise OpsError(f"{where}: {error}", f"Correct {where}") from error


def _check(name: str, template: str, text: str) -> None:
    remedy = f"Correct templates/{template}, then run: ./dev nox -s templates"
    try:
        value = _parsed(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else "?"
        raise OpsError(f"templates/{template}: line {line} of the rendered text: {error.problem}", remedy) from error
    discovery.validate("run", "v1", name, value, remedy)


def _parsed(text: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed

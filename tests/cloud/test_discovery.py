"""Google's own description of Cloud Run refuses what the API would refuse, with the place of each mistake."""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest

from scripts.cloud.discovery import schema, validate
from scripts.errors import BadInput, OpsError
from scripts.rendering.render import render_job, render_service
from scripts.settings.load import load

CONTAINER = ("spec", "template", "spec", "containers", 0)


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    return render_service(load("staging"))


def changed(value: Any, place: tuple[str | int, ...], new: Any) -> Any:
    """A copy with another value at a place."""
    made = copy.deepcopy(value)
    section = made
    for part in place[:-1]:
        section = section[part]
    section[place[-1]] = new
    return made


def test_what_we_render_is_accepted(service: dict[str, Any]) -> None:
    validate("run", "v1", "Service", service)
    validate("run", "v1", "Job", render_job(load("staging")))


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (("specs",), {}, "specs: found an unknown field, expected one of apiVersion, kind, metadata, spec, status; did you mean spec?"),
        (("metadata",), [], "metadata: found a list, expected a mapping"),
        (("metadata", "name"), 5, "metadata.name: found 5, expected text"),
        (("metadata", "labels", "a"), True, "metadata.labels.a: found true, expected text"),
        (("metadata", "annotations", "run.googleapis.com/x"), 1, 'metadata.annotations["run.googleapis.com/x"]: found 1, expected text'),
        (("metadata", "creationTimestamp"), "now", 'metadata.creationTimestamp: found "now", expected a time like'),
        ((*CONTAINER, "image"), None, "spec.template.spec.containers[0].image: found null, expected text"),
        ((*CONTAINER, "livenesProbe"), {}, "containers[0].livenesProbe: found an unknown field, expected one of args, "),
        ((*CONTAINER, "env", 0, "value"), 1, "containers[0].env[0].value: found 1, expected text"),
        ((*CONTAINER, "ports", 0, "containerPort"), "8080", 'ports[0].containerPort: found "8080", expected a whole number of 32 bits'),
        ((*CONTAINER, "ports", 0, "containerPort"), 2**31, "containerPort: found 2147483648, expected a whole number of 32 bits"),
        ((*CONTAINER, "ports", 0, "containerPort"), True, "containerPort: found true, expected a whole number"),
        (("spec", "template", "spec", "containers"), {}, "spec.template.spec.containers: found a mapping, expected a list"),
        (("spec", "template", "spec", "volumes", 0, "cloudStorage"), {}, "volumes[0].cloudStorage: found an unknown field"),
        (("spec", "template", "spec", "volumes", 0, "csi", "readOnly"), "yes", 'csi.readOnly: found "yes", expected true or false'),
        (("spec", "traffic", 0, "percent"), 12.5, "spec.traffic[0].percent: found 12.5, expected a whole number"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(
    service: dict[str, Any], place: tuple[Any, ...], value: Any, expected: str
) -> None:
    with pytest.raises(BadInput) as refused:
        validate("run", "v1", "Service", changed(service, place, value), "Correct it")
    assert expected in refused.value.message
    assert len(refused.value.message.splitlines()) == 1
    assert refused.value.remedy == "Correct it"


def test_all_mistakes_are_told_together(service: dict[str, Any]) -> None:
    wrong = changed(changed(service, ("kind",), 1), ("spec", "traffic", 0, "percentage"), 1)
    with pytest.raises(BadInput) as refused:
        validate("run", "v1", "Service", wrong)
    assert len(refused.value.message.splitlines()) == 2


def test_a_wrong_enum_is_told_with_its_choices() -> None:
    job = render_job(load("staging"))
    job["status"] = {"latestCreatedExecution": {"completionStatus": "DONE"}}
    with pytest.raises(BadInput, match=r'completionStatus: found "DONE", expected one of .*EXECUTION_SUCCEEDED'):
        validate("run", "v1", "Job", job)


def test_numbers_of_64_bits_are_texts() -> None:
    job = render_job(load("staging"))
    place = ("spec", "template", "spec", "template", "spec", "timeoutSeconds")
    for value in (3600, "1h"):
        with pytest.raises(BadInput, match=r'timeoutSeconds: .* expected a whole number in quotes, like "3600"'):
            validate("run", "v1", "Job", changed(job, place, value))


@pytest.mark.parametrize("value", [None, [], "Service", 1])
def test_something_else_altogether(value: Any) -> None:
    with pytest.raises(BadInput, match=r"^Service: found .*, expected a mapping"):
        validate("run", "v1", "Service", value)


def test_other_apis_are_described_too() -> None:
    assert "ObjectAccessControl" in schema("storage", "v1")["$defs"]
    with pytest.raises(OpsError, match="no description of the API runs v1"):
        schema("runs", "v1")
    with pytest.raises(OpsError, match="the API run v1 has no schema 'Servic'"):
        validate("run", "v1", "Servic", {})


@pytest.mark.process
def test_importing_it_loads_no_client() -> None:
    program = (
        "import sys, scripts.cloud.discovery; print([m for m in sys.modules if m.startswith(('google', 'jsonschema'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"

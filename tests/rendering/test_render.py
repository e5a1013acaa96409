"""Rendered Cloud Run YAML: goldens of every environment, what depends on settings, and what is refused."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.errors import BadInput, NotFound, OpsError, Refused
from scripts.rendering import render
from scripts.settings.keys import key_id
from scripts.settings.load import environments, load
from scripts.settings.model import Service, Settings, Vpc
from scripts.settings.runtime import from_environ
from scripts.settings.types import TrustedKey

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "golden"
REFRESH = "MODELSHELF_REFRESH_GOLDENS=1 ./dev nox -s templates"
PEM = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""
KEY = TrustedKey(key_id(PEM), PEM)


@pytest.fixture(autouse=True)
def _state(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder that is the same on every machine."""
    monkeypatch.setenv("MODELSHELF_STATE", "/srv/modelshelf")


def changed(environment: str, **changes: Any) -> Settings:
    """Settings of an environment with other values in its service tabular."""
    settings = load(environment)
    service = settings.services["tabular"].model_copy(update=changes)
    return settings.model_copy(update={"services": {"tabular": service}})


def container(rendered: dict[str, Any]) -> dict[str, Any]:
    spec = rendered["spec"]["template"]["spec"]
    found: dict[str, Any] = spec.get("template", {"spec": spec})["spec"]["containers"][0]
    return found


def environ(rendered: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container(rendered)["env"] if "value" in each}


@pytest.mark.parametrize("name", ["service.yaml", "job.yaml"])
@pytest.mark.parametrize("environment", environments())
def test_golden(environment: str, name: str, tmp_path: Path) -> None:
    keys = [KEY] if load(environment).signing.trusted_keys else None
    written = {path.name: path for path in render.write(load(environment), tmp_path, trusted_keys=keys)}
    text = written[name].read_text(encoding="utf-8")
    golden = GOLDEN / environment / name
    if os.environ.get("MODELSHELF_REFRESH_GOLDENS"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    expected = golden.read_text(encoding="utf-8") if golden.exists() else ""
    difference = "".join(difflib.unified_diff(expected.splitlines(True), text.splitlines(True), "golden", "rendered"))
    assert text == expected, (
        f"{golden.name} of {environment} changed; if that is meant, run:\n  {REFRESH}\n{difference}"
    )


def test_every_golden_belongs_to_an_environment() -> None:
    assert sorted(folder.name for folder in GOLDEN.iterdir()) == environments()


def test_the_service_sees_the_bucket_as_cloud_run_v1_writes_it() -> None:
    rendered = render.render_service(load("prod"))
    assert (rendered["apiVersion"], rendered["kind"]) == ("serving.knative.dev/v1", "Service")
    template = rendered["spec"]["template"]
    assert template["metadata"]["annotations"]["run.googleapis.com/execution-environment"] == "gen2"
    assert template["spec"]["volumes"] == [
        {
            "name": "models",
            "csi": {
                "driver": "gcsfuse.run.googleapis.com",
                "readOnly": True,
                "volumeAttributes": {
                    "bucketName": "tabular-model-cache-prod",
                    "mountOptions": "implicit-dirs=true,metadata-cache-ttl-secs=0",
                },
            },
        }
    ]
    assert container(rendered)["volumeMounts"] == [{"name": "models", "mountPath": "/models"}]
    assert rendered["spec"]["traffic"] == [{"percent": 100, "latestRevision": True}]


def test_the_job_nests_one_deeper_and_has_no_mount() -> None:
    rendered = render.render_job(load("prod"))
    assert (rendered["apiVersion"], rendered["kind"]) == ("run.googleapis.com/v1", "Job")
    task = rendered["spec"]["template"]["spec"]["template"]["spec"]
    assert "volumes" not in task
    assert task["timeoutSeconds"] == "3600"
    assert task["serviceAccountName"].startswith("tabular-model-sync@")
    assert environ(rendered)["MODEL_SYNC_MODE"] == "1"


@pytest.mark.parametrize("environment", environments())
def test_a_container_reads_what_was_rendered(environment: str) -> None:
    settings = load(environment)
    service = from_environ(environ(render.render_service(settings, min_serial=7, trusted_keys=[KEY])))
    assert (service.bucket, service.min_serial, service.trusted_keys) == (settings.cache.bucket, 7, (KEY,))
    assert service.models == settings.specs
    job = from_environ(environ(render.render_job(settings)))
    assert job.sync_mode
    assert job.signing_key == settings.signing_key


def test_a_model_version_makes_a_new_revision() -> None:
    place = "modelshelf.dev/model-version"
    without = render.render_service(load("local"))["spec"]["template"]["metadata"]["annotations"]
    version = "20261120T020000Z-3f9a1c2b"
    rendered = render.render_service(load("local"), model_version=version)
    assert place not in without
    assert rendered["spec"]["template"]["metadata"]["annotations"] == without | {place: version}
    assert environ(rendered)["MODEL_CACHE_VERSION"] == ""


def test_labels_say_what_it_is_and_who_made_it() -> None:
    rendered = render.render_service(load("staging"))
    expected = {"env": "staging", "service": "tabular", "managed-by": "modelshelf", "team": "ml-platform"}
    for labels in (rendered["metadata"]["labels"], rendered["spec"]["template"]["metadata"]["labels"]):
        assert expected.items() <= labels.items()


def test_variables_of_the_services_own_and_from_secrets() -> None:
    settings = changed("staging", env={"LOG_LEVEL": "debug"}, secret_env={"HF_TOKEN": "hub-token:3"})
    for rendered in (render.render_service(settings), render.render_job(settings)):
        assert environ(rendered)["LOG_LEVEL"] == "debug"
        expected = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub-token", "key": "3"}}}
        assert expected in container(rendered)["env"]


@pytest.mark.parametrize(
    ("vpc", "expected"),
    [
        (Vpc(connector="c1"), {"run.googleapis.com/vpc-access-connector": "c1"}),
        (
            Vpc(network="n", subnetwork="s", egress="all-traffic"),
            {
                "run.googleapis.com/network-interfaces": '[{"network": "n", "subnetwork": "s"}]',
                "run.googleapis.com/vpc-access-egress": "all-traffic",
            },
        ),
        (Vpc(subnetwork="s"), {"run.googleapis.com/network-interfaces": '[{"subnetwork": "s"}]'}),
    ],
)
def test_a_private_network(vpc: Vpc, expected: dict[str, str]) -> None:
    settings = changed("staging", vpc=vpc)
    annotations = render.render_service(settings)["spec"]["template"]["metadata"]["annotations"]
    assert expected.items() <= annotations.items()
    assert expected.items() <= render.render_job(settings)["spec"]["template"]["metadata"]["annotations"].items()


def test_without_the_cache_there_is_no_mount() -> None:
    settings = load("staging")
    off = settings.model_copy(update={"cache": settings.cache.model_copy(update={"enabled": False})})
    rendered = render.render_service(off)
    assert "volumes" not in rendered["spec"]["template"]["spec"]
    assert "volumeMounts" not in container(rendered)
    assert environ(rendered)["SHARED_MODEL_VOLUME_ENABLED"] == "false"


def test_an_unknown_service_is_named_with_the_ones_there_are() -> None:
    with pytest.raises(NotFound, match=r"service 'tabula' is not in environments/local.yaml; available: tabular"):
        render.render_service(load("local"), service="tabula")


def test_a_key_that_is_not_made_yet_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSHELF_STATE", str(tmp_path))
    settings = load("local")
    assert environ(render.render_service(settings))["MODEL_TRUSTED_KEYS"] == "[]"
    assert "signing.pub does not exist yet" in render.notes(settings)[0]
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/signing.pub").write_text(PEM, encoding="utf-8")
    expected = [{"key_id": KEY.key_id, "public_pem": PEM}]
    assert json.loads(environ(render.render_service(settings))["MODEL_TRUSTED_KEYS"]) == expected
    assert render.notes(settings) == ()


def test_an_environment_without_keys_and_a_rehearsal_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "names no trusted key" in render.notes(load("prod"))[0]
    monkeypatch.setenv("MODELSHELF_ENDPOINT", "http://127.0.0.1:8085")
    assert any("Rehearsal on http://127.0.0.1:8085" in note for note in render.notes(load("prod")))


def test_files_are_written_whole(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "er"
    paths = render.write(load("dev"), folder)
    assert [path.name for path in paths] == ["service.yaml", "job.yaml"]
    assert sorted(folder.iterdir()) == sorted(paths)
    assert yaml.safe_load(paths[0].read_text(encoding="utf-8")) == render.render_service(load("dev"))
    assert render.write(load("dev"), folder) == paths


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(Refused, match=r"cannot write to .*it is a file, expected a folder") as refused:
        render.write(load("dev"), tmp_path / "file")
    assert "--output" in refused.value.remedy


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the templates that a test may spoil."""
    for name in (render.SERVICE_TEMPLATE, render.JOB_TEMPLATE):
        copy = tmp_path / name
        copy.parent.mkdir(exist_ok=True)
        copy.write_text((render.TEMPLATES / name).read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(render, "TEMPLATES", tmp_path)
    render._templates.cache_clear()
    yield tmp_path
    render._templates.cache_clear()


@pytest.mark.parametrize(
    ("written", "spoiled", "expected"),
    [
        (
            "timeoutSeconds: {{ service.timeout_s | yaml }}",
            "timeoutSecond: 5",
            "spec.template.spec.timeoutSecond: found an unknown field, expected one of .*did you mean timeoutSeconds?",
        ),
        (
            "containerConcurrency: {{ service.concurrency | yaml }}",
            "containerConcurrency: many",
            'spec.template.spec.containerConcurrency: found "many", expected a whole number',
        ),
        (
            "          csi:",
            "          cloudStorage:",
            r"spec.template.spec.volumes\[0\].cloudStorage: found an unknown field, expected one of configMap, csi",
        ),
        ("readOnly: true", "readOnly: maybe", r"volumes\[0\].csi.readOnly: found \"maybe\", expected true or false"),
    ],
)
def test_what_google_would_refuse_is_refused_with_its_place(
    templates: Path, written: str, spoiled: str, expected: str
) -> None:
    file = templates / render.SERVICE_TEMPLATE
    text = file.read_text(encoding="utf-8")
    assert written in text
    file.write_text(text.replace(written, spoiled), encoding="utf-8")
    with pytest.raises(BadInput, match=expected) as refused:
        render.render_service(load("staging"))
    assert refused.value.remedy.startswith("Correct templates/cloudrun/service.yaml.j2")


@pytest.mark.parametrize(
    ("spoiled", "expected"),
    [
        ("{{ service.cpus | yaml }}", "has no attribute 'cpus'"),
        ("{{ nothing }}", "'nothing' is undefined"),
        ("{% for %}", r"j2:\d+: .*Expected an expression"),
    ],
)
def test_a_template_that_names_what_is_not_there_is_refused(templates: Path, spoiled: str, expected: str) -> None:
    file = templates / render.JOB_TEMPLATE
    file.write_text(file.read_text(encoding="utf-8") + spoiled, encoding="utf-8")
    with pytest.raises(OpsError, match=expected) as refused:
        render.render_job(load("staging"))
    assert refused.value.message.startswith("templates/cloudrun/job.yaml.j2")


def test_a_template_that_is_no_yaml_is_refused(templates: Path) -> None:
    file = templates / render.SERVICE_TEMPLATE
    file.write_text(file.read_text(encoding="utf-8") + "\n  - [", encoding="utf-8")
    with pytest.raises(OpsError, match=r"templates/cloudrun/service\.yaml\.j2: line \d+"):
        render.render_service(load("staging"))


def test_every_service_setting_reaches_the_yaml() -> None:
    text = (render.TEMPLATES / render.SERVICE_TEMPLATE).read_text(encoding="utf-8")
    elsewhere = {"env", "secret_env", "vpc", "probes"}
    for name in set(Service.model_fields) - elsewhere:
        assert f"service.{name}" in text

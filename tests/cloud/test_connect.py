"""Where an environment's cloud is, and what is said when it cannot be reached."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.cloud import connect
from scripts.errors import AccessDenied, Unreachable
from scripts.settings import load
from scripts.settings.model import Settings
from tests.conftest import StandIn


def settings(environment: str, endpoint: str | None = None) -> Settings:
    described = load.load(environment)
    values: dict[str, Any] = {name: getattr(described, name) for name in type(described).model_fields}
    return Settings.model_construct(**{**values, "endpoint": endpoint})


@pytest.mark.process
def test_without_credentials_the_login_and_the_rehearsal_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(AccessDenied) as refused:
        connect.connect(settings("staging"))
    assert "gcloud auth application-default login" in refused.value.remedy
    assert "local.provision --env staging" in refused.value.remedy


@pytest.mark.process
def test_a_rehearsal_without_a_stand_in_says_local_up() -> None:
    with pytest.raises(Unreachable) as refused:
        connect.connect(settings("staging", "http://127.0.0.1:9"))
    assert refused.value.remedy == "Run: ./dev invoke local.up"


@pytest.mark.process
def test_a_self_provisioned_environment_is_found_or_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODELSHELF_STATE", str(tmp_path))
    with pytest.raises(Unreachable) as refused:
        connect.connect(settings("local"))
    assert "'local' is not running" in refused.value.message
    assert not (tmp_path / "cloud").exists()


@pytest.mark.process
def test_a_stand_in_is_called_without_a_token_and_knows_its_upstreams(shared_standin: StandIn) -> None:
    cloud = connect.connect(settings("staging", shared_standin.url))
    assert cloud.is_standin
    assert cloud.headers_for(f"{shared_standin.url}/run/x", private=True) == {}
    assert cloud.upstreams().ollama == f"{shared_standin.url}/upstream/ollama"
    assert cloud.live_instances("nothing") == frozenset()
    assert cloud.instances_by_revision("nothing") == {}
    assert "local.provision --env staging" in cloud.provisioning("staging")


def test_google_has_the_real_upstreams_and_leaves_instances_to_the_logs() -> None:
    cloud = connect.Cloud("project-a", "europe-west1")
    assert cloud.upstreams().huggingface == "https://huggingface.co"
    assert cloud.live_instances("tabular-service") is None
    assert cloud.instances_by_revision("tabular-service") is None
    assert cloud.headers_for("https://x.run.app", private=False) == {}


@pytest.mark.process
def test_a_person_who_cannot_make_an_id_token_is_told_to_impersonate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    person = {"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"}
    (tmp_path / "adc.json").write_text(json.dumps(person), encoding="utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "adc.json"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(AccessDenied) as refused:
        connect.Cloud("project-a", "europe-west1").headers_for("https://x.run.app", private=True)
    assert "--impersonate-service-account" in refused.value.remedy

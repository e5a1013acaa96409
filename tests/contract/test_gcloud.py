"""gcloud and gsutil themselves on the stand-in, with what `local.env` exports; where they are absent, doctor says so.

A handful of commands run by default; the whole list of what operators type runs in `nox -t full` on a deployed cloud.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import doctor
from scripts.service import exports
from tests.conftest import StandIn
from tests.contract.gcloud_support import GCLOUD, GSUTIL, Terminal
from tests.e2e.conftest import House, build

pytestmark = pytest.mark.process
REGION = "--region europe-west1"
BUCKET = "gs://tabular-model-cache-local"
SYNC = "tabular-model-sync"

# What operators type beside the old runbook, with this project's names: (command, what its output must show).
RUNBOOK = [
    (f"gcloud run jobs execute {SYNC} {REGION}", "successfully started"),
    (f"gsutil cat {BUCKET}/manifest.json", r'"models"'),
    ("gcloud logging read jsonPayload.cache_hit=true --limit=10", "cache_hit: true"),
    (f"gsutil du -sh {BUCKET}", r"[0-9.]+ MiB +gs://"),
    (f"gcloud run jobs execute {SYNC} {REGION} --wait", "successfully completed"),
    (f"gcloud run jobs executions list --job {SYNC} {REGION} --limit 5", "1 / 1"),
    (f"gsutil cat {BUCKET}/.done", '"version"'),
    (f"gsutil ls {BUCKET}/ollama/", r"ollama/\d{8}T"),
    (f"gsutil ls {BUCKET}/sbert/", r"sbert/\d{8}T"),
    (f"gsutil ls -a {BUCKET}/manifest.json", r"manifest\.json#\d{16}"),
    (f"gcloud run services update tabular-service {REGION} --update-labels rollback=true", "100 percent"),
    (f"gcloud run services update tabular-service {REGION} --update-env-vars SHARED_MODEL_VOLUME_ENABLED=true", "100"),
    ("gcloud logging read jsonPayload.manifest_version:* --limit=10", "manifest_version: "),
    (f"gsutil du -h {BUCKET}/", "statements/"),
    (f"gsutil versioning get {BUCKET}", "Enabled"),
    (
        f'gcloud logging read --format=json \'resource.type="cloud_run_job"\n resource.labels.job_name="{SYNC}"\'',
        '"message": "model sync started"',
    ),
    (f"gsutil ls -lh {BUCKET}/ollama/", "TOTAL:"),
    (f"gcloud run jobs executions list --job {SYNC} {REGION} --limit 1 --format='table(name,status,startTime)'", SYNC),
    ("gcloud alpha monitoring policies list --filter='displayName~\"Tabular\"' --format='value(name)'", ""),
    (f"gsutil ls -L -b {BUCKET}", "Bucket Policy Only enabled:.*True"),
    (
        "gcloud logging read 'jsonPayload.cache_hit:* timestamp>=\"2026-01-01T00:00:00Z\"' --format=json",
        '"cache_hit": true',
    ),
    (f"gcloud run services describe tabular-service {REGION} --format=export > service.yaml", ""),
    (f"gcloud run services replace service.yaml {REGION}", "New configuration has been applied"),
    (f"gcloud run revisions list --service tabular-service {REGION}", "tabular-service-00001"),
    (f"gcloud run services update-traffic tabular-service {REGION} --to-latest", "100% LATEST"),
    ("gcloud run services list", "tabular-service"),
    ("gcloud scheduler jobs describe tabular-model-sync-nightly --location europe-west1", "0 2 "),
    ("gcloud scheduler jobs run tabular-model-sync-nightly --location europe-west1", ""),
    ("gcloud scheduler jobs pause tabular-model-sync-nightly --location europe-west1", "paused"),
    (f"gcloud run deploy hello --image us-docker.pkg.dev/cloudrun/container/hello {REGION} --allow-unauthenticated",
     "100 percent"),
    (f"gcloud run services delete hello {REGION}", "Deleted service"),
    (f"gsutil cp service.yaml {BUCKET}/.tmp/20241101-1/a/b", ""),
    (f"gsutil ls {BUCKET}/.tmp/", "20241101-1/"),
    (f"gsutil -m rm -r {BUCKET}/.tmp/20241101-*", "Removing"),
    (f"gcloud storage buckets add-iam-policy-binding {BUCKET} --member=user:a@b.c --role=roles/storage.objectViewer",
     "user:a@b.c"),
]  # fmt: skip


@pytest.fixture
def terminal(shared_standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("MODELSHELF_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MODELSHELF_ENDPOINT", shared_standin.url)
    return Terminal(tmp_path, exports.prepare(""))


def test_doctor_says_whether_gcloud_is_here() -> None:
    finding = next(each for each in doctor.examine() if each.name == "gcloud")
    assert finding.present == (GCLOUD is not None)
    assert finding.required is False
    assert ("Google Cloud SDK" if GCLOUD else "not on the PATH") in finding.found
    assert GCLOUD or "Install the Google Cloud CLI" in finding.remedy


if GCLOUD is not None:

    def test_gcloud_reaches_every_room_and_leaves_the_users_configuration_alone(
        terminal: Terminal, shared_standin: StandIn
    ) -> None:
        (terminal.folder / "file").write_text("text\n", encoding="utf-8")
        made = "gcloud storage buckets create gs://by-gcloud --location=europe-west1"
        terminal.type(f"{made} && gcloud storage cp file 'gs://by-gcloud/a b/ä'")
        assert terminal.type("gcloud storage cat 'gs://by-gcloud/a b/ä'") == "text\n"
        assert shared_standin.get("/storage/v1/b/by-gcloud/o")["items"][0]["name"] == "a b/ä"
        assert "Listed 0 items." in terminal.type("gcloud run services list")
        entry = {"logName": "projects/modelshelf-local/logs/x", "resource": {"type": "global"}, "textPayload": "seen"}
        shared_standin.post("/v2/entries:write", {"entries": [entry]})
        assert "seen" in terminal.type("gcloud logging read textPayload:seen --limit=1 --format='value(textPayload)'")
        assert not (terminal.folder / ".config").exists()
        assert not (terminal.folder / ".gsutil").exists()
        assert Path(terminal.values["CLOUDSDK_CONFIG"], "logs").is_dir(), "its logs are in the state folder"


if GSUTIL is not None:

    def test_gsutil_lists_through_gcloud(terminal: Terminal, shared_standin: StandIn) -> None:
        shared_standin.post("/storage/v1/b?project=modelshelf-local", {"name": "by-gsutil"})
        shared_standin.post("/upload/storage/v1/b/by-gsutil/o?uploadType=media&name=folder/x", {})
        assert terminal.type("gsutil ls gs://by-gsutil/") == "gs://by-gsutil/folder/\n"


if GCLOUD is not None and GSUTIL is not None:

    @pytest.fixture
    def deployed(tmp_path: Path) -> Iterator[House]:
        house = build(tmp_path)
        house.invoke("deploy", "--env", "local")
        yield house
        house.close()

    @pytest.mark.full
    @pytest.mark.timeout(900)
    def test_the_runbooks_commands_work_as_written(deployed: House) -> None:
        values = deployed.json("local.env", "--env", "local")
        house = Terminal(deployed.root, values)
        for command, expected in RUNBOOK:
            shown = house.type(command)
            assert re.search(expected, shown), f"{command}\n{shown}"
        assert len(RUNBOOK) >= 30

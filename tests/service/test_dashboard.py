"""One screen tells what serves and what it stands on; each cause of trouble names its runbook."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from scripts import lease
from scripts.service import dashboard, deploy, instances, status, target
from scripts.service.deploy import Options
from tests.cloud.proxy import Trouble, troubled
from tests.cloud.test_alerts import fire
from tests.conftest import ROOT, StandIn
from tests.service.conftest import Checkout, Listener, Make

pytestmark = pytest.mark.process


def test_everything_is_told_and_an_alert_degrades_it(
    make: Make, shared_standin: StandIn, monkeypatch: pytest.MonkeyPatch, checkout: Checkout
) -> None:
    monkeypatch.setattr(instances, "SEEN_TIMEOUT_S", 15.0)
    settings = make(service={"image": "example/tabular:1"})
    report = deploy.deploy(settings, Options(), Listener())
    found = dashboard.look(settings, "tabular")
    assert (found.verdict, found.exit_code, found.causes) == ("healthy", 0, ())
    rows = dict(found.rows())
    assert rows["hit rate"] == "100 % of the last 1 starts"
    assert rows["bucket"].endswith(" of 953.7 MiB")
    assert (rows["alerts"], rows["leases"]) == ("none open", "none held")
    (headers, revisions), (_, seen) = found.tables()
    assert dict(zip(headers, revisions[0], strict=True)) | {"age": ""} == {
        "revision": report.revision, "traffic": "100 %", "age": "", "state": "ready",
        "models": report.manifest_version, "image": revisions[0][5],
    }  # fmt: skip
    assert len(seen) == 1

    fire(shared_standin, settings.project, "Cache: hit rate")
    with lease.hold(target.reach(settings).bucket, "deploy-tabular-service", "a deploy"):
        held = checkout.typed("status", "--env", "local", code=2).stdout
    assert "cause: alert Cache: hit rate is open for" in held
    assert "(runbooks/alerts/cache-hit-rate.md" in held
    assert "lease: deploy-tabular-service: " in held
    document = json.loads(checkout.typed("status", "--env", "local", "--json", code=2).stdout)
    assert document["status"] == "degraded"
    assert document["causes"][0]["runbook"] == "runbooks/alerts/cache-hit-rate.md"
    assert (document["hits"], document["starts"]) == (1, 1)
    assert checkout.typed("health", "--env", "local").stdout == "tabular-service on local is healthy\n"


def test_health_says_yes_or_no_and_why(make: Make, checkout: Checkout) -> None:
    down = checkout.typed("health", "--env", "local", code=4)
    assert down.stdout.startswith("tabular-service on local is down: service tabular-service does not exist")
    settings = make()
    deploy.deploy(settings, Options(sync="never"), Listener())
    found = dashboard.health(settings, "tabular")
    assert found.as_json()["healthy"] is False
    assert found.line().startswith("tabular-service on local is degraded: new instances start on a miss")
    board = dashboard.look(settings, "tabular")
    assert board.starts == (0, 0)
    assert dict(board.rows())["hit rate"] == "no start seen"
    assert {cause.runbook for cause in board.causes if "miss" in cause.text} == {"runbooks/alerts/cache-hit-rate.md"}


def test_a_full_bucket_and_many_misses_are_causes(make: Make) -> None:
    settings = make()
    found = status.status(settings, "tabular")
    board = dashboard.Board(found, (), {}, 81, 100, (89, 100), (), (), (), ())
    texts = [cause.line() for cause in board.causes]
    assert any("holds 81 % of its capacity" in text and "runbooks/alerts/bucket-capacity.md" in text for text in texts)
    assert any(text.startswith("89 of the last 100 starts were hits") for text in texts)
    assert dashboard.Board(found, (), {}, 80, 100, (90, 100), (), (), (), ()).causes == board.causes[: len(found.down)]


def test_a_sync_without_permission_is_no_miss(make: Make) -> None:
    found = replace(status.status(make(), "tabular"), degraded=("the last sync failed: no permission",))
    board = dashboard.Board(found, (), {}, 0, 100, (0, 0), (), (), (), ())
    assert board.causes[-1].runbook == "runbooks/alerts/model-sync-failures.md"


def test_a_watch_goes_on_until_ctrl_c(make: Make, checkout: Checkout) -> None:
    make()
    typed = [sys.executable, "-m", "invoke", "status", "--env", "local", "--watch", "--every", "1"]
    kept = {name: os.environ[name] for name in ("PATH", "MODELSHELF_STATE", "MODELSHELF_ENDPOINT")}
    environ = {**kept, "HOME": str(ROOT), "LANG": "C.UTF-8"}
    child = subprocess.Popen(typed, cwd=checkout.root, env=environ, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    blocks = 0
    for line in child.stdout:
        blocks += line == "status: down\n"
        if blocks == 2:
            break
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)
    assert child.returncode == 130
    assert "expected 1 to 3600" in checkout.typed("status", "--env", "local", "--watch", "--every", "0", code=3).stderr


def test_a_watch_tells_scripts_when_it_could_not_look(make: Make, checkout: Checkout, shared_standin: StandIn) -> None:
    deploy.deploy(make(), Options(sync="never"), Listener())
    typed = [sys.executable, "-m", "invoke", "status", "--env", "local", "--watch", "--every", "1", "--json"]
    kept = {name: os.environ[name] for name in ("PATH", "MODELSHELF_STATE")}
    with troubled(shared_standin.url) as proxy:
        environ = {**kept, "MODELSHELF_ENDPOINT": proxy.url, "HOME": str(ROOT), "LANG": "C.UTF-8"}
        child = subprocess.Popen(typed, cwd=checkout.root, env=environ, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        documents, text = [], ""
        while len(documents) < 2:
            text += child.stdout.readline()
            if text.endswith("\n}\n"):
                documents.append(json.loads(text))
                proxy.troubles, text = [Trouble("GET", "/services/", "forbidden", 999)], ""
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
    assert documents[0]["status"] == "degraded"
    assert (documents[1]["environment"], documents[1]["status"]) == ("local", "unknown")
    assert "cannot read service tabular-service" in documents[1]["unknown"][0]


def test_on_a_terminal_one_picture_changes(make: Make, checkout: Checkout) -> None:
    make()
    leader, follower = os.openpty()
    typed = [sys.executable, "-m", "invoke", "status", "--env", "local", "--watch", "--every", "1"]
    kept = {name: os.environ[name] for name in ("PATH", "MODELSHELF_STATE", "MODELSHELF_ENDPOINT")}
    environ = {**kept, "HOME": str(ROOT), "LANG": "C.UTF-8", "TERM": "xterm", "COLUMNS": "100"}
    child = subprocess.Popen(typed, cwd=checkout.root, env=environ, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    shown = b""
    while shown.count(b"does not exist") < 3:
        shown += os.read(leader, 65536)
    assert b"\x1b[1A\x1b[2K" in shown  # the picture before is taken away
    child.send_signal(signal.SIGINT)
    assert child.wait(timeout=60) == 130
    os.close(leader)

"""The sync job is run as Cloud Run runs it, its result read from its own record; then the bucket is shown."""

from __future__ import annotations

import pytest

from scripts.errors import NotFound, OpsError
from scripts.service import deploy, inventory, status, sync, target
from scripts.service.deploy import Options
from tests.service.conftest import Listener, Make

pytestmark = pytest.mark.process
TABULAR = {"image": "example/tabular:1"}


def test_it_publishes_once_and_then_finds_nothing_to_do(make: Make, listener: Listener) -> None:
    settings = make(service=TABULAR)
    with pytest.raises(NotFound, match="does not exist"):
        inventory.show(target.reach(settings))
    planned = sync.plan_sync(settings, "tabular").lines()
    assert any(line.startswith("»") for line in planned)
    assert not any("service" in line for line in planned)

    first = sync.sync(settings, "tabular", listener)
    assert first.changed
    assert first.serial == 1
    assert first.upstream_bytes >= 100_000
    assert listener.titles == ["cloud", "bucket", "keys", "job", "models"]
    second = sync.sync(settings, "tabular", Listener())
    assert (second.changed, second.version, second.upstream_bytes) == (False, first.version, 0)

    reached = target.reach(settings)
    shown = inventory.show(reached)
    assert shown.as_json()["version"] == first.version
    assert shown.as_json()["serial"] == 1
    assert shown.problems == ()
    assert [row[0] for row in shown.models()] == ["synthetic"]
    assert len(shown.files()) >= 2
    (version,) = inventory.survey(reached).versions
    assert (version.name, version.active, version.serials, version.problem) == (first.version, True, (1,), "")

    plan = deploy.plan_deploy(settings, Options(sync="auto"))
    assert [change.target for change in plan.changes] == ["service tabular-service"]
    found = status.status(settings, "tabular")
    assert found.exit_code == 4
    assert found.manifest_version == first.version
    assert "succeeded" in found.sync


def test_a_failing_job_shows_its_last_words(make: Make, listener: Listener) -> None:
    gone = [{"name": "gone", "kind": "ollama", "source": "library/gone:1", "revision": "", "size_gb": 0.001}]
    settings = make(service=TABULAR, models=gone, sync={"max_retries": 0})
    with pytest.raises(OpsError) as failed:
        sync.sync(settings, "tabular", listener)
    assert "model sync failed" in failed.value.message
    assert "library/gone" in failed.value.message
    assert "logs --job" in failed.value.remedy
    assert listener.failures == ["models"]


def test_what_was_put_into_the_bucket_is_not_believed(make: Make, listener: Listener) -> None:
    settings = make(service=TABULAR)
    first = sync.sync(settings, "tabular", listener)
    bucket = target.reach(settings).bucket
    bucket.create_object("statements/2.dsse.json", b'{"payload": "", "payloadType": "", "signatures": []}')
    bucket.create_object("manifests/20200101T000000Z-00000000.json", b"{")
    found = inventory.survey(target.reach(settings))
    states = {version.name: version.problem for version in found.versions}
    assert states[first.version] == ""
    assert states["20200101T000000Z-00000000"] != ""
    assert any("statements/2.dsse.json" in problem.object for problem in found.problems)
    assert inventory.show(target.reach(settings)).trusted.version == first.version

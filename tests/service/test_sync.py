"""The sync job is run as Cloud Run runs it, its result read from its own record; then the bucket is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.errors import NotFound, OpsError
from scripts.models import signing, statements
from scripts.service import deploy, inventory, observe, status, sync, target
from scripts.service.preflight import Options
from scripts.service.target import Target
from tests.conftest import StandIn
from tests.service.conftest import Listener, Make

pytestmark = pytest.mark.process
TABULAR = {"image": "example/tabular:1"}
NEVER = Options(sync="never")


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
    assert listener.titles == ["cloud", "plan", "bucket", "keys", "job", "models"]
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


def test_a_tag_that_moved_is_told_and_changes_nothing(make: Make, shared_standin: StandIn, listener: Listener) -> None:
    settings = make(service=TABULAR)
    first = sync.sync(settings, "tabular", listener)
    tag = {"kind": "ollama", "name": "library/synthetic", "tag": "tiny", "size_bytes": 100_001}
    upstream = shared_standin.post("/_local/upstreams/tags", tag)["revision"]
    second = sync.sync(settings, "tabular", listener)
    assert (second.changed, second.version) == (False, first.version)
    (told,) = [note for note in listener.notes if "stays published" in note]
    assert told.endswith(f"models[].revision in environments/local.yaml to {upstream}")


def test_other_files_of_a_model_are_synced_by_the_next_deploy(make: Make, listener: Listener) -> None:
    auto = Options(sync="auto")
    settings = make(service=TABULAR | {"min_instances": 0})
    deploy.deploy(settings, auto, listener)
    assert deploy.plan_deploy(settings, auto).empty
    renamed = make(service={"env": {"COLOUR": "red"}})
    assert not any(line.startswith("»") for line in deploy.plan_deploy(renamed, auto).lines())
    (model,) = settings.models
    other = settings.model_copy(update={"models": (model.model_copy(update={"files": ("*.json",)}),)})
    assert any("what is wanted of the models" in line for line in deploy.plan_deploy(other, auto).lines())
    assert not any(line.startswith("»") for line in deploy.plan_deploy(other, NEVER).lines())


def test_the_floor_of_a_service_never_sinks(make: Make, listener: Listener) -> None:
    settings = make(service=TABULAR | {"min_instances": 0})
    reached = target.reach(settings)
    deploy.deploy(settings, Options(sync="auto"), listener)
    first = status.status(settings, "tabular")
    _lift(reached, "statements/5.dsse.json")
    deploy.deploy(settings, NEVER, Listener())
    assert _floor(reached) == 5
    _hide(reached, "statements/5.dsse.json")

    found = status.status(settings, "tabular")
    assert found.manifest_version == ""
    assert any("below MODEL_MIN_SERIAL 5" in line for line in found.degraded)
    assert "Run: ./dev invoke sync --env local" in "\n".join(found.remedies)
    shown = inventory.show(reached)
    assert any("serial 1 is below the 5" in problem.what for problem in shown.problems)
    told = Listener()
    assert deploy.deploy(settings, NEVER, told).changed is False
    assert any("below MODEL_MIN_SERIAL 5" in note for note in told.notes)
    assert _floor(reached) == 5

    assert deploy.deploy(settings, Options(sync="auto"), Listener()).manifest_version == first.manifest_version
    assert _floor(reached) == 6


def test_a_bucket_that_was_made_anew_counts_from_the_floor(make: Make, listener: Listener) -> None:
    settings = make(service=TABULAR | {"min_instances": 0})
    deploy.deploy(settings, Options(sync="auto"), listener)
    _lift(target.reach(settings), "statements/5.dsse.json")
    deploy.deploy(settings, NEVER, Listener())
    fresh = make(cache={"bucket": f"{settings.cache.bucket}-new"})
    assert deploy.deploy(fresh, Options(sync="auto"), Listener()).manifest_version
    assert _floor(target.reach(fresh)) == 5


def _floor(reached: Target) -> int:
    state = reached.run.get_service(reached.name)
    return state.min_serial if state else 0


def _lift(reached: Target, name: str) -> None:
    """State the active version again, under a higher serial."""
    found = observe.models(reached).reading.trusted
    assert found is not None
    signer = signing.load_signer(reached.settings.signing_key)
    serial = int(name.split("/")[1].split(".")[0])
    reached.bucket.create_object(name, statements.seal(replace(found.statement, serial=serial), signer))


def _hide(reached: Target, name: str) -> None:
    """Delete an object so that its generation stays, noncurrent, as a plain delete does."""
    info = reached.bucket.stat(name)
    assert info is not None
    reached.bucket.delete(name, reached.bucket.replace(name, b"", info.generation).generation)


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

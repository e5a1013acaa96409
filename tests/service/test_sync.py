"""The sync job is run as Cloud Run runs it, its result read from its own record; then the bucket is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.errors import BadInput, NotFound, OpsError
from scripts.models import signing, statements
from scripts.service import deploy, inventory, observe, status, sync, target
from scripts.service.preflight import Options
from scripts.service.target import Target
from tests.conftest import StandIn
from tests.faults import faulty
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


def test_a_tag_that_moved_is_accepted_when_it_is_asked_for(
    make: Make, shared_standin: StandIn, listener: Listener
) -> None:
    settings = make(service=TABULAR)
    first = sync.sync(settings, "tabular", listener)
    published = observe.models(target.reach(settings)).reading.trusted
    assert published is not None
    old = published.manifest.models[0].revision
    planned = sync.plan_sync(settings, "tabular", accept=True).changes
    assert [change.target for change in planned] == ["job tabular-model-sync"]
    tag = {"kind": "ollama", "name": "library/synthetic", "tag": "tiny", "size_bytes": 100_002}
    new = shared_standin.post("/_local/upstreams/tags", tag)["revision"]
    plan = sync.plan_sync(settings, "tabular", accept=True)
    (change,) = [item for item in plan.changes if item.target == "model synthetic"]
    assert (change.path, change.before, change.after) == ("revision", old, new)
    assert not any(item.target == "model synthetic" for item in sync.plan_sync(settings, "tabular").changes)

    done = sync.sync(settings, "tabular", Listener(), accept=True)
    assert done.changed and done.version > first.version
    assert [(tag["published"], tag["upstream"]) for tag in done.accepted] == [(old, new)]
    assert ("accepted synthetic", f"{old} → {new}") in done.rows()
    active = observe.models(target.reach(settings)).reading.trusted
    assert active is not None and active.manifest.models[0].revision == new
    again = sync.sync(settings, "tabular", Listener(), accept=True)
    assert (again.changed, again.upstream_bytes, again.accepted) == (False, 0, ())
    assert sync.sync(settings, "tabular", Listener()).version == done.version  # the job itself accepts nothing

    fixed = [model.model_dump() | {"revision": old, "files": []} for model in settings.models]
    pinned = make(models=fixed)
    for refused in (sync.plan_sync, lambda s, n, **more: sync.sync(s, n, Listener(), **more)):
        with pytest.raises(BadInput, match=r"fixes the revision of every model \(synthetic\)"):
            refused(pinned, "tabular", accept=True)
    new = shared_standin.post("/_local/upstreams/tags", tag | {"tag": "other"})["revision"]
    other = {"name": "other", "kind": "ollama", "source": "library/synthetic:other", "revision": "", "size_gb": 0.001}
    told = Listener()
    mixed = sync.sync(make(models=[*fixed, other]), "tabular", told, accept=True)
    assert any("leaves alone" in note and "synthetic" in note for note in told.notes)
    active = observe.models(target.reach(settings)).reading.trusted
    assert mixed.changed and active is not None
    assert {model.name: model.revision for model in active.manifest.models} == {"synthetic": old, "other": new}


def test_the_job_prunes_what_no_live_revision_names(make: Make, listener: Listener) -> None:
    model = {"kind": "ollama", "source": "library/synthetic:tiny", "revision": "", "size_gb": 0.001}
    made = [deploy.deploy(make(service=TABULAR), Options(), listener).manifest_version]
    for name in ("two", "three", "four"):
        done = sync.sync(make(models=[{"name": name, **model}]), "tabular", Listener())
        made.append(done.version)
        assert done.pruned == ()  # the service still runs on the first one
    deploy.deploy(make(), Options(), Listener())
    done = sync.sync(make(models=[{"name": "five", **model}]), "tabular", Listener())
    assert done.pruned == (made[0], made[1]) and ("removed", f"{made[0]}, {made[1]}") in done.rows()
    left = [version.name for version in inventory.survey(target.reach(make())).versions]
    assert left == [done.version, made[3], made[2]]


def test_a_job_that_may_not_see_the_revisions_removes_nothing(
    make: Make, shared_standin: StandIn, listener: Listener
) -> None:
    model = {"kind": "ollama", "source": "library/synthetic:tiny", "revision": "", "size_gb": 0.001}
    for name in ("one", "two", "three"):
        sync.sync(make(service=TABULAR, models=[{"name": name, **model}]), "tabular", listener)
    with faulty(shared_standin, "run.namespaces.revisions.list", "403", count="forever"):
        told = Listener()
        done = sync.sync(make(models=[{"name": "four", **model}]), "tabular", told)
    assert done.changed and done.pruned == ()
    (warning,) = [note for note in told.notes if "no old version was removed" in note]
    assert "roles/run.viewer" in warning
    assert len(inventory.survey(target.reach(make())).versions) == 4


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

"""Changing the models of a running service: back and held, forth again, pinned, pruned, repaired."""

from __future__ import annotations

import json

import pytest

from scripts import audit
from scripts.errors import BadInput, Conflict, ExitCode, NotFound
from scripts.service import cache, checkup, deploy, instances, inventory, shift, sync, target, upkeep
from scripts.service.preflight import Options
from scripts.service.upkeep import Mender, Pruner, Rolling
from scripts.settings.model import Settings
from tests.service.conftest import Listener, Make

pytestmark = pytest.mark.process
TABULAR = {"image": "example/tabular:1"}


@pytest.fixture
def twice(make: Make, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, str, str]:
    """A service on the second of two versions, each of other models."""
    monkeypatch.setattr(instances, "SEEN_TIMEOUT_S", 15.0)
    first = deploy.deploy(make(service=TABULAR), Options(), Listener()).manifest_version
    model = {"kind": "ollama", "source": "library/synthetic:tiny", "revision": "", "size_gb": 0.001}
    settings = make(service=TABULAR, models=[{"name": "renamed", **model}])
    second = deploy.deploy(settings, Options(), Listener()).manifest_version
    assert second > first
    return settings, first, second


def test_a_rollback_is_not_said_to_reach_what_split_traffic_keeps_from_it(twice: tuple[Settings, str, str]) -> None:
    settings, first, _ = twice
    reached = target.reach(settings)
    state = reached.run.get_service(reached.name)
    assert state is not None
    older = reached.run.list_revisions(reached.name)[-1].name
    lines = [{"revisionName": older, "percent": 60}, {"latestRevision": True, "percent": 40}]
    shift.move(reached, state, lines, lambda text: None)
    with pytest.raises(Conflict, match=rf"gets 40 % of the traffic.*60 % {older}") as failed:
        Rolling(settings, "tabular", first, 0, "").carry_out(Listener())
    assert "deploy --env local" in failed.value.remedy


def test_a_rollback_reaches_every_instance_and_holds(twice: tuple[Settings, str, str], listener: Listener) -> None:
    settings, first, second = twice
    work = Rolling(settings, "tabular", "", 0, "worse answers")
    assert [change.after for change in work.plan.changes] == [first, f"{first} (serial 3)"]
    done = work.carry_out(listener).as_json()
    assert (done["version"], done["serial"], done["changed"]) == (first, 3, True)
    assert listener.titles == ["bucket", "service", "instances"]
    assert f"report {first}" in listener.outcomes["instances"]
    reached = target.reach(settings)
    service = reached.run.get_service(reached.name)
    assert service is not None and service.min_serial == 3
    assert set(service.container_env) >= {"MODEL_SPECS", "MODEL_CACHE_BUCKET", "MODELSHELF_ENV"}  # nothing was wiped
    told = Listener()
    assert sync.sync(settings, "tabular", told).version == first  # the nightly run does not undo it
    assert any("worse answers" in note and "cache.resume --env local" in note for note in told.notes)
    record = [item for item in audit.recent(reached.bucket, 0) if item["command"] == "cache.rollback"]
    assert [item["outcome"] for item in record] == ["changed"]

    again = Rolling(settings, "tabular", first, 0, "")
    assert again.plan.empty
    assert again.carry_out(Listener()).as_json()["revision"] == done["revision"]
    assert upkeep.resume(settings, Listener(), True).lines() == [f"- hold: {first}, worse answers"]
    upkeep.resume(settings, Listener(), False)
    assert upkeep.resume(settings, Listener(), False).empty
    assert sync.sync(settings, "tabular", Listener()).upstream_bytes == 0  # forth again without a byte from upstream
    assert Rolling(settings, "tabular", second, 0, "").carry_out(Listener()).as_json()["version"] == second


def test_what_cannot_be_rolled_back_is_refused(twice: tuple[Settings, str, str], make: Make) -> None:
    settings, first, second = twice
    with pytest.raises(BadInput, match="found both"):
        _ = Rolling(settings, "tabular", first, 7, "").plan
    pinned = make(cache={"version": second})
    with pytest.raises(BadInput, match=r"cache\.version pins"):
        _ = Rolling(pinned, "tabular", "", 0, "").plan
    with pytest.raises(NotFound, match="nope"):
        _ = Rolling(settings, "nope", "", 0, "").plan
    key = {"key": "file:.local/elsewhere/signing.pem"}
    stranger = make(cache={"version": ""}, signing={**settings.signing.model_dump(), **key})
    work = Rolling(stranger, "tabular", "", 0, "")
    with pytest.raises(NotFound, match="signing key"):
        work.carry_out(Listener())
    active = inventory.show(target.reach(settings)).trusted.version
    assert active == second


def test_pins_keep_keys_tell_and_repairs_mend(twice: tuple[Settings, str, str], listener: Listener) -> None:
    settings, first, second = twice
    with pytest.raises(NotFound, match="no complete version"):
        upkeep.pin("20200101T000000Z-00000000", keep=True)(settings, listener, False)
    upkeep.pin(first, keep=True)(settings, listener, False)
    assert upkeep.pin(first, keep=True)(settings, listener, False).empty
    listed = {version.name: version for version in inventory.survey(target.reach(settings)).versions}
    assert (listed[first].pinned, listed[second].pinned) == (True, False)
    assert "pinned" in listed[first].cells()[1]
    with pytest.raises(BadInput, match="--version: found nothing"):
        upkeep.pin("", keep=True)(settings, listener, False)
    kept = dict(Pruner(settings, 1).kept())
    assert "pinned" in kept[first]
    assert "named by a live revision" in kept[second]
    assert "named by a live revision" not in kept[first]  # its revision gets no traffic any more
    upkeep.pin(first, keep=False)(settings, listener, False)
    assert "pinned" not in dict(Pruner(settings, 1).kept())[first]
    done = Pruner(settings, 1).carry_out(listener).as_json()
    assert (done["removed"], sorted(done["kept"])) == ([], sorted([first, second]))
    with pytest.raises(BadInput, match="--keep"):
        Pruner(settings, -1).kept()
    _keys_tell_what_each_of_them_signed(settings)
    _damage_is_found_and_repaired(settings, second, listener)


def _damage_is_found_and_repaired(settings: Settings, second: str, listener: Listener) -> None:
    bucket = target.reach(settings).bucket
    assert checkup.verify(settings, "", True, listener).exit_code == ExitCode.OK
    info = bucket.stat("manifest.json")
    assert info is not None
    bucket.replace("manifest.json", b"{}", info.generation)
    found = checkup.verify(settings, "", False, listener)
    assert found.exit_code == ExitCode.DIFFERENCE
    assert "cannot" not in found.title and any("manifest.json" in value for _, value in found.rows())
    work = Mender(settings)
    assert [change.target for change in work.plan.changes] == ["manifest.json"]
    assert work.carry_out(listener).as_json()["version"] == second
    assert Mender(settings).plan.empty
    assert json.dumps(checkup.verify(settings, second, True, listener).as_json())


def _keys_tell_what_each_of_them_signed(settings: Settings) -> None:
    (key,) = cache.keys(target.reach(settings))
    assert (key.signs, key.active, key.serials) == (True, True, (2, 1))
    assert key.cells()[2] == "2: serials 1 to 2"

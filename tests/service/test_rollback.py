"""A rollback brings traffic back to what served before, stays there, and goes nowhere that never served."""

from __future__ import annotations

import json
import threading
import urllib.request

import pytest

from scripts import audit, lease
from scripts.errors import BadInput, Conflict, GateFailed, NotFound, OpsError, Refused
from scripts.service import apply, deploy, follow, instances, ownership, rollback, routing, successor, target
from scripts.service.deploy import Options
from scripts.service.rollback import Back
from scripts.settings.model import Settings
from tests.cloud.proxy import Trouble, troubled
from tests.conftest import StandIn
from tests.faults import faulty
from tests.service.conftest import Checkout, Listener, Make

pytestmark = pytest.mark.process
NEVER = Options(sync="never")


def colour(make: Make, name: str) -> tuple[Settings, str]:
    """A deploy that makes a revision of its own."""
    settings = make(service={"env": {"COLOUR": name}})
    return settings, deploy.deploy(settings, NEVER, Listener()).revision


def serving(settings: Settings) -> str:
    """Who answers through the front."""
    reached = target.reach(settings)
    state = reached.run.get_service(reached.name)
    assert state is not None
    with urllib.request.urlopen(state.url + "/who", timeout=30) as answer:
        return str(json.load(answer)["revision"])


def back(settings: Settings, to: str = "", models: str = "") -> Back:
    return Back(settings, "tabular", to, models)


def test_it_goes_back_stays_there_and_the_next_deploys_plan_says_so(make: Make, listener: Listener) -> None:
    _, first = colour(make, "red")
    settings, second = colour(make, "blue")
    work = back(settings)
    assert f"from {second} to {first}" in work.about()
    assert [(change.before, change.after) for change in work.plan.changes] == [(f"100 % {second}", f"100 % {first}")]
    assert serving(settings) == second  # deciding changes nothing
    done = work.carry_out(listener).as_json()
    assert (done["revision"], done["changed"]) == (first, True)
    assert listener.titles == ["traffic", "verify"]
    assert serving(settings) == first
    reached = target.reach(settings)
    state = reached.run.get_service(reached.name)
    assert state is not None and (routing.pinned(state), routing.rolled_back(state)) == (first, (second, first))
    assert [item.name for item in reached.run.list_revisions(reached.name)] == [second, first]  # none was made
    (record,) = [item for item in audit.recent(reached.bucket, 0) if item["command"] == "rollback"]
    assert (record["outcome"], record["details"]["from"], record["details"]["revision"]) == ("changed", second, first)

    again = back(settings)  # typed twice it does not go back twice
    assert again.plan.empty
    assert again.about().endswith(f", where {first} serves already")
    assert "already rolled back" in again.remarks()[0]
    assert again.carry_out(Listener()).as_json()["changed"] is False
    told = Listener()
    deploy.plan_deploy(settings, NEVER, told)
    assert any(f"rolled back from {second}" in note for note in told.notes)
    _, third = colour(make, "green")
    state = reached.run.get_service(reached.name)
    assert state is not None and routing.rolled_back(state) is None
    assert serving(settings) == third


def test_typed_alone_it_finds_its_environment_and_no_request_fails(make: Make, checkout: Checkout) -> None:
    """The whole command in a process of its own, while a client asks through the front all the time."""
    done = checkout.typed("rollback", code=3)
    assert "MODELSHELF_ENV" in done.stderr  # nothing was deployed from here, so the command to type is told
    _, first = colour(make, "red")
    settings, _ = colour(make, "blue")
    failed: list[str] = []
    stopped = threading.Event()

    def ask() -> None:
        while not stopped.wait(0.02):
            try:
                serving(settings)
            except OSError as error:
                failed.append(str(error))

    client = threading.Thread(target=ask)
    client.start()
    try:
        assert checkout.typed("rollback", "--dry-run", code=2).stdout.count(first) == 1
        refused = checkout.typed("rollback", code=3)
        assert refused.stderr.startswith(f"rolling back: tabular-service on local (stand-in at {settings.endpoint}), ")
        assert "add --yes" in refused.stderr
        done = checkout.typed("rollback", "--yes", "--json")
    finally:
        stopped.set()
        client.join()
    document = json.loads(done.stdout)
    assert document["revision"] == first
    assert 0 < document["moved_s"] <= 3
    assert serving(settings) == first
    assert failed == []
    assert "already rolled back" in checkout.typed("rollback", "--env", "local", "--yes").stderr


def test_what_never_served_is_nothing_to_go_back_to(make: Make) -> None:
    _, first = colour(make, "red")
    with pytest.raises(NotFound, match="no earlier revision that served"):
        _ = back(make()).plan
    with pytest.raises(OpsError, match="is not ready"):
        deploy.deploy(make(service={"secret_env": {"TOKEN": "nosuch:1"}}), NEVER, Listener())
    settings = make(service={"secret_env": {}, "env": {"COLOUR": "blue"}})
    third = deploy.deploy(settings, NEVER, Listener()).revision
    reached = target.reach(settings)
    names = [item.name for item in reached.run.list_revisions(reached.name)]
    broken = next(name for name in names if name not in (first, third))
    quiet = _without_traffic(settings)
    assert back(settings).plan.changes[0].after == f"100 % {first}"
    for name, why in ((broken, "never became ready"), (quiet, "never served"), ("nosuch", "not found")):
        with pytest.raises(NotFound, match=why) as refused:
            _ = back(settings, name).plan
        assert f"served: {third}, {first}" in refused.value.message
        assert refused.value.remedy == f"Run: ./dev invoke rollback --env local --to {first}"
    assert back(settings, third).plan.empty


def _without_traffic(settings: Settings) -> str:
    """A revision that somebody else made, asked through its tag alone."""
    reached = target.reach(settings)
    before = reached.run.get_service(reached.name)
    assert before is not None
    body = successor.successor(reached, before)
    successor.merge_env(body, "COLOUR", "green")
    body["spec"]["traffic"] = [
        {"revisionName": routing.most(routing.serving(before)), "percent": 100},
        {"latestRevision": True, "percent": 0, "tag": "green"},
    ]
    applied = apply.service(reached, body, before)
    state = reached.run.wait_service(reached.name, applied.generation, timeout_s=60)
    url = next(share["url"] for share in state.traffic if share.get("tag") == "green")
    urllib.request.urlopen(url + "/health", timeout=30).close()
    return state.latest_ready_revision


def test_forwards_again_waits_for_no_instance_that_nobody_starts(
    make: Make, monkeypatch: pytest.MonkeyPatch, listener: Listener
) -> None:
    """Behind a tag alone an existing revision has one instance, whatever min_instances says."""
    monkeypatch.setattr(instances, "SEEN_TIMEOUT_S", 15.0)
    image = {"image": "example/tabular:1", "min_instances": 2}
    deploy.deploy(make(service={**image, "env": {"COLOUR": "red"}}), Options(), Listener())
    settings = make(service={"env": {"COLOUR": "blue"}})
    second = deploy.deploy(settings, Options(), Listener()).revision
    back(settings).carry_out(Listener())
    done = deploy.deploy(settings, Options(unpin=True), listener)
    assert done.revision == second
    (verify,) = [step.seconds for step in done.steps if step.name == "verify"]
    assert verify < 8
    assert "on a hit" in listener.outcomes["verify"]


def test_a_revision_without_a_record_counts_by_the_request_log(make: Make) -> None:
    _, first = colour(make, "red")
    settings, _ = colour(make, "blue")
    bucket = target.reach(settings).bucket
    for info in bucket.list("audit/"):
        bucket.delete(info.name, info.generation)
    assert back(settings).plan.changes[0].after == f"100 % {first}"


def test_a_check_that_failed_on_a_bad_day_takes_no_revision_away(
    make: Make, checkout: Checkout, shared_standin: StandIn
) -> None:
    """A deploy without anything to change only looks: what served before it still served when it fails."""
    _, first = colour(make, "red")
    with troubled(shared_standin.url) as proxy:
        proxy.troubles = [Trouble("POST", "entries:list", "forbidden", 99)]
        words = ("deploy", "--env", "local", "--sync", "never")
        assert "cannot read the logs" in checkout.typed(*words, code=4, MODELSHELF_ENDPOINT=proxy.url).stderr
    colour(make, "blue")
    assert f"100 % {first}" in checkout.typed("rollback", "--dry-run", code=2).stdout


def test_a_revision_that_does_not_start_leaves_traffic_where_it_was(make: Make, shared_standin: StandIn) -> None:
    settings = make(service={"secret_env": {"COLOUR": "colour:1"}})
    secret = f"/v1/projects/{settings.project}/secrets"
    shared_standin.post(f"{secret}?secretId=colour", {"replication": {"automatic": {}}})
    shared_standin.post(f"{secret}/colour:addVersion", {"payload": {"data": "cmVk"}})
    first = deploy.deploy(settings, NEVER, Listener()).revision
    settings = make(service={"secret_env": {}, "env": {"SIZE": "1"}})
    second = deploy.deploy(settings, NEVER, Listener()).revision
    shared_standin.post(f"{secret}/colour/versions/1:destroy")
    with pytest.raises(GateFailed, match=f"{first} does not start; traffic is where it was") as failed:
        back(settings).carry_out(Listener())
    assert failed.value.exit_code == 5
    assert serving(settings) == second
    assert deploy.plan_deploy(settings, NEVER).empty
    reached = target.reach(settings)
    (record,) = [item for item in audit.recent(reached.bucket, 0) if item["command"] == "rollback"]
    assert (record["outcome"], "does not start" in record["details"]["error"]) == ("failed", True)


def test_what_somebody_changed_while_it_did_not_start_is_left_alone(
    make: Make, shared_standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make(service={"secret_env": {"COLOUR": "colour:1"}})
    secret = f"/v1/projects/{settings.project}/secrets"
    shared_standin.post(f"{secret}?secretId=colour", {"replication": {"automatic": {}}})
    shared_standin.post(f"{secret}/colour:addVersion", {"payload": {"data": "cmVk"}})
    deploy.deploy(settings, NEVER, Listener())
    settings = make(service={"secret_env": {}, "env": {"SIZE": "1"}})
    deploy.deploy(settings, NEVER, Listener())
    shared_standin.post(f"{secret}/colour/versions/1:destroy")
    real = rollback._await_moved

    def meddled(reached: target.Target, generation: int, revision: str) -> str:
        problem = real(reached, generation, revision)
        before = reached.run.get_service(reached.name)
        assert before is not None
        body = routing.sendable(before.body)
        body["spec"]["template"].setdefault("metadata", {}).pop("name", None)
        successor.merge_env(body, "BY_HAND", "yes")
        apply.service(reached, body, before)
        return problem

    monkeypatch.setattr(rollback, "_await_moved", meddled)
    with pytest.raises(Conflict, match=r"was changed in between.*: generation \d+, expected \d+"):
        back(settings).carry_out(Listener())
    reached = target.reach(settings)
    state = reached.run.get_service(reached.name)
    assert state is not None and state.container_env["BY_HAND"] == "yes"


def test_after_a_revision_that_did_not_start_it_goes_back_to_one_that_served(
    make: Make, shared_standin: StandIn
) -> None:
    settings = make(service={"image": "example/tabular:1", "secret_env": {"COLOUR": "colour:1"}})
    secret = f"/v1/projects/{settings.project}/secrets"
    shared_standin.post(f"{secret}?secretId=colour", {"replication": {"automatic": {}}})
    shared_standin.post(f"{secret}/colour:addVersion", {"payload": {"data": "cmVk"}})
    first = deploy.deploy(settings, Options(), Listener())
    settings = make(service={"secret_env": {}, "env": {"SIZE": "1"}})
    second = deploy.deploy(settings, Options(), Listener()).revision
    shared_standin.post(f"{secret}/colour/versions/1:destroy")
    with pytest.raises(OpsError, match="is not ready"):
        back(settings, "previous", first.manifest_version).carry_out(Listener())
    reached = target.reach(settings)
    state = reached.run.get_service(reached.name)
    assert state is not None and routing.serving(state) == {second: 100}
    assert [change.after for change in back(settings).plan.changes] == [f"100 % {first.revision}"]


def test_a_rollback_ends_a_deploy_that_did_not_end(make: Make) -> None:
    _, first = colour(make, "red")
    settings, second = colour(make, "blue")
    unfinished = make(service={"env": {"COLOUR": "green"}})
    with pytest.raises(KeyboardInterrupt):
        deploy.deploy(unfinished, NEVER, Listener("after verify"))
    back(unfinished).carry_out(Listener())
    reached, told = target.reach(settings), Listener()
    state = reached.run.get_service(reached.name)
    assert state is not None and not routing.unfinished(state)
    assert deploy.plan_deploy(unfinished, NEVER, told).empty
    assert any(f"pinned to {first} by a rollback (rolled back from {second})" in note for note in told.notes)


def test_what_follows_the_latest_revision_is_not_said_to_be_held(make: Make, checkout: Checkout) -> None:
    _, name = colour(make, "red")
    told = checkout.typed("rollback", "--env", "local", "--to", name, "--yes").stdout
    assert f"{name} serves: nothing to change" in told
    assert "by name" not in told
    assert "traffic: 100 %, as the newest revision" in told


def test_an_audit_that_takes_no_record_is_told_and_undoes_nothing(
    make: Make, checkout: Checkout, shared_standin: StandIn
) -> None:
    colour(make, "red")
    settings = make(service={"env": {"COLOUR": "blue"}}, hooks={"after_deploy": [["echo", "it", "is", "deployed"]]})
    where = {"bucket": settings.cache.bucket, "object": "audit/*", "count": "forever"}
    with faulty(shared_standin, on="storage.objects.insert", kind="403", **where):
        told = checkout.typed("deploy", "--env", "local", "--sync", "never").stderr
        assert "after_deploy: it is deployed" in told
        assert "! no audit record of this could be written: " in told
        told = checkout.typed("rollback", "--yes").stderr
        assert "! no audit record of this could be written: " in told


def test_others_at_work_are_respected(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "LEASE_WAIT_S", 0.0)
    colour(make, "red")
    settings, _ = colour(make, "blue")
    work = back(settings)
    assert not work.plan.empty
    bucket = target.reach(settings).bucket
    with lease.hold(bucket, "deploy-tabular-service", "a long deploy"), pytest.raises(Refused, match="a long deploy"):
        work.carry_out(Listener())
    colour(make, "green")
    with pytest.raises(Conflict, match="changed while this was decided"):
        work.carry_out(Listener())
    with pytest.raises(NotFound, match="does not exist"):
        _ = back(make(service={"cloud_run_name": "another"})).plan
    with pytest.raises(BadInput, match="an earlier revision"):
        back(settings, "latest")


def test_what_is_no_version_is_told_by_the_option_that_was_typed(make: Make, checkout: Checkout) -> None:
    colour(make, "red")
    told = checkout.typed("rollback", "--env", "local", "--models", "yesterday", code=3).stderr
    assert "✗ --models: 'yesterday' is not a version name" in told
    assert "Run: ./dev invoke cache.list --env local" in told


def test_models_go_back_with_the_service_alone_and_not_to_what_is_gone(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "SEEN_TIMEOUT_S", 15.0)
    tabular = {"image": "example/tabular:1"}
    old = deploy.deploy(make(service=tabular), Options(), Listener())
    model = {"kind": "ollama", "source": "library/synthetic:tiny", "revision": "", "size_gb": 0.001}
    settings = make(service=tabular, models=[{"name": "renamed", **model}])
    new = deploy.deploy(settings, Options(), Listener())
    reached = target.reach(settings)

    work = back(settings, "previous", old.manifest_version)
    assert [change.target for change in work.plan.changes] == ["hold", "active version", "service tabular-service"]
    done = work.carry_out(Listener()).as_json()
    state = reached.run.get_service(reached.name)
    assert state is not None
    assert routing.rolled_back(state) == (new.revision, done["revision"])
    copied = reached.run.get_revision(done["revision"])
    assert copied is not None and successor.origin_of(copied) == old.revision
    assert copied.container_env[follow.MIN_SERIAL] == "3"
    again = back(settings, old.revision, old.manifest_version)
    assert again.plan.empty
    assert again.carry_out(Listener()).as_json()["revision"] == done["revision"]

    forth = back(settings, models=new.manifest_version)  # the models alone: what is pinned stays pinned
    assert [change.target for change in forth.plan.changes] == ["hold", "active version"]
    last = forth.carry_out(Listener()).as_json()["revision"]
    state = reached.run.get_service(reached.name)
    assert state is not None and routing.rolled_back(state) == (new.revision, last)
    with pytest.raises(NotFound, match="no signed statement"):
        _ = back(settings, models="20200101T000000Z-00000000").plan

    gone = reached.bucket.stat(f"manifests/{old.manifest_version}.done")
    assert gone is not None
    reached.bucket.delete(gone.name, gone.generation)
    with pytest.raises(Refused, match=f"models {old.manifest_version}, which are gone") as refused:
        _ = back(settings, old.revision).plan
    assert f"--to {old.revision} --models {new.manifest_version}" in refused.value.remedy

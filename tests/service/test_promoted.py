"""What was promoted stays: a deploy keeps it, and status calls it no difference, until somebody says otherwise."""

from __future__ import annotations

import json
import threading
import time

import pytest

from scripts import lease
from scripts.errors import Conflict, GateFailed, OpsError
from scripts.service import (
    apply,
    deploy,
    planning,
    promote,
    promoted,
    readiness,
    routing,
    shift,
    target,
    validation,
)  # fmt: skip
from scripts.service.deploy import Options
from scripts.service.steps import SILENT
from tests.service.conftest import Checkout, Listener, Make
from tests.service.test_promote import Pair, load_tested
from tests.service.test_promote import pair as _pair

pytestmark = pytest.mark.process
pair = _pair
PROMOTE = ("promote", "--from", "staging", "--to", "prod", "--min-age", "0s", "--yes", "--json")
PROD = {"image": "europe-docker.pkg.dev/prod/services/tabular:latest"}


def image_of(checkout: Checkout) -> str:
    found = json.loads(checkout.typed("deploy", "--env", "prod", "--json").stdout)
    return str(found["image"])


def test_a_promoted_image_stays_until_the_file_names_another(pair: Pair, make: Make, checkout: Checkout) -> None:
    source, to = pair(services=_services(make, PROD))
    deploy.deploy(source, Options(), Listener())
    load_tested(source)
    promoted = json.loads(checkout.typed(*PROMOTE).stdout)
    assert promoted["image"].startswith("europe-docker.pkg.dev/staging/services/tabular@sha256:")

    found = json.loads(checkout.typed("status", "--env", "prod", "--json").stdout)
    assert (found["status"], found["differences"]) == ("healthy", [])
    planned = checkout.typed("deploy", "--env", "prod", "--dry-run")
    assert "nothing to change" in planned.stdout
    assert f"image {promoted['image']} was promoted: it stays until environments/prod.yaml" in planned.stderr
    assert json.loads(checkout.typed(*PROMOTE).stdout)["changed"] is False
    reached = target.reach(to)
    assert len(reached.run.list_revisions(reached.name)) == 1  # the note made none

    pair(services=_services(make, {**PROD, "env": {"COLOUR": "red"}}))
    assert image_of(checkout) == promoted["image"]
    assert "nothing to change" in checkout.typed("deploy", "--env", "prod", "--dry-run").stdout

    pair(services=_services(make, {"image": "europe-docker.pkg.dev/prod/services/tabular:2", "env": {}}))
    assert image_of(checkout).startswith("europe-docker.pkg.dev/prod/services/tabular@sha256:")


def test_an_image_for_one_deploy_ends_a_promotion(pair: Pair, make: Make, checkout: Checkout) -> None:
    source, _ = pair(services=_services(make, PROD))
    deploy.deploy(source, Options(), Listener())
    load_tested(source)
    checkout.typed(*PROMOTE)
    checkout.typed("deploy", "--env", "prod", "--image", "europe-docker.pkg.dev/prod/services/tabular:3")
    assert image_of(checkout).startswith("europe-docker.pkg.dev/prod/services/tabular@sha256:")
    assert "promoted" not in checkout.typed("deploy", "--env", "prod", "--dry-run").stderr


def test_a_deploy_of_another_image_that_did_not_end_leaves_the_promoted_one(
    pair: Pair, make: Make, checkout: Checkout
) -> None:
    source, to = pair(services=_services(make, PROD))
    deploy.deploy(source, Options(), Listener())
    load_tested(source)
    first = json.loads(checkout.typed(*PROMOTE).stdout)["image"]
    other = Options(image="europe-docker.pkg.dev/prod/services/tabular:3")
    with pytest.raises(KeyboardInterrupt):
        deploy.deploy(to, other, Listener("after verify"))
    assert image_of(checkout) == first


def broken(*given: object) -> str:
    raise OpsError("half of the answers are wrong")


def test_a_promotion_that_failed_leaves_traffic_and_image_of_the_one_before(
    pair: Pair, make: Make, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, to = pair(services=_services(make, PROD))
    deploy.deploy(source, Options(), Listener())
    load_tested(source)
    first = json.loads(checkout.typed(*PROMOTE).stdout)["image"]
    reached = target.reach(to)
    state = reached.run.get_service(reached.name)
    assert state is not None
    other = apply.service(reached, planning.next_attempt(routing.sendable(state.body)), state)
    readiness.await_ready(reached, other.generation, lambda text: None)
    shares = {item.name: share for item, share in zip(reached.run.list_revisions(reached.name), (60, 40), strict=True)}
    assert shift.put_back(reached, shares, lambda text: None)[1] is not None

    another = Options(image="europe-docker.pkg.dev/staging/other/tabular:1")
    deploy.deploy(source, another, Listener())
    load_tested(source)
    monkeypatch.setattr(promote, "_check_target", broken)
    with pytest.raises(GateFailed, match=r"as before: .*traffic on") as failed:
        promote.Promote(source, to, "tabular", "0s").carry_out(Listener())
    assert "half of the answers" in failed.value.message
    state = reached.run.get_service(reached.name)
    assert state is not None and routing.serving(state) == shares
    assert image_of(checkout) == first


def test_a_promotion_that_somebody_deployed_over_is_not_said_to_have_ended_well(
    pair: Pair, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, to = pair(services=_services(make, PROD))
    deploy.deploy(source, Options(), Listener())
    load_tested(source)
    real = promote._check_target

    def between(reached: target.Target, found: validation.Source, revision: str) -> str:
        told = real(reached, found, revision)
        deploy.deploy(to, Options(sync="never"), Listener())
        return told

    monkeypatch.setattr(promote, "_check_target", between)
    with pytest.raises(Conflict, match=r"does not serve any more.*: 100 % tabular-service-00002"):
        promote.Promote(source, to, "tabular", "0s").carry_out(Listener())


def test_a_deploy_that_waited_for_a_promotion_keeps_what_it_promoted(make: Make) -> None:
    deploy.deploy(make(), Options(sync="never"), Listener())
    settings = make(service={"env": {"COLOUR": "red"}})
    reached, told = target.reach(settings), Listener()
    image = reached.cloud.registry().digest("europe-docker.pkg.dev/other/services/tabular:1")
    waiting = threading.Thread(target=deploy.deploy, args=(settings, Options(sync="never", wait_s=60), told))
    with lease.hold(reached.bucket, reached.lease_name, "promote"):
        waiting.start()
        while not any(note.startswith("waiting for") for note in told.notes):
            time.sleep(0.05)
        promoted.keep(reached, image, SILENT)
    waiting.join(timeout=60)
    state = reached.run.get_service(reached.name)
    assert state is not None
    found = reached.run.get_revision(state.latest_ready_revision)
    assert found is not None and found.container_env["COLOUR"] == "red"
    assert validation.image_of(found) == image
    assert any(f"image {image} was promoted" in note for note in told.notes)


def _services(make: Make, changes: dict[str, object]) -> dict[str, object]:
    """The services of prod's file: staging's with another image of its own."""
    plain = make().service("tabular").model_dump(mode="json")
    return {"tabular": {**plain, **changes}}

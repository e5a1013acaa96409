"""A promotion serves in one environment exactly what another one validated, or nothing changes there."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import audit
from scripts.cloud.storage import Bucket
from scripts.cloud.storage_objects import Stretch
from scripts.errors import BadInput, Conflict, GateFailed, NotFound, OpsError, Refused
from scripts.models import gate, holds, statements
from scripts.service import deploy, instances, inventory, ownership, promote, rollback, target, validation
from scripts.service.deploy import Options
from scripts.service.promote import Promote
from scripts.settings import load
from scripts.settings.model import Settings
from tests.conftest import ROOT
from tests.service.conftest import Checkout, Listener, Make

pytestmark = pytest.mark.process
Pair = Callable[..., tuple[Settings, Settings]]
IMAGE = "europe-docker.pkg.dev/staging/services/tabular:latest"


@pytest.fixture
def pair(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """Two environments of one stand-in, each with a project, a bucket and a signing key of its own."""
    monkeypatch.setattr(instances, "SEEN_TIMEOUT_S", 15.0)
    make(service={"image": IMAGE})
    folder, token = tmp_path / "environments", secrets.token_hex(4)
    plain = yaml.safe_load((folder / "local.yaml").read_text(encoding="utf-8"))

    def made(**changes: Any) -> tuple[Settings, Settings]:
        for name in ("staging", "prod"):
            own = plain | {"environment": name, "project": f"{name}-{token}"} | (changes if name == "prod" else {})
            own["cache"] = plain["cache"] | {"bucket": f"{name}-{token}"} | (own["cache"] if name == "prod" else {})
            own["cache"]["bucket"] = f"{name}-{token}"
            own["signing"] = {
                "key": f"file:.local/keys-{name}/signing.pem",
                "trusted_keys": [{"file": f".local/keys-{name}/signing.pub"}],
            }
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
        return load.load("staging", folder), load.load("prod", folder)

    return made


def load_tested(settings: Settings, **changes: Any) -> None:
    """The record that a load test of what is live leaves."""
    reached = target.reach(settings)
    found = validation.look(reached)
    details = {
        "service": reached.name, "image_digest": found.digest, "revision": found.revision,
        "manifest_version": found.models.trusted.version, "passed": True, **changes,
    }  # fmt: skip
    audit.record(
        reached.bucket, command="loadtest", environment=settings.environment, plan=None, outcome="passed",
        started_at=datetime.now(UTC), details=details,
    )  # fmt: skip


def work(settings: tuple[Settings, Settings], min_age: str = "0s") -> Promote:
    return Promote(*settings, "tabular", min_age)


def objects(bucket: Bucket) -> dict[str, tuple[int, str]]:
    listed = (info for store in bucket.list_each(*map(Stretch, ("ollama/", "sbert/", "manifests/"))) for info in store)
    return {info.name: (info.size_bytes, info.crc32c) for info in listed}


def test_the_same_digest_and_the_same_manifest_serve_in_the_other_environment(pair: Pair, checkout: Checkout) -> None:
    settings = pair()
    source, to = settings
    deploy.deploy(source, Options(), Listener())
    load_tested(source)
    planned = checkout.typed("promote", "--from", "staging", "--to", "prod", "--min-age", "0s", "--dry-run", code=2)
    assert "europe-docker.pkg.dev/staging/services/tabular" not in planned.stderr
    assert not target.reach(to).bucket.exists()
    typed = ("promote", "--from", "staging", "--to", "prod", "--min-age", "0s", "--yes", "--json")
    done = json.loads(checkout.typed(*typed).stdout)
    one, two = target.reach(source), target.reach(to)
    shown = [inventory.show(each).trusted for each in (one, two)]
    assert shown[0].manifest_sha256 == shown[1].manifest_sha256 == done["manifest_sha256"]
    assert objects(one.bucket) == objects(two.bucket)
    keys = [ownership.trusted_keys(each) for each in (one, two)]
    assert keys[0] != keys[1]  # signed anew: the target believes its own key alone
    assert statements.read_trusted(two.bucket, keys[0]).trusted is None
    assert shown[1].statement.reason == "promoted from staging"
    live = [each.run.get_service(each.name) for each in (one, two)]
    images = set()
    for reached, state in zip((one, two), live, strict=True):
        assert state is not None
        revision = reached.run.get_revision(state.latest_ready_revision)
        assert revision is not None
        images.add(validation.image_of(revision))
    assert images == {done["image"]}
    (seen,) = instances.of_revision(two, done["revision"])
    assert (seen.cache_hit, seen.version, seen.upstream_bytes) == (True, done["manifest_version"], 0)
    records = [each for each in audit.recent(two.bucket, 0) if each["command"] == "promote"]
    assert [(each["outcome"], each["details"]["load_test"]) for each in records] == [("changed", done["load_test"])]

    again = work(settings)
    assert again.plan.empty
    assert again.carry_out(Listener()).as_json()["changed"] is False
    assert not deploy.plan_deploy(promote.with_image(to, "tabular", done["image"]), Options(sync="never")).changes


def test_what_was_not_validated_is_refused(pair: Pair) -> None:
    settings = pair()
    source, _ = settings
    with pytest.raises(NotFound, match="does not exist in staging"):
        _ = work(settings).plan
    deploy.deploy(source, Options(), Listener())
    with pytest.raises(Refused, match="never load-tested in staging"):
        _ = work(settings).plan
    load_tested(source)
    assert not work(settings).plan.empty
    with pytest.raises(Refused, match="only, expected 1 h"):
        _ = work(settings, "1h").plan
    for wrong, told in (
        ({"passed": False}, "the last load test of tabular-service in staging failed"),
        ({"image_digest": "sha256:0"}, "sha256:0 was tested"),
        ({"manifest_version": "20200101T000000Z-00000000"}, "20200101T000000Z-00000000 was tested"),
        ({"revision": "tabular-service-00000"}, "tabular-service-00000 was tested"),
    ):
        load_tested(source, **wrong)
        with pytest.raises(Refused, match=told) as refused:
            _ = work(settings).plan
        assert refused.value.remedy == "Run: ./dev invoke loadtest --env staging"
    load_tested(source)
    other = [
        {"name": "another", "kind": "ollama", "source": "library/synthetic:tiny", "revision": "", "size_gb": 0.001}
    ]
    with pytest.raises(Refused, match=r"other models \(synthetic\) than environments/prod.yaml"):
        _ = work(pair(models=other)).plan
    with pytest.raises(BadInput, match="found staging twice"):
        Promote(source, source, "tabular", "0s")
    with pytest.raises(BadInput, match="--min-age: found 'soon'"):
        work(settings, "soon")
    with pytest.raises(BadInput, match="--from: found nothing"):
        promote.check_names("", "prod")


def test_a_hold_there_and_a_change_here_stop_it(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = pair()
    source, to = settings
    deploy.deploy(source, Options(), Listener())
    load_tested(source)
    deploy.deploy(to, Options(), Listener())
    reached = target.reach(to)
    version = inventory.show(reached).trusted.version
    hold = holds.Hold(version, "worse answers", "2026-01-01T00:00:00Z", "somebody")
    holds.change(reached.bucket, lambda found: holds.Holds(hold, found.pins))
    with pytest.raises(Refused, match=r"is held at .* by somebody: worse answers") as refused:
        _ = work(settings).plan
    assert refused.value.remedy == "Run: ./dev invoke cache.resume --env prod"
    holds.change(reached.bucket, lambda found: holds.Holds(None, found.pins))

    todo = work(settings)
    assert not todo.plan.empty
    rolled = deploy.deploy(source.model_copy(update={"services": _coloured(source)}), Options(), Listener())
    assert rolled.changed
    with pytest.raises(Conflict, match="staging changed while it was promoted"):
        todo.carry_out(Listener())
    assert inventory.show(reached).trusted.version == version
    with pytest.raises(Refused, match=f"{rolled.revision} is live"):
        _ = work(settings).plan


def _coloured(settings: Settings) -> dict[str, Any]:
    service = settings.service("tabular")
    return {"tabular": service.model_copy(update={"env": {"COLOUR": "red"}})}


def test_a_target_that_does_not_become_healthy_is_as_before(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = pair()
    source, to = settings
    deploy.deploy(source, Options(), Listener())
    load_tested(source)
    before = deploy.deploy(to, Options(), Listener())
    real = promote._check_target

    def broken(*given: Any) -> str:
        real(*given)
        raise OpsError("half of the answers are wrong")

    monkeypatch.setattr(promote, "_check_target", broken)
    with pytest.raises(GateFailed, match=r"as before: models .*, traffic on") as failed:
        work(settings).carry_out(Listener())
    assert (failed.value.exit_code, "half of the answers" in failed.value.message) == (5, True)
    reached = target.reach(to)
    assert inventory.show(reached).trusted.version == before.manifest_version
    state = reached.run.get_service(reached.name)
    assert state is not None and state.percent(before.revision) == 100
    monkeypatch.setattr(promote, "_check_target", real)
    done = work(settings).carry_out(Listener()).as_json()
    assert inventory.show(reached).trusted.version == done["manifest_version"]
    assert rollback.Back(to, "tabular", "", "").plan.changes[0].after == f"100 % {before.revision}"


@pytest.mark.full
@pytest.mark.timeout(600)
def test_killed_after_any_write_the_next_one_completes_it(pair: Pair, tmp_path: Path) -> None:
    settings = pair()
    source, to = settings
    deploy.deploy(source, Options(), Listener())
    load_tested(source)
    killed = 0
    while True:
        typed = [sys.executable, "-m", "tests.service.promote_child", str(tmp_path / "environments"), str(killed + 1)]
        ended = subprocess.run(typed, cwd=ROOT, capture_output=True, check=False, timeout=120)
        reached = target.reach(to)
        keys = ownership.trusted_keys(reached)
        if keys and reached.bucket.exists():  # whatever was left: what may serve is whole, and nothing is complained of
            reading = gate.read(reached.bucket, keys)
            assert reading.problems == ()
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
        killed += 1
    assert killed >= 5
    assert work(settings).plan.empty
    assert objects(target.reach(source).bucket) == objects(target.reach(to).bucket)

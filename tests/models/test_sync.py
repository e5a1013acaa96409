"""A sync from its user's side: publishes once, pulls nothing twice, survives kill -9, rivals and bad upstreams."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import audit, lease, process
from scripts.errors import BadInput, Conflict, NotFound, OpsError, Refused
from scripts.models import gate, holds, layout, publish, signing, statements
from scripts.models.outcome import SyncResult
from scripts.models.shelf import LEASE
from scripts.settings.types import ModelSpec
from tests.models.support import BadSource, World, blob, hub_files, ollama_files
from tests.models.test_statements import read, twice_published

pytestmark = pytest.mark.process


def test_the_first_sync_publishes_everything_once(world: World) -> None:
    world.fill()
    result = world.sync(execution="job-x7")
    assert (result.changed, result.outcome, result.serial, result.moved) == (True, "published", 1, ())
    assert layout.is_version(result.version)
    assert result.upstream_bytes == world.ollama.received + world.hub.received > 0
    assert gate.read(world.bucket, world.keys).problems == ()
    models = {model.name: model.revision for model in world.trusted().manifest.models}
    assert models == {"llm": "r-one", "embedder": "c-one"}
    assert not world.names(".tmp/")
    (record,) = audit.recent(world.bucket, 0)
    assert record["outcome"] == "published"
    assert record["environment"] == "test"
    details = record["details"]
    assert (details["version"], details["serial"], details["execution"]) == (result.version, 1, "job-x7")
    assert details["upstream_bytes"] == result.upstream_bytes


def test_the_files_are_the_upstreams_own_bytes(world: World) -> None:
    world.fill()
    version = world.sync().version
    assert read(world, f"ollama/{version}/{blob(b'one' * 300_000)}") == b"one" * 300_000
    folder = f"sbert/{version}/models--acme--mini"
    assert read(world, f"{folder}/refs/main") == b"c-one"
    assert read(world, f"{folder}/snapshots/c-one/weights") == b"one" * 700


def test_a_second_sync_pulls_nothing_and_writes_nothing(world: World) -> None:
    world.fill()
    first = world.sync()
    before = {info.name: info.generation for info in world.bucket.list()}
    world.ollama.opened.clear()
    again = world.sync()
    assert (again.changed, again.outcome, again.version, again.serial) == (False, "up_to_date", first.version, 1)
    assert (again.upstream_bytes, world.ollama.opened) == (0, [])
    after = {info.name: info.generation for info in world.bucket.list()}
    assert {name for name in after if after[name] != before.get(name)} == {"leases/publish.json"}


def test_the_order_of_writes_is_the_protocol(world: World) -> None:
    world.fill()
    version = world.sync().version
    made = {info.name: info.generation for info in world.bucket.list()}
    files = [made[name] for name in made if f"/{version}/" in name and not name.startswith(".tmp/")]
    order = [
        max(files),
        made[f"manifests/{version}.json"],
        made[f"manifests/{version}.done"],
        made["statements/1.dsse.json"],
        made["manifest.json"],
        made[".done"],
    ]
    assert order == sorted(order)


def test_only_what_changed_is_pulled(world: World) -> None:
    kept, old, new = b"kept" * 50_000, b"old" * 10, b"new" * 20
    world.ollama.put("library/tiny:1b", "r1", ollama_files(kept, old))
    specs = (replace(world.specs[0], revision="r1"),)
    first = world.sync(specs=specs)
    world.ollama.put("library/tiny:1b", "r2", ollama_files(kept, new))
    world.ollama.opened.clear()
    second = world.sync(specs=(replace(specs[0], revision="r2"),))
    assert second.version > first.version
    assert blob(kept) not in world.ollama.opened
    assert blob(new) in world.ollama.opened
    assert second.reused_bytes == len(kept)
    assert read(world, f"ollama/{second.version}/{blob(kept)}") == kept
    assert gate.read(world.bucket, world.keys).problems == ()
    # the older version is kept whole: it is what a rollback needs
    pinned = gate.read(world.bucket, world.keys, pinned_version=first.version)
    assert pinned.trusted is not None and pinned.trusted.version == first.version


def test_an_object_that_two_models_share_is_pulled_once(world: World) -> None:
    shared = b"shared" * 1000
    world.ollama.put("library/tiny:1b", "r1", {blob(shared): shared, "manifests/a": b"a"})
    world.ollama.put("library/big:7b", "r1", {blob(shared): shared, "manifests/b": b"b"})
    specs = (world.specs[0], ModelSpec("big", "ollama", "library/big:7b"))
    world.sync(specs=specs)
    assert world.ollama.opened.count(blob(shared)) == 1
    assert world.trusted().manifest.total_size_bytes == len(shared) + 2


def test_a_tag_that_moved_is_told_and_not_activated(world: World) -> None:
    world.fill()
    first = world.sync()
    world.fill(b"two")
    again = world.sync()
    assert (again.changed, again.version, again.upstream_bytes) == (False, first.version, 0)
    assert [(tag.name, tag.published, tag.upstream) for tag in again.moved] == [
        ("llm", "r-one", "r-two"),
        ("embedder", "c-one", "c-two"),
    ]
    assert any("moved upstream" in line for line in world.said)
    # asking for it by name activates it
    accepted = world.sync(specs=(replace(world.specs[0], revision="r-two"), world.specs[1]))
    assert (accepted.changed, accepted.serial) == (True, 2)
    assert [tag.name for tag in accepted.moved] == ["embedder"]


def test_adding_and_removing_a_model_makes_new_versions(world: World) -> None:
    world.fill()
    one = world.sync(specs=world.specs[:1])
    both = world.sync()
    assert (both.changed, both.reused_bytes) == (True, 900_012 + 155)
    assert {model.name for model in world.trusted().manifest.models} == {"llm", "embedder"}
    fewer = world.sync(specs=world.specs[1:])
    assert fewer.changed and fewer.version > both.version > one.version
    assert {model.name for model in world.trusted().manifest.models} == {"embedder"}
    # a model that stays keeps its revision although its tag moved meanwhile
    world.fill(b"two")
    again = world.sync()
    assert {model.name: model.revision for model in world.trusted().manifest.models}["embedder"] == "c-one"
    assert again.serial == 4


def test_a_hold_is_respected_without_a_byte_pulled(world: World) -> None:
    world.fill()
    first = world.sync()
    hold = holds.Hold(first.version, "bad answers", "2026-11-20T03:00:00Z", "ann")
    holds.change(world.bucket, lambda now: holds.Holds(hold, now.pins))
    world.fill(b"two")
    world.ollama.opened.clear()
    result = world.sync(specs=(replace(world.specs[0], revision="r-two"), world.specs[1]))
    assert (result.changed, result.outcome, result.version) == (False, "held", first.version)
    assert (result.hold, result.upstream_bytes, world.ollama.opened) == (hold, 0, [])
    holds.change(world.bucket, lambda now: holds.Holds(None, now.pins))
    assert world.sync(specs=(replace(world.specs[0], revision="r-two"), world.specs[1])).outcome == "published"


def damage(world: World, version: str, what: str) -> None:
    name = f"ollama/{version}/{blob(b'template one')}"
    if what == "file swapped":
        world.overwrite(name, b"template two")
    else:
        world.remove({"file gone": name, "done gone": layout.done_name(version)}[what])


@pytest.mark.parametrize(
    ("what", "pulled"),
    [("file gone", len("template one{}")), ("file swapped", len("template one{}")), ("done gone", 2)],
)
def test_a_damaged_version_is_replaced_by_a_whole_one(world: World, what: str, pulled: int) -> None:
    world.fill()
    first = world.sync()
    damage(world, first.version, what)
    world.fill(b"two")  # the tags moved meanwhile: a repair must not smuggle that in
    second = world.sync()
    assert (second.outcome, second.serial) == ("published", 2)
    assert {problem.kind for problem in second.problems} == {"done" if what == "done gone" else "files"}
    assert {model.revision for model in world.trusted().manifest.models} == {"r-one", "c-one"}
    assert gate.read(world.bucket, world.keys).problems == ()
    assert second.upstream_bytes <= pulled


def test_a_repair_does_not_fall_back_to_the_older_models(world: World) -> None:
    _, newer = twice_published(world)
    world.remove(f"ollama/{newer}/blobs/sha256-02")
    assert gate.read(world.bucket, world.keys).trusted is not None  # the older one serves meanwhile
    repaired = world.sync()
    assert (repaired.outcome, repaired.serial) == ("published", 3)
    assert {model.name: model.revision for model in world.trusted().manifest.models}["llm"] == "r-two"


def test_a_whole_version_under_a_broken_statement_is_stated_again(world: World) -> None:
    world.fill()
    first = world.sync()
    world.bucket.create_object(layout.statement_name(5), b"{}")
    world.ollama.opened.clear()
    result = world.sync()
    assert (result.outcome, result.version, result.serial) == ("reactivated", first.version, 6)
    assert world.ollama.opened == []
    assert world.reading().problems == ()
    assert json.loads(read(world, "manifest.json"))["serial"] == 6
    assert world.sync().outcome == "up_to_date"


def test_a_deleted_serial_is_not_used_again_and_the_minimum_is_kept(world: World) -> None:
    world.fill()
    first = world.sync()
    info = world.bucket.stat("statements/1.dsse.json")
    assert info is not None
    world.bucket.replace("statements/1.dsse.json", b"x", info.generation)
    world.remove("statements/1.dsse.json")  # the older generation stays, noncurrent
    second = world.sync()
    assert (second.serial, second.version > first.version) == (2, True)
    assert world.sync(min_serial=9).serial == 9


def hide(world: World, name: str, data: bytes) -> None:
    """Write an object and delete it so that its generation stays, noncurrent."""
    world.overwrite(name, data)
    world.overwrite(name, b"")
    world.remove(name)


def test_over_a_deleted_statement_another_is_made_once(world: World) -> None:
    world.fill()
    first = world.sync()
    hide(world, "statements/2.dsse.json", b"{}")  # a forged one that was cleaned away leaves nothing to do
    assert world.sync().outcome == "up_to_date"
    honest = world.state(first.version, 5, world.trusted().manifest_sha256)
    hide(world, "statements/5.dsse.json", honest)  # services may accept nothing below it
    again = world.sync()
    assert (again.outcome, again.version, again.serial) == ("reactivated", first.version, 6)
    assert world.sync().outcome == "up_to_date"


def test_an_upstream_that_sends_other_bytes_publishes_nothing(world: World) -> None:
    world.fill()
    bad = BadSource(world.upstream, "ollama")
    with pytest.raises(OpsError, match="announced"):
        world.sync(sources={"ollama": bad, "huggingface": world.hub})
    assert world.reading().trusted is None
    assert not [name for name in world.names() if name.startswith(("ollama/", "manifests/", "statements/"))]
    (record,) = audit.recent(world.bucket, 0)
    assert record["outcome"] == "failed" and "announced" in record["details"]["error"]
    assert world.sync().changed
    assert lease.holder_of(world.bucket, LEASE) is None


def test_a_file_that_a_git_hub_swapped_is_refused(world: World) -> None:
    world.hub.put("acme/mini", "c1", {"snapshots/c1/config": b"{}"})
    world.specs = world.specs[1:]
    with pytest.raises(OpsError, match="git id"):
        world.sync(sources={"ollama": world.ollama, "huggingface": BadSource(world.upstream, "huggingface")})


def test_a_model_that_is_gone_upstream(world: World) -> None:
    world.fill()
    first = world.sync()
    with pytest.raises(NotFound, match="library/none:1b"):
        world.sync(specs=(*world.specs, ModelSpec("none", "ollama", "library/none:1b")))
    assert world.trusted().version == first.version


@pytest.mark.parametrize("path", ["../x", "/x", "a\\b", "a//b"])
def test_an_upstream_with_dangerous_names(world: World, path: str) -> None:
    world.fill()

    class Dangerous(BadSource):
        def resolve(self, spec: ModelSpec, pinned: str | None = None):  # type: ignore[no-untyped-def]
            found = super().resolve(spec, pinned)
            return replace(found, files=(replace(found.files[0], path=path),))

    with pytest.raises(BadInput, match="llm"):
        world.sync(sources={"ollama": Dangerous(world.upstream, "ollama"), "huggingface": world.hub})
    assert world.reading().trusted is None


def test_no_models_two_of_a_name_and_a_key_nobody_trusts(world: World, tmp_path: Path) -> None:
    world.fill()
    with pytest.raises(BadInput, match="found none"):
        world.sync(specs=())
    with pytest.raises(BadInput, match="'llm' is there twice"):
        world.sync(specs=(world.specs[0], world.specs[0]))
    other = signing.make_key(tmp_path / "other")
    with pytest.raises(Refused, match="not among the trusted keys"):
        world.sync(keys=(other,))
    assert world.names() == []


def test_two_syncs_at_once_pull_once_and_agree(world: World) -> None:
    world.fill()
    results: list[SyncResult] = []
    threads = [threading.Thread(target=lambda: results.append(world.sync(wait_s=120))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.outcome for result in results) == ["published", "up_to_date"]
    assert len({(result.version, result.serial) for result in results}) == 1
    assert len(world.ollama.opened) == len(set(world.ollama.opened))
    assert world.names("statements/") == ["statements/1.dsse.json"]


def test_a_sync_that_may_not_wait_names_the_holder(world: World) -> None:
    world.fill()
    with lease.hold(world.bucket, LEASE, "a rollback"), pytest.raises(Refused, match="a rollback"):
        world.sync(wait_s=0)


def test_a_lost_race_for_the_serial_is_told_and_the_next_run_pulls_nothing(world: World) -> None:
    world.fill()
    first = world.sync()
    digest = world.trusted().manifest_sha256
    source = world.ollama

    class Rival(type(source)):  # type: ignore[misc]
        """Somebody without the lease commits while the files are being pulled."""

        def open(self, resolved, file, start=0, stop=None):  # type: ignore[no-untyped-def]
            with contextlib.suppress(Conflict):
                world.bucket.create_object("statements/2.dsse.json", world.state(first.version, 2, digest))
            return super().open(resolved, file, start, stop)

    world.fill(b"two")
    specs = (replace(world.specs[0], revision="r-two"), world.specs[1])
    rival = Rival(world.upstream, "ollama")
    with pytest.raises(Conflict, match=f"serial 2 went to version {first.version}") as caught:
        world.sync(specs=specs, sources={"ollama": rival, "huggingface": world.hub})
    assert "Run the same command again" in caught.value.remedy
    assert (world.trusted().version, world.trusted().serial) == (first.version, 2)
    world.ollama.opened.clear()
    again = world.sync(specs=specs)
    assert (again.changed, again.serial) == (True, 3)
    assert (again.upstream_bytes, world.ollama.opened) == (0, [])


def test_a_publisher_that_slept_through_a_takeover_cannot_commit(world: World) -> None:
    world.fill()
    first = world.sync()
    digest = world.trusted().manifest_sha256
    with lease.hold(world.bucket, LEASE, "asleep") as held:
        asleep = publish.Publisher(world.bucket, world.signer, world.keys, held, publish.next_serial(world.bucket))
    with pytest.raises(Conflict):  # it still believes in its lease; the serial stops it
        held._until = time.monotonic() + 60
        world.bucket.create_object("statements/2.dsse.json", world.state(first.version, 2, digest))
        publish.commit(asleep, world.trusted().manifest, "too late")
    assert world.names("statements/") == ["statements/1.dsse.json", "statements/2.dsse.json"]


def child(world: World, folder: Path, lines: list[str]) -> None:
    argv = [sys.executable, "-m", "tests.models.sync_child", world.url, world.bucket.name, str(folder)]
    running = process.spawn(argv, cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 60
    while len(world.names("ollama/")) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill_group(running)
    out = running.stdout.read().decode() if running.stdout else ""
    lines.extend(out.splitlines())


def test_kill_9_in_the_middle_then_again_converges(world: World, tmp_path: Path) -> None:
    blobs = [bytes([65 + number]) * 1_300_000 for number in range(5)]
    world.ollama.put("library/tiny:1b", "r1", ollama_files(*blobs))
    world.hub.put("acme/mini", "c1", hub_files("c1", config=b"{}", weights=b"w" * 5000))
    lines: list[str] = []
    child(world, tmp_path, lines)
    assert not [line for line in lines if line.startswith("RESULT")]
    assert [name.rpartition("/")[2] for name in world.names(".tmp/")] == ["flight.dsse.json"]
    finished = {name.rpartition("/")[2] for name in world.names("ollama/")}
    assert len(finished) >= 2
    assert world.reading() == statements.Reading(None)

    result = world.sync(wait_s=60)
    assert (result.outcome, result.serial) == ("published", 1)
    assert not {path.rpartition("/")[2] for path in world.ollama.opened} & finished
    assert result.reused_bytes + result.upstream_bytes >= sum(map(len, blobs))
    assert gate.read(world.bucket, world.keys).problems == ()
    assert not world.names(".tmp/")
    assert world.bucket.list(".tmp/", versions=True) == []
    assert any("waiting" in line for line in world.said)


def test_what_a_dead_run_left_is_only_taken_up_when_its_bytes_are_right(world: World) -> None:
    world.fill()
    good, evil = b"one" * 300_000, b"two" * 300_000
    left = "20261101T000000Z-00000000"
    world.bucket.create_object(f".tmp/{left}/flight.dsse.json", b"{}")
    world.bucket.create_object(f"ollama/{left}/{blob(good)}", evil)
    world.bucket.create_object(f"sbert/{left}/models--acme--mini/refs/main", b"c-two")
    world.bucket.create_object(f"ollama/{left}/blobs/half", b"half")
    world.bucket.create_object("ollama/20991101T000000Z-00000000/blobs/later", b"somebody else's")
    result = world.sync()
    assert blob(good) in world.ollama.opened
    assert read(world, f"ollama/{result.version}/{blob(good)}") == good
    assert read(world, f"sbert/{result.version}/models--acme--mini/refs/main") == b"c-one"
    assert not world.names(".tmp/") and not world.names("ollama/20261101")
    assert result.version > "20991101"  # later than every name in the bucket, finished or not

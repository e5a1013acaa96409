"""What dead runs left is removed in every generation; what is or ever was a version is not touched."""

from __future__ import annotations

import pytest

from scripts import lease
from scripts.errors import Conflict
from scripts.models import layout, leftovers
from scripts.models.shelf import LEASE
from scripts.models.spans import Span
from tests.models.support import VERSION, World
from tests.models.test_glance import Calls

pytestmark = pytest.mark.process


def test_tmp_is_emptied_for_good(world: World) -> None:
    first = world.bucket.create_object(f".tmp/{VERSION}/ollama/blobs/x", b"1234")
    world.bucket.replace(first.name, b"56789", first.generation)
    world.bucket.create_object(".tmp/not-a-version/x", b"somebody's notes")
    assert leftovers.clear_tmp(world.bucket) == 9
    assert [info.name for info in world.bucket.list(versions=True)] == [".tmp/not-a-version/x"]


def test_only_folders_that_never_became_versions_go(world: World) -> None:
    world.fill()
    published = world.sync().version
    unborn, lost = "20250101T000000Z-00000000", "20250102T000000Z-00000000"
    for version in (unborn, lost):
        world.bucket.create_object(f"ollama/{version}/blobs/x", b"12")
        world.bucket.create_object(f"sbert/{version}/models--a--b/refs/main", b"3")
    done = world.bucket.create_object(f"manifests/{lost}.done", b"{}")
    world.bucket.replace(done.name, b"[]", done.generation)
    world.remove(done.name)  # gone, but a noncurrent generation tells that this was a version
    world.bucket.create_object("ollama/README", b"not a version")
    assert leftovers.look(world.bucket).versions == {unborn, lost, published}
    before = {name for name in world.names() if unborn not in name}
    assert leftovers.clear_unborn(world.bucket) == 3
    assert set(world.names()) == before
    assert leftovers.clear_unborn(world.bucket) == 0


def test_what_may_be_of_use_is_found_once(world: World) -> None:
    world.fill()
    published = world.sync().version
    older, newer, digest = "20250101T000000Z-00000000", "20250102T000000Z-00000000", "ab" * 32
    for number, version in enumerate((older, newer), 1):
        world.bucket.create_object(layout.flight_name(version), b"{}")
        world.bucket.create_object(f"ollama/{version}/blobs/x", b"1" * number)
        world.bucket.create_object(layout.part_name(version, digest, 0, 3), b"123")
    world.bucket.create_object(layout.part_name(older, digest, 3, 9), b"too short")
    found = leftovers.look(world.bucket, published)
    assert {path: [info.size_bytes for info in infos] for path, infos in found.whole.items()} == {
        "ollama/blobs/x": [2, 1]
    }
    assert {span: info.name for span, info in found.parts[digest].items()} == {
        Span(0, 3): layout.part_name(newer, digest, 0, 3)
    }


def test_tmp_goes_last_so_that_whoever_dies_before_is_found_out(world: World) -> None:
    world.bucket.create_object(f".tmp/{VERSION}/ollama/blobs/empty", b"")
    world.bucket.create_object(f"ollama/{VERSION}/blobs/x", b"12")
    calls = Calls(world)
    assert leftovers.clear(world.bucket) == 2
    assert [line.rpartition("%2F")[2].partition("?")[0] for line in calls.made if line.startswith("DELETE")] == [
        "x", "empty",
    ]  # fmt: skip
    calls.made.clear()
    assert leftovers.clear(world.bucket) == 0
    assert len(calls.made) == 1


def test_a_successors_work_is_passed_by(world: World) -> None:
    """Who cleans may have lost the lease unknowingly: what is later than its own version is another one's."""
    older, newer = "20250101T000000Z-00000000", "20250102T000000Z-00000000"
    for version in (older, newer):
        world.bucket.create_object(f".tmp/{version}/ollama/blobs/x", b"1")
        world.bucket.create_object(f"ollama/{version}/blobs/x", b"12")
    assert leftovers.clear_unborn(world.bucket, upto=older) == 2
    assert leftovers.clear_tmp(world.bucket, upto=older) == 1
    assert set(world.names()) == {f".tmp/{newer}/ollama/blobs/x", f"ollama/{newer}/blobs/x"}


def test_nothing_is_removed_without_the_lease(world: World) -> None:
    world.bucket.create_object(f".tmp/{VERSION}/ollama/blobs/x", b"1")
    world.bucket.create_object(f"ollama/{VERSION}/blobs/x", b"12")
    before = world.names()
    with lease.hold(world.bucket, LEASE, "a test") as held:
        world.overwrite(lease.object_name(LEASE), b"{}")
        held._renew()
        with pytest.raises(Conflict, match="was lost"):
            leftovers.clear(world.bucket, held.check)
    assert [name for name in world.names() if not name.startswith("leases/")] == before


def test_a_sync_with_nothing_to_pull_cleans_up_too(world: World) -> None:
    world.fill()
    world.sync()
    world.bucket.create_object(".tmp/20990101T000000Z-00000000/ollama/blobs/x", b"x")
    world.bucket.create_object("ollama/20990101T000000Z-00000000/blobs/x", b"x")
    assert world.sync().outcome == "up_to_date"
    assert not [name for name in world.names() if "20990101" in name]

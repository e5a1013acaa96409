"""What signatures vouch for comes back from what the bucket still has; what nobody signed never does."""

from __future__ import annotations

import pytest

from scripts import lease
from scripts.models import gate, layout, repair, verify
from scripts.models.repair import Repair
from scripts.models.shelf import LEASE
from tests.models.support import World
from tests.models.test_rollback import published

pytestmark = pytest.mark.process


def mend(world: World) -> Repair:
    todo = repair.prepare(world.bucket, world.keys)
    with lease.hold(world.bucket, LEASE, "a repair"):
        repair.carry_out(world.bucket, todo)
    return todo


def hide(world: World, *names: str) -> None:
    """Delete objects as `gsutil rm` does: in a versioned bucket they become noncurrent."""
    client, _ = world.bucket._clients()
    for name in names:
        client.bucket(world.bucket.name).blob(name).delete()


def whole(world: World) -> None:
    found = verify.verify(world.bucket, world.keys, full=True)
    assert found.trusted is not None and found.problems == ()
    assert found.hashed_bytes == found.trusted.manifest.total_size_bytes
    assert repair.prepare(world.bucket, world.keys).plan().empty


def test_a_whole_bucket_needs_nothing(world: World) -> None:
    published(world, 2)
    todo = repair.prepare(world.bucket, world.keys)
    assert (todo.fixes, todo.lost) == ((), ())
    whole(world)


def test_everything_that_was_deleted_comes_back(world: World) -> None:
    _, newer = published(world, 2)
    before = {info.name: info.crc32c for info in world.bucket.list() if not info.name.startswith(("leases/", "audit/"))}
    hide(world, *before)
    assert gate.read(world.bucket, world.keys).trusted is None
    todo = mend(world)
    assert todo.active is not None and todo.active.version == newer
    after = {info.name: info.crc32c for info in world.bucket.list() if not info.name.startswith(("leases/", "audit/"))}
    assert after == before
    whole(world)


@pytest.mark.parametrize(
    "name", ["statements/2.dsse.json", "manifests/{newer}.json", "manifests/{newer}.done", "manifest.json", ".done"]
)
def test_what_was_overwritten_is_as_it_was_signed_again(world: World, name: str) -> None:
    _, newer = published(world, 2)
    name = name.format(newer=newer)
    before = world.bucket.read(name)
    assert before is not None
    world.overwrite(name, b'{"nonsense": true}')
    todo = mend(world)
    assert [fix.name for fix in todo.fixes] == [name]
    after = world.bucket.read(name)
    assert after is not None and after[0] == before[0]
    whole(world)


def test_a_file_comes_back_from_a_generation_that_fits(world: World) -> None:
    _, newer = published(world, 2)
    name = next(name for name in world.names(f"ollama/{newer}/"))
    world.overwrite(name, b"swapped")
    assert [fix.name for fix in mend(world).fixes] == [name]
    whole(world)


def test_a_statement_comes_back_from_the_copy_alone(world: World) -> None:
    published(world, 1)
    world.remove("statements/1.dsse.json")
    mend(world)
    whole(world)


def test_what_is_gone_for_good_is_told_and_the_older_version_serves(world: World) -> None:
    older, newer = published(world, 2)
    name = next(name for name in world.names(f"ollama/{newer}/"))
    world.remove(name)
    todo = mend(world)
    assert [(item.object, item.kind) for item in todo.lost] == [(name, "files")]
    assert todo.active is not None and todo.active.version == older


def test_a_torn_hold_and_a_forged_statement_help_nobody(world: World) -> None:
    (version,) = published(world, 1)
    world.overwrite(layout.HOLDS, b"{")
    world.bucket.create_object(layout.statement_name(2), b'{"forged": true}')
    todo = mend(world)
    assert [fix.name for fix in todo.fixes] == [layout.HOLDS]
    assert todo.active is not None and (todo.active.version, todo.active.serial) == (version, 1)


def test_verifying_in_full_finds_what_a_checksum_hides(world: World) -> None:
    (version,) = published(world, 1)
    assert verify.verify(world.bucket, world.keys, version=version).problems == ()
    world.remove(layout.DONE_COPY)
    assert [problem.object for problem in verify.verify(world.bucket, world.keys).problems] == [layout.DONE_COPY]
    world.remove(next(iter(world.names(f"ollama/{version}/"))))
    assert verify.verify(world.bucket, world.keys).trusted is None

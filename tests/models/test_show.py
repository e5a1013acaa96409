"""What cache.list and cache.show tell of a bucket."""

from __future__ import annotations

import pytest

from scripts.models import holds, layout, show
from scripts.models.holds import Hold, Holds
from tests.models.support import VERSION, World, kinds
from tests.models.test_statements import twice_published

pytestmark = pytest.mark.process


def test_an_empty_bucket(world: World) -> None:
    assert show.versions(world.bucket, world.keys) == show.Listing((), ())
    shown = show.active(world.bucket, world.keys)
    assert (shown.manifest, shown.signature, shown.healthy) == (None, "", False)


def test_every_version_is_listed_with_what_it_is(world: World) -> None:
    older, newer = twice_published(world)
    digest = world.reading(pinned_version=older).trusted
    assert digest is not None
    world.bucket.create_object(layout.statement_name(3), world.state(older, 3, digest.manifest_sha256))
    holds.change(world.bucket, lambda now: Holds(Hold(older, "", "2026-11-20T03:00:00Z", "ann"), (newer,)))
    world.bucket.create_object(f"ollama/{VERSION}/blobs/half", b"half")
    world.bucket.create_object(".tmp/20250101T000000Z-00000000/ollama/x", b"half")
    listing = show.versions(world.bucket, world.keys)
    assert [row.version for row in listing.versions] == sorted([newer, older, VERSION, "20250101T000000Z-00000000"])[
        ::-1
    ]
    rows = {row.version: row for row in listing.versions}
    assert (rows[older].active, rows[older].held, rows[older].pinned, rows[older].serials) == (
        True,
        True,
        False,
        (3, 1),
    )
    assert (rows[newer].active, rows[newer].held, rows[newer].pinned, rows[newer].serials) == (False, False, True, (2,))
    assert rows[newer].complete and rows[newer].models == ("llm", "embedder") and rows[newer].size_bytes > 0
    assert (rows[VERSION].complete, rows[VERSION].size_bytes, rows[VERSION].serials) == (False, 0, ())
    assert listing.problems == ()


def test_the_active_version_with_its_signature_and_copies(world: World) -> None:
    world.fill()
    result = world.sync()
    shown = show.active(world.bucket, world.keys)
    assert shown.healthy and shown.copies_in_step
    assert shown.manifest is not None and shown.manifest.version == result.version
    assert shown.statement is not None and shown.statement.serial == 1
    assert shown.signature == world.keys[0].key_id
    world.overwrite(".done", b"{}")
    behind = show.active(world.bucket, world.keys)
    assert (behind.copies_in_step, behind.healthy, kinds(behind.problems)) == (False, False, ["copies"])
    world.overwrite("holds.json", b"?")
    assert kinds(show.active(world.bucket, world.keys).problems) == ["holds", "copies"]


def test_a_damaged_version_is_not_called_complete(world: World) -> None:
    older, newer = twice_published(world)
    world.overwrite(f"manifests/{newer}.json", b"{")
    listing = show.versions(world.bucket, world.keys)
    rows = {row.version: row for row in listing.versions}
    assert (rows[newer].complete, rows[newer].active, rows[older].active) == (False, False, True)
    assert kinds(listing.problems) == ["manifest"]

"""What was signed in the past, newest first, whatever became of its files."""

from __future__ import annotations

import pytest

from scripts.models import history, layout
from scripts.models.statements import Problem
from tests.models.support import World
from tests.models.test_statements import twice_published

pytestmark = pytest.mark.process


def test_versions_come_newest_statement_first_and_once(world: World) -> None:
    older, newer = twice_published(world)
    past = world.reading(pinned_version=older).trusted
    assert past is not None
    world.bucket.create_object(layout.statement_name(3), world.state(older, 3, past.manifest_sha256))
    world.bucket.create_object(layout.statement_name(4), b"junk")
    found = history.signed_manifests(world.bucket, world.keys, limit=5)
    assert [content.version for content in found] == [older, newer]
    assert [content.version for content in history.signed_manifests(world.bucket, world.keys, limit=1)] == [older]
    kinds = [
        item.kind if isinstance(item, Problem) else item[0].serial
        for item in history.verified(world.bucket, world.keys)
    ]
    assert kinds == ["statement", 3, 2, 1]


def test_what_was_meant_is_known_without_done_but_not_without_its_manifest(world: World) -> None:
    older, newer = twice_published(world)
    world.remove(layout.done_name(newer))
    assert history.signed_manifests(world.bucket, world.keys, limit=1)[0].version == newer
    world.overwrite(layout.manifest_name(newer), b"{}")
    assert [content.version for content in history.signed_manifests(world.bucket, world.keys, limit=5)] == [older]

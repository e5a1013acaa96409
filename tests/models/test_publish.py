"""The commit and its refusals: nothing half-made is ever named by a statement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from scripts import lease
from scripts.errors import Conflict, OpsError, Refused
from scripts.models import layout, manifest, publish
from scripts.models.manifest import Model, ModelFile
from scripts.models.publish import Publisher
from tests.models.support import VERSION, World

pytestmark = pytest.mark.process


@pytest.fixture
def publisher(world: World) -> Iterator[Publisher]:
    with lease.hold(world.bucket, "publish", "a test") as held:
        yield Publisher(world.bucket, world.signer, world.keys, held, publish.next_serial(world.bucket))


def placed(world: World, version: str = VERSION) -> manifest.Manifest:
    """A version of one file under its final name, and its manifest."""
    info = world.bucket.create_object(f"ollama/{version}/blobs/x", b"content")
    file = ModelFile("blobs/x", info.size_bytes, manifest.sha256(b"content"), info.crc32c)
    model = Model("llm", "ollama", "library/tiny:1b", "r1", f"ollama/{version}", (file,))
    return manifest.make(version, "2026-11-20T02:00:00Z", (model,))


def test_a_whole_version_is_recorded_and_committed(world: World, publisher: Publisher) -> None:
    content = placed(world)
    publish.record(publisher, content)
    assert world.reading().trusted is None  # recorded is not yet active
    trusted = publish.commit(publisher, content, "by hand")
    assert (trusted.serial, trusted.version, trusted.statement.reason) == (1, VERSION, "by hand")
    assert world.trusted() == trusted


def test_recording_again_is_the_same_and_other_content_is_refused(world: World, publisher: Publisher) -> None:
    content = placed(world)
    assert publish.record(publisher, content) == publish.record(publisher, content)
    with pytest.raises(Conflict):
        publish.record(publisher, replace(content, created_at="2026-11-21T02:00:00Z"))


@pytest.mark.parametrize("damage", ["missing", "other", "extra"])
def test_a_version_that_is_not_whole_gets_no_manifest(world: World, publisher: Publisher, damage: str) -> None:
    content = placed(world)
    if damage == "missing":
        world.remove(f"ollama/{VERSION}/blobs/x")
    elif damage == "other":
        world.overwrite(f"ollama/{VERSION}/blobs/x", b"kontent")
    else:
        world.bucket.create_object(f"ollama/{VERSION}/blobs/y", b"")
    with pytest.raises(OpsError, match="is not as it was written"):
        publish.record(publisher, content)
    assert world.names("manifests/") == []


def test_a_serial_has_one_winner(world: World, publisher: Publisher) -> None:
    content = placed(world)
    publish.record(publisher, content)
    publish.commit(publisher, content, "first")
    with pytest.raises(Conflict, match=f"serial 1 went to version {VERSION} \\(first,"):
        publish.commit(publisher, content, "second")
    world.overwrite(layout.statement_name(2), b"junk")
    with pytest.raises(Conflict, match="an object that is not believed"):
        publish.commit(replace(publisher, serial=2), content, "third")


def test_a_lost_lease_commits_nothing(world: World, publisher: Publisher) -> None:
    content = placed(world)
    publish.record(publisher, content)
    world.overwrite("leases/publish.json", b"{}")
    publisher.lease._renew()
    with pytest.raises(Conflict, match="lease"):
        publish.commit(publisher, content, "too late")
    assert world.names("statements/") == []


def test_the_end_of_the_numbers_is_told(world: World) -> None:
    world.bucket.create_object(layout.statement_name(layout.MAX_SERIAL), b"{}")
    with pytest.raises(Refused, match="no serial is left"):
        publish.next_serial(world.bucket)

"""What is known of bytes on their way into a version, and where published ones may be copied from."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from scripts.cloud.storage_objects import crc32c
from scripts.errors import BadInput, Conflict, OpsError
from scripts.models import layout, transfer
from scripts.models.sources.base import RemoteFile, Resolved
from scripts.models.transfer import Digest, Placed, Wanted
from tests.models.support import SPECS, VERSION, FolderSource, World, ollama_files

DATA = b"the bytes of a file"
OID = hashlib.sha1(b"blob %d\0" % len(DATA) + DATA, usedforsecurity=False).hexdigest()
SHA = hashlib.sha256(DATA).hexdigest()


def wanted(**changes: object) -> Wanted:
    file = replace(RemoteFile("blobs/x", len(DATA), None, "opaque"), **changes)  # type: ignore[arg-type]
    return Wanted(f"ollama/{VERSION}/blobs/x", Resolved(SPECS[0], "r1", (file,)), file)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, ""),
        ({"sha256": SHA, "identity": f"sha256:{SHA}"}, ""),
        ({"identity": f"sha256:{SHA}"}, ""),
        ({"identity": f"git:{OID}"}, ""),
        ({"size_bytes": 3}, "the upstream announced 3"),
        ({"sha256": "0" * 64}, "the upstream announced 000"),
        ({"identity": f"sha256:{'0' * 64}"}, "sha256"),
        ({"identity": f"git:{'0' * 40}"}, "git id"),
    ],
)
def test_bytes_are_what_was_announced_or_that_is_told(changes: dict[str, object], fault: str) -> None:
    digest = Digest(wanted(**changes))
    for chunks in ([DATA[:5], b""], [], [DATA[5:]]):
        digest.add(chunks)
    assert (digest.sha256, digest.crc32c, digest.size_bytes) == (SHA, crc32c(DATA), len(DATA))
    if fault:
        assert fault in digest.fault()
        assert "nothing was published" in digest.refused().message
    else:
        assert digest.fault() == ""


def test_equal_content_has_an_equal_key_and_only_a_digest_proves_it() -> None:
    assert wanted(sha256=SHA).key == wanted(identity=f"sha256:{SHA}").key == wanted(sha256=SHA).digest == SHA
    assert wanted(identity=f"git:{OID}").key == OID
    assert wanted(content=DATA, identity="made").digest == SHA
    assert wanted().digest == "" and wanted().key == wanted().key != wanted(identity="other").key


def test_objects_are_named_once_and_safely() -> None:
    file = RemoteFile("blobs/x", 1, None, "i")
    models = [Resolved(SPECS[0], "r", (file,)), Resolved(SPECS[1], "c", (file,))]
    assert sorted(transfer.wanted_objects(models, VERSION)) == [
        f"ollama/{VERSION}/blobs/x",
        f"sbert/{VERSION}/models--acme--mini/blobs/x",
    ]
    with pytest.raises(BadInput, match="llm"):
        transfer.wanted_objects([Resolved(SPECS[0], "r", (replace(file, path="../x"),))], VERSION)


@pytest.mark.process
def test_a_copy_is_made_once_of_one_generation_and_compared(world: World) -> None:
    info = world.bucket.create_object("from", DATA)
    source = Placed("from", info.generation, len(DATA), SHA, info.crc32c)
    placed = transfer.copy_once(world.bucket, source, "to")
    assert (placed.name, placed.sha256, placed.crc32c) == ("to", SHA, info.crc32c)
    with pytest.raises(Conflict):
        transfer.copy_once(world.bucket, source, "to")
    with pytest.raises(OpsError, match="after the copy"):
        transfer.copy_once(world.bucket, replace(source, crc32c="AAAAAA=="), "to2")


@pytest.mark.process
def test_only_intact_objects_of_signed_versions_are_copied_from(world: World) -> None:
    world.ollama.put("library/tiny:1b", "r1", ollama_files(b"a" * 10, b"b" * 10))
    version = world.sync(specs=world.specs[:1]).version
    content = world.trusted().manifest
    assert len(transfer.published(world.bucket, [content])) == 3
    damaged = next(name for name in content.objects() if "manifests/" in name)
    world.overwrite(damaged, b"x")
    assert len(transfer.published(world.bucket, [content])) == 2
    assert all(item.name.startswith(layout.folder("ollama", version)) for item in
               transfer.published(world.bucket, [content]).values())  # fmt: skip
    assert isinstance(world.ollama, FolderSource)


@pytest.mark.process
def test_two_models_that_need_other_bytes_under_one_name_are_refused(world: World) -> None:
    """Published, the first one's would stand for both, and every sync would find the second one changed."""
    world.fill()
    twins = (world.specs[0], replace(world.specs[0], name="twin", source="tiny:1b"))
    world.ollama.put("tiny:1b", "r-two", ollama_files(b"two" * 10))
    with pytest.raises(BadInput, match=r"'twin' and 'llm' both have a file manifests/.*, with other bytes"):
        world.sync(specs=twins)
    assert not world.names("ollama/") and not world.names("statements/")
    world.ollama.put("tiny:1b", "r-one", ollama_files(b"one" * 300_000, b"template one"))
    assert world.sync(specs=twins).outcome == "published"
    assert world.sync(specs=twins).outcome == "up_to_date"

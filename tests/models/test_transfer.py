"""Bytes on their way into a version: digests compared before anything exists, leftovers hashed before they count."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from scripts.errors import BadInput, OpsError
from scripts.models import layout, transfer
from scripts.models.sources.base import RemoteFile, Resolved
from scripts.models.transfer import Digest, Wanted
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
def test_a_stream_is_what_was_announced_or_fails_at_its_end(changes: dict[str, object], fault: str) -> None:
    digest = Digest(wanted(**changes))
    stream = digest.passing([DATA[:5], b"", DATA[5:]])
    assert next(stream) + next(stream) + next(stream) == DATA
    if fault:
        with pytest.raises(OpsError, match=fault) as caught:
            next(stream)
        assert "nothing was published" in caught.value.message
    else:
        assert list(stream) == []
        assert digest.sha256 == SHA


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
def test_a_wrong_file_never_exists_in_the_bucket(world: World) -> None:
    world.ollama.put("library/tiny:1b", "r1", {"blobs/x": DATA})
    with pytest.raises(OpsError, match="announced"):
        transfer.pull(world.bucket, wanted(sha256="0" * 64), world.ollama, VERSION)
    assert world.bucket.list(versions=True) == []
    placed = transfer.pull(world.bucket, wanted(sha256=SHA), world.ollama, VERSION)
    assert (placed.name, placed.sha256, placed.size_bytes) == (f".tmp/{VERSION}/ollama/blobs/x", SHA, len(DATA))


@pytest.mark.process
def test_leftovers_are_proven_or_not_used(world: World) -> None:
    good = world.bucket.create_object(f".tmp/{VERSION}/ollama/blobs/x", DATA)
    evil = world.bucket.create_object(f".tmp/{VERSION}/ollama/blobs/y", DATA[::-1])
    assert transfer.take_up(world.bucket, wanted(), good) is None  # nothing says what it is
    for changes in ({"sha256": SHA}, {"identity": f"git:{OID}"}):
        assert transfer.take_up(world.bucket, wanted(**changes), evil) is None
        taken = transfer.take_up(world.bucket, wanted(**changes), good)
        assert taken is not None and (taken.generation, taken.sha256) == (good.generation, SHA)
    left = transfer.left_over(world.bucket)
    assert [info.generation for info in left["ollama/blobs/x"]] == [good.generation]
    assert transfer.rest_of(f"ollama/{VERSION}/blobs/x", VERSION) == "ollama/blobs/x"


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

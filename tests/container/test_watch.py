"""A file that is not what was signed: named, told as an error, and the version below serves."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.cloud.storage_objects import crc32c
from scripts.container.watch import Watch
from scripts.settings.types import ModelSpec
from tests.container.test_start import decision, failure

pytestmark = pytest.mark.process
# Castagnoli's polynomial, in the order in which crc32c takes bits: put over any bytes it leaves their checksum alone.
INVISIBLE = (1 | 0x82F63B78 << 1).to_bytes(5, "little")


@pytest.fixture
def twice(world: Any) -> tuple[tuple[ModelSpec, ...], str, str, str]:
    """Two versions: the models of the newer one, the names of the older and the newer, an object of the newer."""
    first = world.model()
    older = world.publish(first)
    tag = {"kind": "ollama", "name": f"library/{world.name}", "tag": "2", "size_bytes": 70_000}
    world.control("/_local/upstreams/tags", tag)
    both = (first, ModelSpec("second", "ollama", f"library/{world.name}:2"))
    newer = world.publish(*both)
    world.mirror()
    (name,) = [info.name for info in world.bucket.list(f"ollama/{newer}/blobs/") if info.size_bytes == 70_000]
    return both, older, newer, name


def forged(data: bytes) -> bytes:
    """Other bytes of the same size and crc32c."""
    return bytes(a ^ b for a, b in zip(data, INVISIBLE, strict=False)) + data[len(INVISIBLE) :]


def put(world: Any, name: str, data: bytes) -> None:
    """Replace an object as somebody with write access would; the mount shows it as well."""
    world.bucket.replace(name, data, world.bucket.stat(name).generation)
    (world.mount / name).write_bytes(data)


def serves(world: Any, specs: Any, version: str, **changes: Any) -> list[dict[str, Any]]:
    """An instance gets ready with this version; what it did not trust."""
    child = world.start(world.runtime(*specs, **changes))
    assert child.ready()["manifest_version"] == version
    assert child.stop() == 0
    decision(child)
    return [entry for entry in child.entries if entry["message"].startswith("not trusted")]


def test_a_swapped_file_is_found_by_its_checksum_and_the_version_below_serves(world: Any, twice: Any) -> None:
    specs, older, _, name = twice
    data = world.bucket.read(name)[0]
    put(world, name, bytes([data[0] ^ 1]) + data[1:])
    for verify in ("metadata", "full"):
        told = serves(world, specs, older, verify=verify)
        assert [(entry["severity"], entry["object"], entry["kind"]) for entry in told] == [("ERROR", name, "files")]
        assert "swapped or damaged" in told[0]["error"]


@pytest.mark.parametrize("where", ["bucket", "mount"])
def test_bytes_that_the_metadata_does_not_tell_are_found_in_full(world: Any, twice: Any, where: str) -> None:
    specs, older, newer, name = twice
    data = world.bucket.read(name)[0]
    other = forged(data)
    assert (len(other), crc32c(other)) == (len(data), crc32c(data)) and other != data
    if where == "bucket":
        put(world, name, other)
    else:
        (world.mount / name).write_bytes(other)
    assert serves(world, specs, newer) == []
    told = serves(world, specs, older, verify="full")
    assert (told[0]["severity"], told[0]["object"], told[0]["kind"]) == ("ERROR", name, "bytes")
    assert "signed was" in told[0]["error"] and "cache.verify --full --env test" in told[0]["remedy"]
    strict = world.start(world.runtime(*specs, verify="full", on_miss="fail"))
    assert strict.end() == 1
    failure(strict)
    pinned = world.start(world.runtime(*specs, verify="full", pinned_version=newer))
    assert pinned.end() == 1
    failure(pinned)


def test_every_byte_is_hashed_once_where_all_is_well(world: Any, twice: Any) -> None:
    specs, _, newer, _ = twice
    child = world.start(world.runtime(*specs, verify="full"))
    assert child.ready()["manifest_version"] == newer
    assert child.stop() == 0
    (proven,) = child.named("every byte verified")
    assert proven["size_bytes"] > 120_000 and decision(child)["cache_hit"] is True
    watch = Watch(world.runtime(*specs, verify="full"), world.bucket, 0.0)
    watch._proven.add(newer)
    world.mirror()
    (world.mount / f"ollama/{newer}").rename(world.mount / "gone")
    assert watch.look().decision.version == newer  # nothing was read again

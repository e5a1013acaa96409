"""The bucket as the formats promise it, read by nothing of ours: JSON, SHA-256, and cryptography's own ed25519."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.conftest import StandIn
from tests.models.support import World, make_world

pytestmark = pytest.mark.process


@pytest.fixture
def world(shared_standin: StandIn, tmp_path: Path) -> World:
    made = make_world(
        shared_standin.url, tmp_path, "formats-" + hashlib.sha256(str(tmp_path).encode()).hexdigest()[:16]
    )
    made.fill()
    made.sync()
    return made


def fetch(world: World, name: str) -> bytes:
    found = world.bucket.read(name)
    assert found is not None, name
    return found[0]


def pae(kind: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding, version 1 (github.com/secure-systems-lab/dsse, protocol.md)."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)


def test_a_stranger_can_verify_the_whole_chain(world: World) -> None:
    envelope: dict[str, Any] = json.loads(fetch(world, "statements/1.dsse.json"))
    payload = base64.b64decode(envelope["payload"])
    key = load_pem_public_key(world.keys[0].public_pem.encode())
    assert isinstance(key, Ed25519PublicKey)
    (signature,) = envelope["signatures"]
    key.verify(base64.b64decode(signature["sig"]), pae(envelope["payloadType"], payload))
    statement = json.loads(payload)
    assert set(statement) == {"serial", "version", "manifest_sha256", "created_at", "reason"}
    version = statement["version"]
    data = fetch(world, f"manifests/{version}.json")
    assert hashlib.sha256(data).hexdigest() == statement["manifest_sha256"]
    assert json.loads(fetch(world, f"manifests/{version}.done")) == {
        "version": version,
        "manifest_sha256": statement["manifest_sha256"],
    }
    manifest = json.loads(data)
    assert set(manifest) == {"schema_version", "version", "created_at", "total_size_bytes", "models"}
    total = 0
    for model in manifest["models"]:
        assert set(model) == {"name", "kind", "source", "revision", "prefix", "files"}
        for file in model["files"]:
            assert set(file) == {"path", "size_bytes", "sha256", "crc32c"}
            body = fetch(world, f"{model['prefix']}/{file['path']}")
            assert (len(body), hashlib.sha256(body).hexdigest()) == (file["size_bytes"], file["sha256"])
            total += len(body)
    assert total == manifest["total_size_bytes"]


def test_the_readable_copies(world: World) -> None:
    copy = json.loads(fetch(world, "manifest.json"))
    version = copy["version"]
    plain = {key: value for key, value in copy.items() if key not in ("serial", "envelope")}
    assert plain == json.loads(fetch(world, f"manifests/{version}.json"))
    assert (copy["serial"], copy["envelope"]) == (1, json.loads(fetch(world, "statements/1.dsse.json")))
    assert json.loads(fetch(world, ".done"))["version"] == version


def test_only_the_objects_that_the_formats_name(world: World) -> None:
    version = json.loads(fetch(world, ".done"))["version"]
    allowed = (
        "manifest.json", ".done", f"manifests/{version}.", "statements/1.dsse.json", f"ollama/{version}/blobs/",
        f"ollama/{version}/manifests/", f"sbert/{version}/models--acme--mini/", "leases/publish.json", "audit/",
    )  # fmt: skip
    assert [name for name in world.names() if not name.startswith(allowed)] == []
    assert not [name for name in world.names("sbert/") if "/blobs/" in name or "/trees/" in name]
    assert [info.name for info in world.bucket.list("manifests/", versions=True) if info.deleted] == []
    assert set(json.loads(fetch(world, "leases/publish.json"))) == {"owner", "purpose", "expires_at", "serial"}

"""Old formats verify for ever: the samples under tests/data/manifests/ are append-only."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from scripts.models import manifest, signing, statements

DATA = Path(__file__).parents[1] / "data" / "manifests"
SAMPLES = sorted(path.parent for path in DATA.glob("v*/*/statement.dsse.json"))


def test_there_are_samples() -> None:
    assert {sample.name for sample in SAMPLES} >= {
        "ollama-and-huggingface-ed25519",
        "shared-blob-and-unicode-ecdsa-p256",
    }


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_a_sample_still_verifies(sample: Path) -> None:
    key = signing.trusted_key((sample / "key.pub").read_text(encoding="ascii"))
    statement, _ = statements.unseal((sample / "statement.dsse.json").read_bytes(), [key])
    data = (sample / "manifest.json").read_bytes()
    assert manifest.sha256(data) == statement.manifest_sha256
    content = manifest.parse(data)
    assert content.version == statement.version
    assert (sample / "done").read_bytes() == statements.done_bytes(content.version, statement.manifest_sha256)


@pytest.mark.parametrize("folder", sorted(DATA.glob("v*")), ids=lambda folder: folder.name)
def test_no_sample_was_changed_or_removed(folder: Path) -> None:
    listed = dict(reversed(line.split("  ", 1)) for line in (folder / "SHA256SUMS").read_text().splitlines())
    found = {path.relative_to(folder).as_posix(): path for path in folder.glob("*/*")}
    assert listed.keys() == found.keys()
    for name, digest in listed.items():
        assert hashlib.sha256(found[name].read_bytes()).hexdigest() == digest, name

"""The private download with sources that misbehave, onto a real disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.container import private
from scripts.errors import OpsError, Refused
from scripts.models.sources.base import RemoteFile, Resolved
from scripts.settings.types import ModelSpec

HUB = ModelSpec("embedder", "huggingface", "acme/mini")
LLM = ModelSpec("llm", "ollama", "library/tiny:1b")


class Upstream:
    """A source whose files are in memory; `sent` can replace what a download delivers."""

    def __init__(self, files: dict[str, bytes], revision: str = "abc") -> None:
        self.files = files
        self.revision = revision
        self.sent: dict[str, bytes | OSError] = {}
        self.received_bytes = 0
        self.opened: list[str] = []

    def resolve(self, spec: ModelSpec, pinned: str | None = None) -> Resolved:
        files = [
            RemoteFile(path, len(data), hashlib.sha256(data).hexdigest(), f"sha256:{path}")
            for path, data in self.files.items()
        ]
        made = b"abc"
        return Resolved(spec, self.revision, (*files, RemoteFile("refs/main", len(made), None, "made", made)))

    def open(self, resolved: Resolved, file: RemoteFile, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        self.opened.append(file.path)
        data = self.sent.get(file.path, self.files[file.path])
        if isinstance(data, OSError):
            raise data
        for place in range(start, len(data), 7):
            piece = data[place : place + 7]
            self.received_bytes += len(piece)
            yield piece


@pytest.fixture
def upstream() -> Upstream:
    return Upstream({"snapshots/abc/config.json": b"{}", "snapshots/abc/model.bin": b"0123456789" * 20})


def fetch(upstream: Upstream, root: Path, *specs: ModelSpec) -> private.Downloaded:
    wanted = specs or (HUB,)
    return private.download(wanted, {spec.kind: upstream for spec in wanted}, root)


def test_files_lie_where_the_clients_look(upstream: Upstream, tmp_path: Path) -> None:
    done = fetch(upstream, tmp_path, HUB)
    llm = fetch(upstream, tmp_path, LLM)
    entry = tmp_path / "sbert" / "models--acme--mini"
    assert (entry / "snapshots/abc/model.bin").read_bytes() == b"0123456789" * 20
    assert (entry / "refs/main").read_bytes() == b"abc"
    assert [(model.name, model.folder) for model in done.models] == [("embedder", entry)]
    assert [(model.name, model.folder) for model in llm.models] == [("llm", tmp_path / "ollama")]
    assert (tmp_path / "ollama" / "snapshots/abc/config.json").exists()
    assert (done.upstream_bytes, done.kept_bytes) == (202, 0)
    assert (done.stores.version, done.stores.ollama, done.stores.sbert) == ("", tmp_path / "ollama", tmp_path / "sbert")


def test_what_is_whole_is_kept_and_what_is_torn_is_pulled_again(upstream: Upstream, tmp_path: Path) -> None:
    fetch(upstream, tmp_path)
    folder = tmp_path / "sbert/models--acme--mini/snapshots/abc"
    (folder / "config.json").write_bytes(b"[]")  # the right size, other content
    (folder / ".partial-model.bin").write_bytes(b"left by a start that was killed")
    upstream.opened.clear()
    again = fetch(upstream, tmp_path)
    assert upstream.opened == ["snapshots/abc/config.json"]
    assert (folder / "config.json").read_bytes() == b"{}"
    assert again.kept_bytes == 203  # the weights and refs/main
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.bin"]


@pytest.mark.parametrize(
    ("sent", "told"),
    [(b"x" * 200, "has sha256"), (b"0123456789" * 19, "has 190 bytes"), (b"", "has 0 bytes")],
    ids=["altered", "short", "empty"],
)
def test_other_content_than_announced_is_refused_and_not_left_behind(
    upstream: Upstream, tmp_path: Path, sent: bytes, told: str
) -> None:
    upstream.sent["snapshots/abc/model.bin"] = sent
    with pytest.raises(OpsError, match=told):
        fetch(upstream, tmp_path)
    folder = tmp_path / "sbert/models--acme--mini/snapshots/abc"
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_a_disk_that_is_too_small_is_noticed_before_the_download(upstream: Upstream, tmp_path: Path) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    huge = RemoteFile("snapshots/abc/huge.bin", free * 2, None, "made")
    upstream.resolve = lambda spec, pinned=None: Resolved(spec, "abc", (huge,))  # type: ignore[method-assign]
    with pytest.raises(OpsError, match="free") as caught:
        fetch(upstream, tmp_path)
    assert upstream.opened == []
    assert "memory" in caught.value.remedy


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (lambda root: (root.mkdir(), (root / "sbert").write_text("")), "cannot keep models below"),
        (lambda root: root.write_text(""), "cannot keep models below"),
    ],
    ids=["file in the way", "root is a file"],
)
def test_a_root_that_cannot_hold_models_is_said_so(
    upstream: Upstream, tmp_path: Path, prepare: Callable[[Path], Any], told: str
) -> None:
    prepare(tmp_path / "root")
    with pytest.raises(OpsError, match=told) as caught:
        fetch(upstream, tmp_path / "root")
    assert not isinstance(caught.value, Refused)


def test_the_hub_client_is_let_online_before_it_is_imported() -> None:
    environ = {"HF_HUB_OFFLINE": "1", "OTHER": "x"}
    private.online(environ)
    assert environ == {"HF_HUB_DISABLE_XET": "1", "OTHER": "x"}

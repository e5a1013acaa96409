"""Places of the project, and the variables that move them."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.errors import BadInput
from scripts.settings import project


def test_state_is_in_the_checkout_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert project.state_dir() == project.ROOT / ".local"
    monkeypatch.setenv("MODELSHELF_STATE", str(tmp_path))
    assert project.state_dir() == tmp_path
    monkeypatch.setenv("MODELSHELF_STATE", "elsewhere")
    assert project.state_dir() == Path.cwd() / "elsewhere"


def test_a_path_of_the_state_folder_moves_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert project.resolve("docs/x") == project.ROOT / "docs/x"
    assert project.resolve(".local/keys/signing.pub") == project.ROOT / ".local/keys/signing.pub"
    monkeypatch.setenv("MODELSHELF_STATE", str(tmp_path))
    assert project.resolve(".local/keys/signing.pub") == tmp_path / "keys/signing.pub"
    assert project.resolve("/etc/keys/a.pub") == Path("/etc/keys/a.pub")


def test_port(monkeypatch: pytest.MonkeyPatch) -> None:
    assert project.port() == 8085
    monkeypatch.setenv("MODELSHELF_PORT", "9000")
    assert project.port() == 9000


@pytest.mark.parametrize("text", ["0", "65536", "http", "-1", "80 ", "٣"])
def test_a_wrong_port_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MODELSHELF_PORT", text)
    with pytest.raises(BadInput, match="expected a port number from 1 to 65535"):
        project.port()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://127.0.0.1:8085", "http://127.0.0.1:8085"),
        ("http://localhost:8085/", "http://localhost:8085"),
        ("http://[::1]:9", "http://[::1]:9"),
        ("", None),
        (None, None),
    ],
)
def test_a_loopback_endpoint_is_taken(text: str | None, expected: str | None) -> None:
    assert project.endpoint(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "8085", "localhost:8085", "https://127.0.0.1:8085", "http://example.com:80", "http://127.0.0.1:99999",
        "http://user@127.0.0.1:80", "http://127.0.0.1:80/path", "http://127.0.0.1:80?x=1", "http://127.0.0.1:0",
        "http://127.0.0.1.example.com", "http://[::1", "http://10.0.0.1:80",
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadInput) as refused:
        project.endpoint(text)
    assert repr(text) in refused.value.message
    assert "http://127.0.0.1:8085" in refused.value.remedy

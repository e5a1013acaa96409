"""A checkout remembers the environment that it deployed last, and nothing fails where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.service import memory


def test_the_last_environment_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSHELF_STATE", str(tmp_path / "state"))
    assert memory.remembered() == ""
    memory.remember("staging")
    memory.remember("prod")
    assert memory.remembered() == "prod"
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["environment"]


def test_a_state_folder_that_cannot_be_written_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MODELSHELF_STATE", str(tmp_path / "file"))
    memory.remember("staging")
    assert memory.remembered() == ""

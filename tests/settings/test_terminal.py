"""The user's shell and variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.settings import terminal


def test_the_users_shell_and_folder_are_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    monkeypatch.setenv("ZDOTDIR", "/home/me/zsh")
    assert (terminal.shell(), terminal.home()) == (Path("/usr/bin/zsh"), Path("/home/me/zsh"))
    monkeypatch.setenv("SHELL", "")
    monkeypatch.delenv("ZDOTDIR")
    assert (terminal.shell(), terminal.home()) == (Path("/bin/sh"), Path.home())


def test_added_variables_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "1")
    monkeypatch.setenv("CHANGED", "1")
    found = terminal.environ({"CHANGED": "2", "NEW": "3"})
    assert (found["KEPT"], found["CHANGED"], found["NEW"]) == ("1", "2", "3")

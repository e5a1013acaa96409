"""The user's terminal: which shell they use, and the variables that a program started for them gets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def shell() -> Path:
    """The user's shell: SHELL, else /bin/sh."""
    return Path(os.environ.get("SHELL") or "/bin/sh")


def home() -> Path:
    """Where the user's own start-up files lie; for zsh that may be ZDOTDIR."""
    return Path(os.environ.get("ZDOTDIR") or Path.home())


def environ(more: Mapping[str, str]) -> dict[str, str]:
    """This process's variables with others added or replaced."""
    return {**os.environ, **more}

"""What this checkout remembers between two commands: the environment that it deployed last."""

from __future__ import annotations

import contextlib
import os

from scripts.settings import project

_FILE = "environment"


def remember(environment: str) -> None:
    """Note that a deploy of this environment begins; a state folder that cannot be written is no reason to fail."""
    folder = project.state_dir()
    fresh = folder / f".{_FILE}.{os.getpid()}"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.write_text(environment + "\n", encoding="utf-8")
        fresh.replace(folder / _FILE)


def remembered() -> str:
    """The environment that this checkout deployed last, or empty."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return (project.state_dir() / _FILE).read_text(encoding="utf-8").strip()
    return ""

"""Where the project keeps things: its root, its state folder, the stand-in's port."""

from __future__ import annotations

import os
from pathlib import Path

from scripts.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_PORT = 8085


def state_dir() -> Path:
    """The folder of what a checkout keeps for itself: MODELSHELF_STATE, else ROOT/.local; it may not exist yet."""
    chosen = os.environ.get("MODELSHELF_STATE", "")
    return Path.cwd() / Path(chosen).expanduser() if chosen else ROOT / ".local"


def port() -> int:
    """The port of the stand-in: MODELSHELF_PORT, else 8085. Raises BadInput when it is not a port number."""
    text = os.environ.get("MODELSHELF_PORT", "")
    if not text:
        return DEFAULT_PORT
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 65535:
        raise BadInput(
            f"MODELSHELF_PORT: found {text!r}, expected a port number from 1 to 65535", "Run: unset MODELSHELF_PORT"
        )
    return int(text)


def resolve(path: str) -> Path:
    """The place of a path in an environment file: a leading `.local/` is the state folder, the rest is below ROOT."""
    head, _, rest = path.partition("/")
    return state_dir() / rest if head == ".local" else ROOT / path

"""Where the project keeps things: its root, its state folder, the stand-in's port."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from scripts.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_PORT = 8085
LOOPBACK = ("127.0.0.1", "localhost", "::1")
AGENT = "modelshelf/0.1"


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


def user_agent() -> str:
    """How our clients name themselves; in an instance of the stand-in with its id, so that its request log tells whose
    calls they are: `modelshelf/0.1 instance/ID`.
    """
    instance = os.environ.get("MODELSHELF_INSTANCE_ID", "")
    return f"{AGENT} instance/{instance}" if re.fullmatch(r"[A-Za-z0-9._-]{1,100}", instance) else AGENT


def endpoint(text: str | None) -> str | None:
    """A stand-in's address without a trailing slash; None for none.

    Only loopback: it is called without credentials, and a mistyped one must not leave the machine. Raises BadInput
    unless it is http, a loopback host and perhaps a port, nothing more.
    """
    if not text:
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    host = parts.hostname or ""
    extras = parts.path.rstrip("/") or parts.query or parts.fragment or parts.username is not None
    if parts.scheme != "http" or host not in LOOPBACK or extras or port == 0:
        raise BadInput(
            f"MODELSHELF_ENDPOINT: found {text!r}, expected http, a loopback host and a port, nothing more",
            f"For example: MODELSHELF_ENDPOINT=http://127.0.0.1:{DEFAULT_PORT}",
        )
    authority = f"[{host}]" if ":" in host else host
    return f"http://{authority}" + (f":{port}" if port else "")


def resolve(path: str) -> Path:
    """The place of a path in an environment file: a leading `.local/` is the state folder, the rest is below ROOT."""
    head, _, rest = path.partition("/")
    return state_dir() / rest if head == ".local" else ROOT / path

"""Secret bytes on disk: one file each, mode 0600, in a folder of mode 0700; names are hashes of resource names."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path


class Vault:
    """Files of one folder. Written to a file aside first, so that a crash leaves no half of one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, data: bytes) -> None:
        """Keep bytes under a resource's name."""
        aside = self._folder / f".{secrets.token_hex(8)}"
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        aside.replace(self._path(name))

    def read(self, name: str) -> bytes:
        """The bytes under a resource's name. Raises FileNotFoundError."""
        return self._path(name).read_bytes()

    def remove(self, name: str) -> None:
        """Forget them."""
        with contextlib.suppress(FileNotFoundError):
            self._path(name).unlink()

    def _path(self, name: str) -> Path:
        return self._folder / hashlib.sha256(name.encode()).hexdigest()

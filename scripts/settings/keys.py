"""The public keys that an environment trusts, read from its file or from the PEM files that it names."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.errors import BadInput
from scripts.settings import project
from scripts.settings.types import TrustedKey

if TYPE_CHECKING:
    from scripts.settings.model import EnvironmentFile


@dataclass(frozen=True)
class Trust:
    """The keys that are there, and the files of those that are not made yet."""

    keys: tuple[TrustedKey, ...]
    missing: tuple[Path, ...] = ()


def trust(settings: EnvironmentFile) -> Trust:
    """The keys of signing.trusted_keys. Raises BadInput for a file that holds no public key."""
    keys: list[TrustedKey] = []
    missing: list[Path] = []
    for entry in settings.signing.trusted_keys:
        if not entry.file:
            keys.append(TrustedKey(entry.key_id, entry.public_pem))
            continue
        path = project.resolve(entry.file)
        try:
            keys.append(_from_pem(path, path.read_text(encoding="utf-8"), _place(settings, entry.file)))
        except FileNotFoundError:
            missing.append(path)
        except (OSError, UnicodeDecodeError) as error:
            text = f"{_place(settings, entry.file)}: {path} cannot be read: {getattr(error, 'strerror', '') or error}"
            raise BadInput(text, f"Run: ls -l {path}") from error
    return Trust(tuple(keys), tuple(missing))


def key_id(public_pem: str) -> str:
    """The name of a key in signatures: SHA-256 of its SubjectPublicKeyInfo (DER), in hex.

    The same as `openssl pkey -pubin -outform DER | sha256sum`. Raises ValueError for anything but a public key's PEM.
    """
    lines = [line.strip() for line in public_pem.strip().splitlines()]
    if len(lines) < 3 or (lines[0], lines[-1]) != ("-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"):
        raise ValueError("no public key in PEM")
    return hashlib.sha256(base64.b64decode("".join(lines[1:-1]), validate=True)).hexdigest()


def _place(settings: EnvironmentFile, file: str) -> str:
    return f"environments/{settings.environment}.yaml: signing.trusted_keys: {file}"


def _from_pem(path: Path, pem: str, place: str) -> TrustedKey:
    try:
        return TrustedKey(key_id(pem), pem)
    except ValueError:
        found = "a private key" if "PRIVATE KEY" in pem else "something else"
        remedy = "Name the right file there."
        if path.is_relative_to(project.state_dir()):
            remedy = f"Remove {path}: the next deploy writes it anew from the signing key."
        raise BadInput(f"{place}: found {found}, expected a public key in PEM", remedy) from None

"""Small values that the settings, the containers and the models share; plain dataclasses, cheap to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["ollama", "huggingface"]
OnMiss = Literal["trigger", "publish", "wait", "private", "fail"]
Verify = Literal["metadata", "full"]

KINDS: tuple[Kind, ...] = ("ollama", "huggingface")
ON_MISS: tuple[OnMiss, ...] = ("trigger", "publish", "wait", "private", "fail")
VERIFY: tuple[Verify, ...] = ("metadata", "full")


@dataclass(frozen=True)
class ModelSpec:
    """A model that an environment wants.

    source: ollama `[namespace/]name:tag` without a host; huggingface `ORG/NAME`. revision: a digest or commit, empty
    while the first sync has to pin it. files: allow-patterns (fnmatch); empty means every file.
    """

    name: str
    kind: Kind
    source: str
    revision: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrustedKey:
    """A public key whose signatures are believed; public_pem is a PEM SubjectPublicKeyInfo."""

    key_id: str
    public_pem: str

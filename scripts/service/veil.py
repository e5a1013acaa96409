"""Keep secrets off the screen and out of the audit: by the names of variables, and by their values in log lines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from scripts.plan import Change
from scripts.process import redact

_SECRET = re.compile(
    r"(?i)token|secret|passw|passphrase|credential|private|api_?key|(^|_)(key|pwd|auth|authorization|dsn|webhook|cookie)(_|$)"
)
_OURS = frozenset({"MODEL_SIGNING_KEY"})  # where the key is, not what it is
HIDDEN = "[redacted]"
SHORTEST = 4  # a shorter value is in too many words to be taken out of them


def is_secret(name: str) -> bool:
    """Whether a variable's name says that its value is nobody's business."""
    return name not in _OURS and _SECRET.search(name) is not None


def veiled(change: Change) -> Change:
    """The change without the values of variables whose names speak of secrets, and without what looks like one: it is
    shown, and kept in the audit."""
    secret = is_secret(change.path.rpartition("[")[2].rstrip("]"))
    return replace(change, before=_veil(change.before, secret), after=_veil(change.after, secret))


def masked(text: str, env: Mapping[str, str]) -> str:
    """A log line without what looks like a secret, and without the values of secret-looking variables of its writer."""
    values = [value for name, value in env.items() if is_secret(name) and len(value) >= SHORTEST]
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return redact(text)


def _veil(value: Any, secret: bool) -> Any:
    if isinstance(value, list):
        return [_veil(item, secret) for item in value]
    if isinstance(value, Mapping):
        named = secret or is_secret(str(value.get("name", "")))
        return {key: _veil(item, named and key == "value") for key, item in value.items()}
    if secret and value is not None:
        return HIDDEN
    return redact(value, names=False) if isinstance(value, str) else value

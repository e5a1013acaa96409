"""Structured logs: one JSON object a line on stdout, which Cloud Run turns into a log entry.

`severity` and `message` are the fields that Cloud Logging lifts out
(https://cloud.google.com/logging/docs/structured-logging); the other fields are the ones that docs/architecture.md
lists: cache_hit, reason, manifest_version, serial, bucket, source, duration_s and a few more. Text that looks like a
secret is hidden before it is written.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import traceback
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from scripts.errors import OpsError
from scripts.process import redact

_STDOUT = 1
_LOCK = threading.Lock()
_SECRET_NAMES = ("token", "secret", "password", "private_key", "authorization", "credential")


class Severity(StrEnum):
    """The severities in use, spelled as Cloud Logging spells them."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


def emit(severity: Severity, message: str, **fields: Any) -> None:
    """Write one entry; fields whose value is None are left out. Never raises: a lost log line stops no service."""
    entry: dict[str, Any] = {"severity": severity.value, "message": _text(message)}
    entry |= {name: _clean(name, value) for name, value in fields.items() if value is not None}
    # ASCII only: some readers also end a line at U+2028 and the like
    line = json.dumps(entry, default=str).encode() + b"\n"
    # straight to the descriptor: whole lines from several threads, nothing left in a buffer when the process is killed
    with _LOCK, contextlib.suppress(OSError):
        while line:
            line = line[os.write(_STDOUT, line) :]


def info(message: str, **fields: Any) -> None:
    """An entry of severity INFO."""
    emit(Severity.INFO, message, **fields)


def warning(message: str, **fields: Any) -> None:
    """An entry of severity WARNING."""
    emit(Severity.WARNING, message, **fields)


def error(message: str, **fields: Any) -> None:
    """An entry of severity ERROR."""
    emit(Severity.ERROR, message, **fields)


def failure(problem: BaseException) -> dict[str, Any]:
    """The fields that describe an exception: error, remedy, error_type and, for an unexpected one, stack.

    The stack is one field of the entry (Cloud Error Reporting reads it there), never loose lines on stderr.
    """
    if isinstance(problem, OpsError):
        return {"error": problem.message, "error_type": type(problem).__name__, "remedy": problem.remedy or None}
    stack = "".join(traceback.format_exception(problem))
    text = str(problem) or type(problem).__name__
    return {"error": text, "error_type": type(problem).__name__, "stack": stack}


class _Bridge(logging.Handler):
    """Carries the records of libraries (uvicorn, google-auth, huggingface_hub) into the same stream."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelno
        severity = Severity.ERROR if level >= logging.ERROR else Severity.WARNING
        severity = Severity.INFO if level < logging.WARNING else severity
        fields: dict[str, Any] = {"logger": record.name}
        if record.exc_info and record.exc_info[1] is not None:
            fields |= failure(record.exc_info[1])
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        emit(severity, message, **fields)


def adopt_libraries(level: int = logging.WARNING) -> None:
    """Send what libraries log through the standard module into the same stream, from `level` on."""
    root = logging.getLogger()
    root.handlers[:] = [_Bridge()]
    root.setLevel(level)


def _text(text: str) -> str:
    """Without secrets, and without lone surrogates (file names can hold them, UTF-8 cannot)."""
    return redact(text.encode("utf-8", "backslashreplace").decode())


def _clean(name: str, value: Any) -> Any:
    if isinstance(value, str):
        if name == "remedy":  # see OpsError
            value = value.replace("ENVIRONMENT", os.environ.get("MODELSHELF_ENV") or "ENVIRONMENT")
        secret = value and any(part in name.lower() for part in _SECRET_NAMES)
        return "[redacted]" if secret else _text(value)
    if isinstance(value, Mapping):
        return {str(key): _clean(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(name, inner) for inner in value]
    if isinstance(value, float):
        return round(value, 6)
    return value

"""Severities of Cloud Logging: names and numbers (google.logging.type.LogSeverity)."""

from __future__ import annotations

from typing import Any

NUMBERS = {
    "DEFAULT": 0,
    "DEBUG": 100,
    "INFO": 200,
    "NOTICE": 300,
    "WARNING": 400,
    "ERROR": 500,
    "CRITICAL": 600,
    "ALERT": 700,
    "EMERGENCY": 800,
}
_NAMES = {number: name for name, number in NUMBERS.items()}


def number(value: Any) -> int | None:
    """The number of a severity given as a name or a number; None for anything else."""
    if isinstance(value, str) and value.upper() in NUMBERS:
        return NUMBERS[value.upper()]
    text = str(value)
    return int(text) if text.isdigit() and int(text) <= 1000 and not isinstance(value, bool) else None


def name(value: Any) -> str | None:
    """The name of a severity given as a name or a number (rounded down); None for anything else."""
    found = number(value)
    return None if found is None else _NAMES[max(each for each in _NAMES if each <= found)]

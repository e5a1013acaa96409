"""Commands that make the same calls every time."""

from __future__ import annotations

from typing import Any

from scripts.cloud import storage_parts
from scripts.models import crew, spans
from scripts.models import sync as syncing
from scripts.service import cache
from tests.crash.scenes import TTL_S

SPAN_BYTES = 128 << 10  # three of them in the large file
# What lets a command make the same calls at every point: no heartbeats, one call after the other, one version searched
# however many there are. The large file goes through parts and a tree of compositions as those of gigabytes do.
STEADY: tuple[tuple[Any, str, object], ...] = (
    (cache, "TTL_S", TTL_S),
    (cache, "WAIT_S", 0.0),
    (syncing, "SEARCHED_VERSIONS", 1),
    (crew, "CONNECTIONS", 1),
    (spans, "SPAN_BYTES", SPAN_BYTES),
    (storage_parts, "MAX_SOURCES", 2),
)


def steady() -> None:
    """Set all of that in a process that does nothing else."""
    for module, name, value in STEADY:
        setattr(module, name, value)

"""Faults in a stand-in for as long as a test wants them."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class FaultSet:
    """A fault that is set; its counts are asked for when they are read."""

    def __init__(self, standin: Any, id: str) -> None:
        self._standin = standin
        self.id = id

    @property
    def now(self) -> dict[str, Any]:
        """What the stand-in tells of it."""
        every = self._standin.get("/_local/faults")["faults"]
        found: dict[str, Any] = next(each for each in every if each["id"] == self.id)
        return found

    @property
    def seen(self) -> int:
        return int(self.now["seen"])

    @property
    def fired(self) -> int:
        return int(self.now["fired"])

    @property
    def missed(self) -> int:
        return int(self.now["missed"])


@contextmanager
def faulty(standin: Any, on: str, kind: str, **options: Any) -> Iterator[FaultSet]:
    """Set a fault (options as in POST /_local/faults) and clear it at the end.

    with faulty(standin, on="storage.objects.insert", kind="reset", nth=3) as fault: ...; assert fault.fired == 1
    """
    set_now = standin.post("/_local/faults", {"on": on, "kind": kind, **options})
    try:
        yield FaultSet(standin, set_now["id"])
    finally:
        request = urllib.request.Request(f"{standin.url}/_local/faults/{set_now['id']}", method="DELETE")
        urllib.request.urlopen(request, timeout=30).close()

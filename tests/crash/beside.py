"""A reader in a process of its own that reads without pause while others publish and die."""

from __future__ import annotations

import os
import select
from types import TracebackType
from typing import Any, Self

from scripts.cloud.storage import open_bucket
from tests.crash.killing import PROJECT, fork, hear
from tests.crash.ledger import Ledger
from tests.crash.scenes import on
from tests.models.support import World


class Reader:
    """Reads from entering to leaving; reads: how often; fault: the first thing that no reader may see, or empty."""

    def __init__(self, world: World, serial: int, *, none: bool) -> None:
        """serial: the lowest that may be read. none: nothing may be found until the first version is."""
        self.reads = 0
        self.fault = ""
        self._world = world
        self._serial = serial
        self._none = none

    def __enter__(self) -> Self:
        self._ended, self._end = os.pipe()
        self._child, self._told = fork(self._read)
        os.close(self._ended)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._end)
        told = hear(self._child, self._told)
        self.reads, self.fault = told.get("reads", 0), told.get("error", "")

    def _read(self) -> dict[str, Any]:
        os.close(self._end)
        world = on(self._world, open_bucket(PROJECT, self._world.url, self._world.bucket.name))
        ledger = Ledger(world, serial=self._serial)
        reads = 0
        while not select.select([self._ended], [], [], 0)[0]:
            trusted = ledger.read(none=self._none)
            reads += 1
            if trusted is not None:
                self._none, ledger.serial = False, trusted.serial
        return {"reads": reads}

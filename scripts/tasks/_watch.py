"""Looking again and again: on a terminal one picture that changes, in a pipe one block after another."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scripts.errors import BadInput, ExitCode, OpsError

if TYPE_CHECKING:
    from scripts.service.dashboard import Board
    from scripts.tasks._screen import Screen

MOST_S = 3600


def show(screen: Screen, found: Board, trouble: str = "") -> None:
    """One look; trouble: why there is no newer one. Scripts are not told old news then."""
    screen.rows(found.title, found.rows())
    for headers, rows in found.tables():
        screen.table(headers, rows)
    screen.result(found.unseen(trouble) if trouble else found.as_json())


def watch(screen: Screen, look: Callable[[], Board], every_s: int) -> int:
    """Show every look until Ctrl-C or until the reader left; the exit code. Raises BadInput, and what the first look
    raises; later ones may fail for a while."""
    if not 1 <= every_s <= MOST_S:
        raise BadInput(f"--every: found {every_s}, expected 1 to {MOST_S}", "For example: --every 5")
    found: Board | None = look()
    trouble = ""
    with contextlib.suppress(KeyboardInterrupt), screen.changing() as picture:
        while not screen.gone:
            with picture():
                screen.line(f"{datetime.now(UTC):%H:%M:%S} UTC" + (f": {trouble}" if trouble else ""))
                if found is not None:
                    show(screen, found, trouble)
                screen.line()
            time.sleep(every_s)
            try:
                found, trouble = look(), ""
            except OpsError as error:
                trouble = error.message
        return int(ExitCode.OK)
    return int(ExitCode.INTERRUPTED)

"""Where the processes are born that die at a call: warmed, without threads, two scenes at a time. URL FOLDER [readers].

Prints one JSON line for each scene and way to die: {scene, way, points, seconds, faults, reads}.
"""

from __future__ import annotations

import gc
import json
import secrets
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from scripts.models import signing
from tests.crash import killing, steady
from tests.crash.beside import Reader
from tests.crash.killing import End
from tests.crash.ledger import expire
from tests.crash.scenes import SCENES, Scene, on

AT_ONCE = 3
WAYS = ("before", "after")


@dataclass
class Tally:
    """What came of one scene: its points, what was wrong, and how often a reader beside it read."""

    points: int = 0
    reads: int = 0
    faults: list[str] = field(default_factory=list)


def die(scene: Scene, at: int, after: bool) -> End:
    """Kill the command at a call, look, and let the same command come to its end."""
    world = scene.world
    end = killing.run_and_die(world.url, world.bucket.name, lambda bucket: scene.command(on(world, bucket)), at, after)
    assert not end.error, end.error
    scene.read()
    expire(world)
    scene.again()
    return end


def points(scene: Scene, after: bool, readers: bool, tally: Tally) -> None:
    """Count the calls of the command, then die at each of them in turn."""
    at = 0
    while at <= tally.points:
        try:
            scene.arrange()
            none = scene.ledger.serial == 0
            with Reader(scene.world, scene.ledger.serial, none=none) if readers else nullcontext() as beside:
                end = die(scene, at, after)
            if beside is not None:
                tally.reads += beside.reads
                assert not beside.fault, beside.fault
            assert end.killed == (at > 0), f"it made {end.calls} calls, and {tally.points} before"
        except Exception:
            tally.faults.append(f"{scene.name}, {WAYS[after]} call {at}: {traceback.format_exc()[-1500:]}")
            return
        tally.points = tally.points or end.calls
        at += 1
    check_count(scene, tally)


def check_count(scene: Scene, tally: Tally) -> None:
    """At the end the command makes as many calls as at the beginning: no point was passed over."""
    scene.arrange()
    calls = die(scene, 0, after=False).calls
    if calls != tally.points:
        tally.faults.append(f"{scene.name}: {calls} calls at the end, {tally.points} at the beginning")


def play(make: Callable[[], Scene], way: str, readers: bool) -> dict[str, Any]:
    """One scene and one way to die, as the line that is printed."""
    began, tally, scene = time.monotonic(), Tally(), make()
    points(scene, way == WAYS[True], readers, tally)
    return {"scene": scene.name, "way": way, **vars(tally), "seconds": round(time.monotonic() - began, 2)}


def warm(make: Callable[[], Scene]) -> None:
    """Import and set up whatever a command uses, once for all that are born here."""
    scene = make()
    for _ in range(2):
        scene.arrange()
        scene.command(scene.world)
        scene.read()


def main(url: str, folder: Path, readers: bool) -> None:
    """Play all scenes."""
    steady.steady()
    key = signing.make_key(folder / "keys")
    signer = signing.load_signer(f"file:{folder / 'keys' / signing.PRIVATE_NAME}")
    run = secrets.token_hex(4)

    def maker(number: int, way: str) -> Callable[[], Scene]:
        return lambda: SCENES[number](url, folder, signer, key, f"crash-{run}-{number}-{way}")

    for number in range(len(SCENES)):
        warm(maker(number, "warm"))
    gc.collect()
    gc.freeze()
    waiting = [(number, way) for number in range(len(SCENES)) for way in WAYS]
    running: dict[int, int] = {}
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            number, way = waiting.pop(0)
            child, told = killing.fork(partial(play, maker(number, way), way, readers))
            running[told] = child
        for told in select.select(list(running), [], [])[0]:
            print(json.dumps(killing.hear(running.pop(told), told)), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main(sys.argv[1], Path(sys.argv[2]), "readers" in sys.argv[3:])

"""Where the processes are born that die at a call: warmed, without threads, two scenes at a time. URL FOLDER [readers].

Prints one JSON line for each scene and way to die: {scene, way, points, seconds, faults, reads}.
"""

from __future__ import annotations

import gc
import os
import secrets
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from scripts.cloud import resumable
from scripts.models import signing
from tests.models.crash import killing, scenes
from tests.models.crash.ledger import expire
from tests.models.crash.scenes import SCENES, Scene, on

AT_ONCE = 3
# Two parts for the large file, as files of more than 8 MiB have.
PART_BYTES = 256 << 10
WAYS = ("before", "after")


def points(scene: Scene, after: bool) -> tuple[int, list[str]]:
    """Die at every call in turn until the command lives through all of them; how many there are, and what was wrong."""
    faults: list[str] = []
    for at in range(1, killing.MANY):
        try:
            scene.arrange()
            world = scene.world
            end = killing.run_and_die(
                world.url, world.bucket.name, lambda bucket, seen=world: scene.command(on(seen, bucket)), at, after
            )
            assert not end.error, end.error
            scene.read()
            expire(world)
            scene.again()
        except Exception:
            faults.append(f"{scene.name}, {'after' if after else 'before'} call {at}: {traceback.format_exc()[-1500:]}")
            return at, faults
        if not end.killed:
            return at - 1, faults
    raise AssertionError("the command never ended")


def play(make: Callable[[], Scene], way: str) -> dict[str, Any]:
    """One scene and one way to die, as the line that is printed."""
    began = time.monotonic()
    scene = make()
    count, faults = points(scene, way == "after")
    seconds = round(time.monotonic() - began, 2)
    return {"scene": scene.name, "way": way, "points": count, "seconds": seconds, "faults": faults}


def warm(make: Callable[[], Scene]) -> None:
    """Import and set up whatever a command uses, once for all that are born here."""
    scene = make()
    for _ in range(2):
        scene.arrange()
        scene.command(scene.world)
        scene.read()


def main(url: str, folder: Path) -> None:
    """Play all scenes."""
    resumable.parts.__defaults__ = (PART_BYTES,)
    scenes.quick()
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
            child, hear = killing.fork(partial(play, maker(number, way), way))
            running[hear] = child
        for hear in select.select(list(running), [], [])[0]:
            with os.fdopen(hear, "rb") as stream:
                print(stream.read().decode(), flush=True)
            os.waitpid(running.pop(hear), 0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main(sys.argv[1], Path(sys.argv[2]))

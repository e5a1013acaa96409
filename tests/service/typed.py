"""invoke, typed in a process of its own, with the environment files of a test: python -m tests.service.typed DIR …"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from invoke.main import program

from scripts.service import instances
from scripts.settings import load

if __name__ == "__main__":
    instances.SEEN_TIMEOUT_S = 0.0  # the images of these tests decide nothing, so nothing is waited for
    load.load = functools.partial(load.load, folder=Path(sys.argv[1]))
    program.run(["invoke", *sys.argv[2:]])

"""`python -m scripts.container start|sync`: the image's entry point.

start   check the mount, decide hit or miss, serve (with MODEL_SYNC_MODE=1: sync, so that one image serves both)
sync    publish the models of the settings once, then end

Everything is told by structured entries on stdout (logs.py); no failure ends in a traceback. Exit codes: those of
scripts/errors.py; what each means for a start stands in start.py.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from scripts.container import logs
from scripts.errors import BadInput, ExitCode, Interrupted, OpsError

USAGE = "usage: python -m scripts.container [start|sync]"


def main(arguments: list[str]) -> int:
    """Run one command to its end; returns the exit code, whatever happened."""
    began = time.monotonic()
    if arguments in (["-h"], ["--help"]):
        print(f"{USAGE}\n\n{__doc__}")
        return ExitCode.OK
    syncing = arguments == ["sync"] or os.environ.get("MODEL_SYNC_MODE", "") not in ("", "0", "false")
    # One BLAS thread for each of the service's workers; numpy's libraries read it when they are first imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    logs.adopt_libraries()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    try:
        if arguments not in ([], ["start"], ["sync"]):
            raise BadInput(f"found the arguments {arguments}, expected start or sync", USAGE)
        return _sync(began) if syncing else _start(began)
    except Interrupted as stopped:
        logs.error(_failed(syncing), **logs.failure(stopped), duration_s=time.monotonic() - began)
        return stopped.exit_code
    except OpsError as problem:
        logs.error(_failed(syncing), **logs.failure(problem), duration_s=time.monotonic() - began, **_where())
        return problem.exit_code
    except Exception as problem:  # told in full, but as an entry
        logs.error(_failed(syncing), **logs.failure(problem), duration_s=time.monotonic() - began, **_where())
        return ExitCode.FAILED


def _start(began: float) -> int:
    from scripts.settings.runtime import from_environ

    runtime = from_environ(os.environ)
    from scripts.container.start import start

    return start(runtime, os.environ, began)


def _sync(began: float) -> int:
    from scripts.settings.runtime import from_environ

    runtime = from_environ(os.environ)
    from scripts.container.sync import run

    return run(runtime, os.environ, began)


def _failed(syncing: bool) -> str:
    return "model sync failed" if syncing else "start failed"


def _where() -> dict[str, str | None]:
    return {"bucket": os.environ.get("MODEL_CACHE_BUCKET"), "execution": os.environ.get("CLOUD_RUN_EXECUTION")}


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(f"stopped by {signal.Signals(number).name}", "Run the same command again.")


def _leave(run: Callable[[], int]) -> None:
    """End the process with run's code. Without waiting for threads: one may be stuck in a dead mount."""
    code = run()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    _leave(lambda: main(sys.argv[1:]))

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
_FAILED = {"start": "start failed", "sync": "model sync failed"}


def main(arguments: list[str]) -> int:
    """Run one command to its end; returns the exit code, whatever happened."""
    began = time.monotonic()
    if arguments in (["-h"], ["--help"]):
        print(f"{USAGE}\n\n{__doc__}")
        return ExitCode.OK
    # One BLAS thread for each of the service's workers; numpy's libraries read it when they are first imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    logs.adopt_libraries()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    command = "sync" if arguments == ["sync"] or _sync_mode() else "start"
    try:
        if arguments not in ([], ["start"], ["sync"]):
            raise BadInput(f"found the arguments {arguments}, expected start or sync", USAGE)
        return _run(command, began)
    except KeyboardInterrupt as stopped:
        problem: Exception = Interrupted(str(stopped) or "interrupted", "Run the same command again.")
    except Exception as error:  # told in full, but as an entry
        problem = error
    seconds = time.monotonic() - began
    logs.error(_FAILED[command], **logs.failure(problem), duration_s=seconds, **_where())
    return problem.exit_code if isinstance(problem, OpsError) else ExitCode.FAILED


def _run(command: str, began: float) -> int:
    from scripts.settings.runtime import from_environ

    runtime = from_environ(os.environ)
    if command == "sync":
        from scripts.container.sync import run

        return run(runtime, os.environ, began)
    from scripts.container.start import start

    return start(runtime, os.environ, began)


def _sync_mode() -> bool:
    return os.environ.get("MODEL_SYNC_MODE", "").strip().lower() in ("1", "true", "yes", "on")


def _where() -> dict[str, str | None]:
    return {"bucket": os.environ.get("MODEL_CACHE_BUCKET"), "execution": os.environ.get("CLOUD_RUN_EXECUTION")}


def _interrupt(number: int, frame: FrameType | None) -> None:
    # no Exception: whoever carries on after errors (a retry, a fallback) must not carry on after this
    raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")


def _leave(run: Callable[[], int]) -> None:
    """End the process with run's code. Without waiting for threads: one may be stuck in a dead mount."""
    code = run()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    _leave(lambda: main(sys.argv[1:]))

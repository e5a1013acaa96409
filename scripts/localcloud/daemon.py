"""The daemon: python -m scripts.localcloud --state DIR --port N. Foreground; `invoke local.up` starts it detached."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import logging
import os
import resource
import signal
import socket
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from scripts.errors import ExitCode, OpsError, Refused
from scripts.localcloud.app import App
from scripts.localcloud.context import Context, Database
from scripts.localcloud.recording import Recorder
from scripts.localcloud.rooms import open_rooms
from scripts.localcloud.wire import Protocol

# A thread that searches the log gives way to the daemon's own after this long: with Python's 5 ms an answer, which
# takes the interpreter's lock several times, waited for up to 150 ms.
_SWITCH_S = 0.0005
ROOT = Path(__file__).resolve().parents[2]


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: stopping is ours, so that instances get SIGTERM first."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def main() -> int:
    """Run the daemon until SIGTERM; exit 3 with a JSON line on stderr when the state or the port is taken."""
    options = argparse.ArgumentParser(prog="python -m scripts.localcloud", description=__doc__)
    options.add_argument("--state", type=Path, required=True, help="folder that keeps everything")
    options.add_argument("--port", type=_port, required=True, help="TCP port on 127.0.0.1; 0 picks a free one")
    options.add_argument("--exchanges", type=Path, help="file to which every JSON request and answer is appended")
    chosen = options.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    _many_files()
    sys.setswitchinterval(_SWITCH_S)
    try:
        with (
            _locked(chosen.state),
            _listening(chosen.port) as listener,
            asyncio.Runner(loop_factory=_new_event_loop) as runner,
        ):
            runner.run(_serve(chosen.state, listener, chosen.exchanges))
    except OpsError as error:
        print(json.dumps({"error": error.message, "remedy": error.remedy}), file=sys.stderr)
        return int(error.exit_code)
    except OSError as error:
        return _failed(f"{error.strerror}: {error.filename or chosen.state}", chosen.state)
    except sqlite3.Error as error:
        return _failed(f"the index {chosen.state / 'state.db'} cannot be used: {error}", chosen.state)
    return 0


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 1 << 16):
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, found {text!r}")
    return int(text)


def _failed(message: str, state: Path) -> int:
    remedy = f"Make {state} writable and its disk not full, or name another folder: MODELSHELF_STATE=DIR"
    print(json.dumps({"error": message, "remedy": remedy}), file=sys.stderr)
    return int(ExitCode.REFUSED)


def _many_files() -> None:
    """Lift the soft limit of open files: every connection, body and instance pipe holds one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))


async def _serve(state: Path, listener: socket.socket, exchanges: Path | None = None) -> None:
    port = listener.getsockname()[1]
    context = Context(state.resolve(), f"http://127.0.0.1:{port}", ROOT, Database(state / "state.db"))
    stopping = asyncio.Event()
    app = App(context, open_rooms(context, stopping))
    if exchanges is not None:
        app.recorder = Recorder(exchanges)
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stopping.set)
    config = uvicorn.Config(
        app, lifespan="off", access_log=False, log_config=None, ws="none", server_header=False,
        timeout_keep_alive=75, timeout_graceful_shutdown=2, http=Protocol, backlog=512,
        proxy_headers=False,
    )  # fmt: skip
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await app.start()
    _write_address(state, context.url, port, context.now())
    await stopping.wait()
    await app.stop()
    server.should_exit = True
    await serving
    (state / "daemon.json").unlink(missing_ok=True)
    context.db.close()


def _write_address(state: Path, url: str, port: int, started_at: str) -> None:
    address = {"pid": os.getpid(), "port": port, "url": url, "started_at": started_at}
    partial = state / ".daemon.json"
    partial.write_text(json.dumps(address), encoding="utf-8")
    partial.replace(state / "daemon.json")


@contextlib.contextmanager
def _locked(state: Path) -> Iterator[None]:
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = {each.name for each in state.iterdir()}
    if "daemon.lock" in names or names <= {"daemon.log"}:  # somebody else made the folder, but it is the daemon's alone
        state.chmod(0o700)
    with (state / "daemon.lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another daemon uses {state}", "Run: ./dev invoke local.down") from None
        yield


@contextlib.contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise Refused(
                f"port {port} on 127.0.0.1 is in use by another program ({error.strerror})",
                "Stop that program, or choose another port: MODELSHELF_PORT=8486 ./dev invoke local.up",
            ) from None
        # From here on a client waits until the rooms are ready instead of being refused.
        listener.listen(512)
        yield listener
    finally:
        listener.close()


def _new_event_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop

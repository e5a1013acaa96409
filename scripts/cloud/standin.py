"""The stand-in as seen from outside: find its daemon, start and stop it, and call its own API under /_local/.

Which environment uses it is not decided here but in connect.py.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts import process
from scripts.errors import BadInput, ExitCode, NotFound, OpsError, Refused, Unreachable
from scripts.settings.project import ROOT

NAME = "modelshelf-localcloud"
ANSWER_TIMEOUT_S = 10.0
START_TIMEOUT_S = 60.0
CORPUS_TIMEOUT_S = 900.0
SCALE_TIMEOUT_S = 300.0  # an instance may wait for a version until its startup probe gives up
STOP_TIMEOUT_S = 25.0  # instances get 10 s between SIGTERM and SIGKILL
UP = "Run: ./dev invoke local.up"
ROOM = "Make room there, or name a folder you can write to: MODELSHELF_STATE=DIR"
FULL_BYTES = 64 << 10


@dataclass(frozen=True)
class Address:
    """Where a daemon listens; state is its folder."""

    url: str
    pid: int
    state: Path


def call(url: str, path: str, body: Any = None, *, method: str = "", timeout_s: float = 30.0) -> Any:
    """GET (no body) or POST a path of a stand-in, or send another method, and return its JSON.

    Raises Unreachable when nobody or something else answers, BadInput (400), NotFound (404), OpsError for any other
    refusal.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"content-type": "application/json"}, method=method or None)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise _refusal(error, path) from error
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise Unreachable(f"the stand-in at {url} does not answer ({text})", UP) from error


def check(url: str) -> dict[str, Any]:
    """The health of the stand-in at an address. Raises Unreachable when it is not there or is another program."""
    try:
        health = call(url, "/_local/health", timeout_s=ANSWER_TIMEOUT_S)
    except Unreachable:
        raise
    except OpsError as error:
        raise Unreachable(f"what answers at {url} is not the stand-in ({error.message})", UP) from error
    if not isinstance(health, dict) or health.get("name") != NAME:
        raise Unreachable(f"what answers at {url} is not the stand-in", UP)
    return health


def find(state: Path) -> Address | None:
    """The running daemon of a state folder; an address left behind by one that was killed counts as none."""
    known = _known(state)
    if known is None:
        return None
    try:
        health = check(known.url)
    except Unreachable:
        return None
    ours = health.get("pid") == known.pid and health.get("state") == str(state.resolve())
    return known if ours else None


def outdated(url: str) -> str:
    """What to say of a daemon of this checkout that was started before its code changed; empty when it was not."""
    health = check(url)
    if health.get("root") != str(ROOT):
        return ""
    newest_s = max(path.stat().st_mtime for path in (ROOT / "scripts" / "localcloud").rglob("*.py"))
    if newest_s <= float(health.get("started_at_s") or newest_s):
        return ""
    return "the stand-in runs code from before the last change. To start it anew: ./dev invoke local.down"


def start(state: Path, port: int, say: Callable[[str], None]) -> Address:
    """Find the daemon of a state folder, or start it detached and wait until it answers.

    Two that start at once get the same daemon. Raises Refused (port or folder in use), OpsError (folder not writable,
    it ended or did not answer in time), each with what the daemon itself reported.
    """
    with _turn(state):
        running = find(state)
        if running is not None:
            return running
        say(f"starting the stand-in cloud on port {port}")
        return _start(state, port)


def stop(state: Path) -> bool:
    """Stop the daemon of a state folder, politely, then with SIGKILL; False when none was running."""
    known = _known(state)
    if not _held(state):
        return False
    if known is not None:
        with contextlib.suppress(OpsError):
            call(known.url, "/_local/stop", {}, timeout_s=ANSWER_TIMEOUT_S)
    if _released(state, STOP_TIMEOUT_S):
        return True
    if known is None or not _is_daemon(known.pid):
        raise OpsError(f"the daemon that uses {state} does not stop", f"See who it is: fuser {state}/daemon.lock")
    with contextlib.suppress(ProcessLookupError):
        os.kill(known.pid, signal.SIGKILL)
    if not _released(state, 20.0):
        raise OpsError(f"process {known.pid} does not end", f"Run: kill -9 {known.pid}")
    return True


def reset(state: Path) -> bool:
    """Stop the daemon and remove everything it kept; False when there was nothing."""
    stop(state)
    if not state.exists():
        return False
    try:
        shutil.rmtree(state)
    except OSError as error:
        raise OpsError(f"cannot remove {state}: {error.strerror} ({error.filename})", f"Run: rm -r {state}") from error
    return True


def fetch_corpus(url: str, say: Callable[[str], None]) -> None:
    """Let a stand-in fetch the real model that its upstreams serve, once; it keeps what it has.

    Raises Unreachable with the stand-in's reason when the model cannot be had.
    """
    deadline = time.monotonic() + CORPUS_TIMEOUT_S
    while True:
        state = call(url, "/_local/upstreams/corpus", {}, timeout_s=60.0)
        if state["state"] == "ready":
            return
        if state["state"] == "failed":
            raise Unreachable(f"the model for the stand-in's upstreams is missing: {state['error']}", state["remedy"])
        if time.monotonic() > deadline:
            raise Unreachable(f"the model did not arrive within {CORPUS_TIMEOUT_S:g} s", "Run: ./dev invoke local.up")
        say("fetching the real model for the stand-in's upstreams, once (84 MB)")
        time.sleep(0.2)


def add_instances(url: str, service: str, count: int, project: str = "") -> dict[str, Any]:
    """Start further instances of a service (its name in Cloud Run): {"service", "revision", "started": [id, …]}.

    Raises NotFound for an unknown service, OpsError when one does not become ready.
    """
    path = f"/_local/services/{service}/instances" + (f"?project={project}" if project else "")
    told = call(url, path, {"count": count}, timeout_s=SCALE_TIMEOUT_S)
    if told.get("problem"):
        text = f"{told['ready']} of {count} further instances became ready: {told['problem']}"
        raise OpsError(text, "Run: ./dev invoke logs --env ENV")
    ids = [str(item["id"]) for item in told["instances"]]
    return {"service": service, "revision": told["revision"], "started": ids}


def log_lines(state: Path, count: int) -> list[str]:
    """The last lines of the daemon's own log."""
    path = state / "daemon.log"
    if not path.exists():
        raise NotFound(f"there is no log in {state}: the stand-in never ran here", UP)
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 400 * count))
        return log.read().decode(errors="replace").splitlines()[-count:]


def _start(state: Path, port: int) -> Address:
    log_path = state / "daemon.log"
    argv = [sys.executable, "-m", "scripts.localcloud", "--state", str(state.resolve()), "--port", str(port)]
    with log_path.open("ab") as log:
        began = log.tell()
        child = process.spawn(argv, cwd=ROOT, stdout=log, stderr=log)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        known = _known(state)
        if known is not None and known.pid == child.pid and find(state) is not None:
            return known
        if child.poll() is not None:
            with log_path.open("rb") as log:
                log.seek(began)
                raise _reported(child.returncode, log.read().decode(errors="replace"), log_path)
        time.sleep(0.02)
    process.kill_group(child)
    raise OpsError(f"the stand-in did not answer within {START_TIMEOUT_S:g} s", f"Its log: {log_path}")


def _reported(code: int, output: str, log_path: Path) -> OpsError:
    kind = Refused if code == ExitCode.REFUSED else OpsError
    for line in reversed(output.splitlines()):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            told = json.loads(line)
            return kind(f"the stand-in cannot start: {told['error']}", told.get("remedy") or f"Its log: {log_path}")
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "")
    if not last and shutil.disk_usage(log_path.parent).free < FULL_BYTES:
        return OpsError(f"the stand-in cannot start: no space is left in {log_path.parent}", ROOM)
    last = last or "nothing was said"
    return kind(f"the stand-in ended with {code} while starting: {last}", f"Its log: {log_path}")


@contextlib.contextmanager
def _turn(state: Path) -> Iterator[None]:
    """Only one process at a time starts a daemon on a folder; the kernel frees the lock of one that dies."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (state / "start.lock").open("a")
    except OSError as error:
        reason = f"{error.strerror or error} ({error.filename or state})"
        raise Refused(f"cannot keep the stand-in's state in {state}: {reason}", ROOM) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        except OSError as error:
            reason = f"{error.strerror or error} ({error.filename or state})"
            raise OpsError(f"cannot start the stand-in in {state}: {reason}", ROOM) from error


def _known(state: Path) -> Address | None:
    try:
        address = json.loads((state / "daemon.json").read_text(encoding="utf-8"))
        return Address(str(address["url"]), int(address["pid"]), state)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _held(state: Path) -> bool:
    try:
        handle = (state / "daemon.lock").open("a")
    except OSError:
        return False
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _released(state: Path, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while _held(state):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _is_daemon(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"scripts.localcloud" in command


def _refusal(error: urllib.error.HTTPError, path: str) -> OpsError:
    try:
        message = str(json.load(error)["error"]["message"])
    except (OSError, ValueError, KeyError, TypeError):
        message = str(error.reason)
    if error.code == 400:
        return BadInput(message, "Correct the value named above.")
    text = f"the stand-in refused {path}: {message} (HTTP {error.code})"
    return NotFound(text, "Run: ./dev invoke local.status") if error.code == 404 else OpsError(text)

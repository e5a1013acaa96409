"""The only place that starts a child process: argument lists, time-outs, streaming, redaction; never a shell."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from scripts.errors import OpsError, Refused

_SECRET = re.compile(
    r"(?i)((?:password|passwd|secret|token|api[_-]?key|authorization|private[_-]?key)[\w-]*[\"']?\s*[=:]\s*)"
    r"(\"[^\"]*\"|'[^']*'|(?:bearer\s+)?\S+)"
)
# OAuth and JWT; Hugging Face, GitHub, Google, Slack and OpenAI; the body of a private key in PEM.
_BEARER = re.compile(
    r"\b(?:ya29\.[\w.-]+|eyJ[\w-]+\.[\w-]+\.[\w-]+|hf_[A-Za-z0-9]{16,}|gh[a-z]_[A-Za-z0-9]{30,}|github_pat_\w{30,}"
    r"|AIza[\w-]{30,}|xox[a-z]-[\w-]{10,}|sk-[\w-]{20,})"
    r"|(?<=PRIVATE KEY-----)[\s\S]+?(?=-----END|\Z)"
)
_REST_S = 5.0  # for what a child wrote last; one that left something running never closes its output
_IN_URL = re.compile(r"(://[^\s/:@]*:)[^\s/@]+(?=@)")


def redact(text: str, *, names: bool = True) -> str:
    """Hide what looks like a secret: tokens, keys, a URL's password; with names also what follows password, token."""
    shown = _IN_URL.sub(r"\1[redacted]", _SECRET.sub(r"\1[redacted]", text) if names else text)
    return _BEARER.sub("[redacted]", shown)


@dataclass(frozen=True)
class Result:
    """What a finished child left: exit code (negative = signal), captured text, seconds it ran."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str
    seconds: float


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 600.0,
    check: bool = True,
    on_line: Callable[[str], None] | None = None,
    stdin: str | None = None,
) -> Result:
    """Run a child to its end and return its Result; on_line sees each line of stdout and stderr, redacted, as it comes.
    What the child left running in the background goes on; neither it nor what it writes later is waited for.

    Raises OpsError on a time-out (the whole process group is killed) and, with check, on a non-zero exit;
    Refused when the program does not exist.
    """
    began = time.monotonic()
    child = spawn(argv, cwd=cwd, env=env, stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL)
    captured: tuple[list[str], list[str]] = ([], [])
    pumps = [
        threading.Thread(target=_pump, args=(stream, lines, on_line), daemon=True)
        for stream, lines in zip((child.stdout, child.stderr), captured, strict=True)
    ]
    for pump in pumps:
        pump.start()
    code = _finish(child, argv[0], timeout_s, stdin)
    patience = time.monotonic() + _REST_S
    for pump in pumps:
        pump.join(max(patience - time.monotonic(), 0))
    out, err = ("".join(lines) for lines in captured)
    result = Result(tuple(argv), code, out, err, time.monotonic() - began)
    if check and code != 0:
        tail = redact("\n".join((err or out).strip().splitlines()[-6:]))
        raise OpsError(f"{argv[0]} exited with {code}: {tail}")
    return result


def spawn(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[bytes] = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    """Start a child in its own session (so that kill_group reaches its children) and return it.

    Raises Refused when the program does not exist or may not be executed.
    """
    try:
        return subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(env) if env is not None else None,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError) as error:
        raise Refused(f"cannot start {argv[0]!r}: {error.strerror}", "Run: ./dev invoke doctor") from error


def attach(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> int:
    """Run a program for people on this terminal until it ends, a shell for example: its exit code.

    Ctrl-C is the program's own affair meanwhile. Raises Refused when the program does not exist.
    """
    # A handler that does nothing, and not SIG_IGN, which the program would inherit.
    former = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        child = subprocess.Popen(list(argv), env=dict(env) if env is not None else None)
    except (FileNotFoundError, PermissionError) as error:
        raise Refused(f"cannot start {argv[0]!r}: {error.strerror}", "Run: ./dev invoke doctor") from error
    else:
        try:
            return child.wait()
        except BaseException:
            child.send_signal(signal.SIGHUP)
            child.wait()
            raise
    finally:
        signal.signal(signal.SIGINT, former)


def kill_group(child: subprocess.Popen[Any], sig: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a spawned child and everything it started; a child that is gone is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, sig)
    if sig is signal.SIGKILL:
        child.wait()


def _finish(child: subprocess.Popen[bytes], name: str, timeout_s: float, stdin: str | None) -> int:
    """Feed a child and wait for its end; whatever interrupts this kills it and all it started."""
    try:
        if stdin is not None:
            threading.Thread(target=_feed, args=(child.stdin, stdin), daemon=True).start()
        return child.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        kill_group(child)
        late = f"{name} did not finish within {timeout_s:g} s"
        raise OpsError(late, "Run it by hand to see where it hangs.") from None
    except BaseException:
        kill_group(child)
        raise


def _feed(stream: IO[bytes] | None, text: str) -> None:
    """Write a child's standard input; one that ends, or closes it, before it has read everything is no error.

    Beside the wait for its end: a child that never reads would block the writer for ever.
    """
    if stream is not None:
        with contextlib.suppress(OSError), stream:
            stream.write(text.encode())


def _pump(stream: IO[bytes] | None, lines: list[str], on_line: Callable[[str], None] | None) -> None:
    if stream is None:
        return
    for raw in stream:
        line = raw.decode(errors="replace")
        lines.append(line)
        if on_line is not None:
            on_line(redact(line.rstrip("\n")))
    stream.close()

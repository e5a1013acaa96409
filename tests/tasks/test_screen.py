"""On a terminal people get a spinner, colours and frames; a pipe gets plain lines."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.errors import Refused
from scripts.tasks._screen import Screen
from tests.conftest import ROOT

SCRIPT = """
from scripts.plan import Action, Change, Plan
from scripts.tasks._screen import Screen, show_error, show_plan
screen = Screen()
screen.begin("models")
screen.progress("pulling [bold]x[/bold]")
screen.end("models", "20261120T020000Z-3f9a1c2b", 1.25)
screen.note("[red]not mark-up", warning=True)
screen.rows("summary", [("URL", "http://x"), ("status", "healthy")])
screen.table(("a", "b"), [["1", "present"]])
show_plan(screen, Plan("deploy", (Change(Action.CREATE, "bucket b"),)))
screen.failed("ready", 0.5)
show_error("it [broke]\\ntwice", "Run: this\\nor that")
"""
RESULTS = """summary
URL: http://x
status: healthy
a  b
1  present
+ bucket b
"""
TALK = """models: 20261120T020000Z-3f9a1c2b (1.2 s)
! [red]not mark-up
ready: failed (0.5 s)
✗ it [broke]
  twice
  → Run: this
    or that
"""


def environ(**more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "TERM": "xterm", **more}


def on_terminal(**more: str) -> str:
    """What a terminal of 80 columns shows."""
    leader, follower = os.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=follower, stderr=follower, stdin=follower,
        env=environ(COLUMNS="80", **more),
    )  # fmt: skip
    os.close(follower)
    shown = b""
    while True:
        try:
            chunk = os.read(leader, 65536)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    os.close(leader)
    assert child.wait(timeout=60) == 0, shown
    return shown.decode()


@pytest.mark.process
def test_pipes_get_plain_lines_with_the_talk_apart() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environ(), capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == RESULTS
    assert done.stderr == TALK


@pytest.mark.process
def test_a_terminal_gets_colours_and_frames() -> None:
    shown = on_terminal()
    assert "\x1b[32m" in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    for text in ("pulling [bold]x[/bold]", "✓ models", "[red]not mark-up", "╭─ summary", "+ bucket b", "✗ it [broke]"):
        assert text in plain


@pytest.mark.process
def test_no_color_and_dumb_terminals_are_respected() -> None:
    assert re.search(r"\x1b\[[0-9;]*3[0-9]m", on_terminal(NO_COLOR="1")) is None
    assert "\x1b" not in on_terminal(TERM="dumb")


@pytest.mark.process
def test_an_ascii_terminal_breaks_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "invoke", "status", "--env", "nosuch"], cwd=ROOT, capture_output=True, check=False,
        env=environ(PYTHONIOENCODING="ascii", HOME=str(tmp_path)), timeout=60,
    )  # fmt: skip
    assert done.returncode == 3
    assert b"Traceback" not in done.stderr


def test_without_a_terminal_a_question_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    screen.confirm("removing everything", yes=True)
    with pytest.raises(Refused, match="no terminal to ask on"):
        screen.confirm("removing everything", yes=False)

"""Child processes: streaming, time-outs that reach grandchildren, redaction, clear refusals."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from scripts.errors import OpsError, Refused
from scripts.process import kill_group, redact, run, spawn


@pytest.mark.process
def test_run_streams_lines_and_returns_everything() -> None:
    seen: list[str] = []
    code = "import sys; print('one'); print('password=hunter2', file=sys.stderr); print(sys.stdin.read())"
    result = run([sys.executable, "-c", code], on_line=seen.append, stdin="typed")
    assert (result.code, result.stdout) == (0, "one\ntyped\n")
    assert "password=hunter2" in result.stderr
    assert {"one", "typed", "password=[redacted]"} == set(seen)


@pytest.mark.process
def test_a_failing_child_is_told_with_its_last_words() -> None:
    with pytest.raises(OpsError, match="exited with 7: out of cheese"):
        run([sys.executable, "-c", "import sys; sys.exit(print('out of cheese', file=sys.stderr) or 7)"])
    assert run([sys.executable, "-c", "raise SystemExit(7)"], check=False).code == 7


@pytest.mark.process
def test_a_time_out_kills_the_whole_group(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "pathlib.Path(sys.argv[1] + '.new').write_text(str(child.pid))\n"
        "pathlib.Path(sys.argv[1] + '.new').rename(sys.argv[1]); time.sleep(60)\n"
    )
    for timeout_s in (1, 10, 60):  # until the child came to start its own
        with pytest.raises(OpsError, match=f"did not finish within {timeout_s} s"):
            run([sys.executable, "-c", code, str(tmp_path / "pid")], timeout_s=timeout_s)
        if (tmp_path / "pid").exists():
            break
    grandchild = int((tmp_path / "pid").read_text(encoding="utf-8"))
    for _ in range(600):
        stat = Path(f"/proc/{grandchild}/stat")
        if not stat.exists() or stat.read_text(encoding="utf-8").split(") ")[1].startswith("Z"):
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the grandchild lives on")


@pytest.mark.process
def test_what_a_child_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    began = time.monotonic()
    found = run(["sh", "-c", f"sleep 30 & echo $! > {place}; echo started"], timeout_s=20)
    os.kill(int(place.read_text(encoding="utf-8")), signal.SIGKILL)
    assert (found.code, found.stdout) == (0, "started\n")
    assert time.monotonic() - began < 15


@pytest.mark.process
def test_a_missing_program_is_refused() -> None:
    with pytest.raises(Refused, match="no-such-program"):
        spawn(["no-such-program"])


@pytest.mark.process
def test_kill_group_of_a_finished_child_is_no_error() -> None:
    child = spawn([sys.executable, "-c", "pass"])
    child.communicate()
    kill_group(child, signal.SIGTERM)
    assert os.getpid() > 0


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("api_key: abcdef", "abcdef"),
        ("Authorization: Bearer ya29.a0AfH6SMB", "ya29.a0AfH6SMB"),
        ('{"client_secret": "s3cr3t"}', "s3cr3t"),
        ("--token=hf_abcdefghijklmnopqrst", "hf_abcdefghijklmnopqrst"),
        ("got eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl", "eyJzdWIi"),
        ("cannot reach postgres://me:pw12345@db:5432/x", "pw12345"),
        ("cloning with ghp_" + "a1" * 18, "a1a1"),
        ("key AIza" + "Sy" * 17, "SySy"),
        ("posting with xoxb-12345-67890-abc", "67890"),
        ("asking with sk-" + "ab" * 12, "abab"),
        ("-----BEGIN PRIVATE KEY-----\\nMIIEvQIB\\n-----END PRIVATE KEY-----", "MIIEvQIB"),
    ],
)
def test_secrets_are_redacted(text: str, hidden: str) -> None:
    assert hidden not in redact(text)


def test_ordinary_text_is_kept() -> None:
    for text in (
        "revision tabular-service-00001-abc is ready, 3 of 3 tokens parsed",
        "GET http://127.0.0.1:8085/run/x answered 200; the disk-size-of-the-whole-task-list is 3 GiB",
        "europe-west1-docker.pkg.dev/p/services/tabular@sha256:0a1b, me@example.com",
    ):
        assert redact(text) == text


@pytest.mark.process
@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_child_need_not_read_what_it_is_given(size: int) -> None:
    text = "x" * size
    for code in (0, 7):
        script = f"import sys; sys.stdin.close(); sys.exit({code})"
        assert run([sys.executable, "-c", script], stdin=text, check=False).code == code
    assert run(["true"], stdin=text).code == 0
    with pytest.raises(OpsError, match="false exited with 1"):
        run(["false"], stdin=text)
    with pytest.raises(OpsError, match="did not finish within"):
        run(["sleep", "60"], stdin=text, timeout_s=0.3)

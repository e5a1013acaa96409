"""Sandboxes without namespaces: rewritten values, sealed folders, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.localcloud.context import Context, Database
from scripts.localcloud.run.container import DEFAULT_STARTUP, CannotRun, Mount, Plan
from scripts.localcloud.run.mount_options import Options, parse
from scripts.localcloud.run.mounts import REWRITTEN
from scripts.localcloud.run.output import Origin
from scripts.localcloud.run.sandbox import Sandboxes
from scripts.localcloud.run.store import Store
from scripts.localcloud.storage.events import TOPIC, ObjectEvent, StoredObject

ORIGIN = Origin("demo", {"type": "cloud_run_job", "labels": {}}, {})


class OneBucket:
    """A bucket as the storage room shows it."""

    def __init__(self, body: Path) -> None:
        self._object = StoredObject("a/b", 1, 5, "", body)

    def bucket_exists(self, name: str) -> bool:
        return name == "here"

    async def mounted(self, bucket: str) -> None:
        pass

    def live_objects(self, bucket: str, prefix: str = "", first: str = "") -> Iterator[StoredObject]:
        yield self._object


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    made = Context(tmp_path, "http://127.0.0.1:1", Path.cwd(), Database(tmp_path / "state.db"))
    Store(made)
    yield made
    made.db.close()


def run(context: Context, body: Path, plan: Plan, entries: list[Any], *, later: ObjectEvent | None = None) -> int:
    async def play() -> int:
        sandboxes = Sandboxes(context, OneBucket(body), entries.extend)
        sandboxes.clean()
        await sandboxes.mounting.choose(REWRITTEN)
        child = await sandboxes.open("one", plan, {"TOLD": "1"}, ORIGIN)
        if later is not None:
            context.publish(TOPIC, later)
        code = await child.exited
        await sandboxes.close()
        assert not (sandboxes.folder / "one").exists() and context.db.rows("SELECT * FROM run_processes") == []
        return code

    return asyncio.run(play())


SEEN_AT_ONCE = parse("implicit-dirs,metadata-cache-ttl-secs=0", read_only=True)


def plan(program: str, bucket: str = "here", options: Options = SEEN_AT_ONCE, **env: str) -> Plan:
    argv = (sys.executable, "-c", program)
    return Plan(argv, env, (Mount(bucket, "/models", options),), DEFAULT_STARTUP, None, 1, 10.0)


@pytest.fixture
def body(tmp_path: Path) -> Path:
    path = tmp_path / "body"
    path.write_text("hello", encoding="utf-8")
    path.chmod(0o444)
    return path


@pytest.mark.process
def test_without_namespaces_values_point_at_the_folder(context: Context, body: Path) -> None:
    entries: list[Any] = []
    program = (
        "import os, pathlib, time\n"
        "seen = pathlib.Path(os.environ['WHERE'])\n"
        "mode = seen.stat().st_mode & 0o777\n"
        "print((seen / 'b').read_text(), mode, os.environ['MODELSHELF_MOUNT_MODE'], flush=True)\n"
        "while not (seen / 'c').exists(): time.sleep(0.01)\n"
        "print((seen / 'c').read_text())\n"
    )
    event = ObjectEvent("finalized", "here", "a/c", 2, body, 5)
    assert run(context, body, plan(program, WHERE="/models/a"), entries, later=event) == 0
    assert [each["textPayload"] for each in entries] == [f"hello {0o555} rewritten", "hello"]


@pytest.mark.process
def test_what_a_container_leaves_running_ends_with_it(context: Context, body: Path) -> None:
    entries: list[Any] = []
    program = (
        "import subprocess, sys\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True)\n"
        "raise SystemExit(5)\n"
    )
    assert run(context, body, plan(program), entries) == 5
    state = Path(f"/proc/{int(entries[0]['textPayload'])}/stat")
    deadline = time.monotonic() + 30  # it sleeps for a minute by itself; the kernel ends what was killed when it can
    while state.exists() and state.read_text(encoding="ascii").split(")")[1].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.process
def test_much_output_is_cut_and_kept_in_order(context: Context, body: Path) -> None:
    entries: list[Any] = []
    program = "print('x' * 1_000_000); print('after'); import sys; sys.stdout.write('no end of line')"
    assert run(context, body, plan(program), entries) == 0
    texts = [each["textPayload"] for each in entries]
    assert [len(texts[0]), *texts[1:]] == [256 << 10, "after", "no end of line"]
    raw = (context.state / "run" / "logs" / "one.stdout.log").read_bytes()
    assert len(raw) == 1_000_000 + len("\nafter\nno end of line")


@pytest.mark.process
def test_a_writable_mount_needs_fuse(context: Context, body: Path) -> None:
    with pytest.raises(CannotRun, match="/dev/fuse") as caught:
        run(context, body, plan("", options=parse("", read_only=False)), [])
    assert caught.value.reason == "VolumeUnsupported"
    assert os.listdir(context.state / "run" / "instances") == []  # noqa: PTH208


@pytest.mark.process
def test_a_missing_bucket_is_told_before_anything_starts(context: Context, body: Path) -> None:
    with pytest.raises(CannotRun, match="'absent'") as caught:
        run(context, body, plan("", bucket="absent"), [])
    assert caught.value.reason == "VolumeMountFailed"
    assert os.listdir(context.state / "run" / "instances") == []  # noqa: PTH208

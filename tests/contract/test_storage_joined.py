"""Large composites: no byte is moved until somebody reads them, and what they are made of stays as long as it must."""

from __future__ import annotations

import base64
import contextlib
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google_crc32c
import pytest

from tests.contract.run_support import Cloud, fetch, service

pytestmark = pytest.mark.process
PART_BYTES = 3 << 20
PARTS = [bytes([65 + number]) * PART_BYTES for number in range(4)]
WHOLE = b"".join(PARTS)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "cloud"


@pytest.fixture
def running(state: Path, standin_at: Callable[..., Any]) -> Any:
    return standin_at(state)


@pytest.fixture
def bucket(running: Any, connect: Callable[..., Any]) -> Any:
    made = connect(running.url).bucket("joined")
    made.soft_delete_policy.retention_duration_seconds = 0
    made.create()
    for number, data in enumerate(PARTS):
        made.blob(f"part-{number}").upload_from_string(data)
    return made


def composed(bucket: Any, name: str, *sources: str) -> Any:
    made = bucket.blob(name)
    made.compose([bucket.blob(source) for source in sources])
    return made


def files_bytes(state: Path) -> int:
    """What all bodies take on disk."""
    return sum(path.stat().st_size for path in (state / "storage").rglob("*") if path.is_file())


def parts() -> list[str]:
    return [f"part-{number}" for number in range(len(PARTS))]


def test_a_composite_takes_no_space_and_outlives_its_parts(bucket: Any, state: Path) -> None:
    made = composed(bucket, "whole", *parts())
    assert files_bytes(state) == len(WHOLE)
    assert made.size == len(WHOLE) and made.md5_hash is None and made.component_count == 4
    assert google_crc32c.value(WHOLE).to_bytes(4, "big") == base64.b64decode(made.crc32c)
    bucket.delete_blobs(parts())
    assert files_bytes(state) == len(WHOLE)
    at = 2 * PART_BYTES - 10
    assert made.download_as_bytes(start=at, end=at + 19) == b"B" * 10 + b"C" * 10
    assert made.download_as_bytes() == WHOLE
    assert files_bytes(state) == len(WHOLE), "the parts are still there"
    made.delete()
    assert files_bytes(state) == 0


def test_what_is_deleted_unread_leaves_nothing(bucket: Any, state: Path) -> None:
    for name in ("one", "two"):
        composed(bucket, name, *parts())
    composed(bucket, "tree", "one", "two")
    bucket.delete_blobs([*parts(), "one"])
    assert files_bytes(state) == len(WHOLE)
    bucket.delete_blobs(["tree"])
    assert bucket.blob("two").download_as_bytes() == WHOLE
    bucket.delete_blobs(["two"])
    assert files_bytes(state) == 0


def test_composites_of_composites_and_of_themselves(bucket: Any) -> None:
    composed(bucket, "half", "part-0", "part-1", "part-2")
    composed(bucket, "half", "half", "part-3", "half")  # replaces one of its sources
    bucket.delete_blobs(parts())
    half = WHOLE[: 3 * PART_BYTES]
    assert bucket.blob("half").download_as_bytes() == half + PARTS[3] + half


def test_a_composite_survives_a_kill_unread(
    bucket: Any, running: Any, state: Path, standin_at: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    composed(bucket, "whole", *parts())
    bucket.delete_blobs(parts())
    running.process.kill()
    running.process.wait()
    last = standin_at(state)
    found = connect(last.url).bucket("joined").blob("whole")
    assert files_bytes(state) == len(WHOLE)
    assert found.download_as_bytes() == WHOLE


def test_many_readers_at_once_read_the_same(bucket: Any, state: Path) -> None:
    made = composed(bucket, "whole", *parts())
    bucket.delete_blobs(parts())
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: made.download_as_bytes(), range(8)))
    assert all(each == WHOLE for each in found)
    assert files_bytes(state) == len(WHOLE)


def test_a_tree_of_more_parts_than_the_daemon_may_open(
    state: Path, standin_at: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    running = standin_at(state, module="tests.joining")
    resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (256, 256))
    tree = connect(running.url).create_bucket("tree")
    for number in range(16):
        tree.blob(f"part-{number}").upload_from_string(bytes([65 + number]))
    composed(tree, "branch", *[f"part-{number % 16}" for number in range(32)])
    composed(tree, "trunk", *["branch"] * 32)
    assert tree.blob("trunk").download_as_bytes() == bytes(range(65, 81)) * 64
    composed(tree, "forest", *["branch"] * 32).delete()
    assert len(list(tree.list_blobs())) == 18


def test_a_first_read_while_the_daemon_stops_is_told_to_come_back(bucket: Any, running: Any, state: Path) -> None:
    bucket.blob("large").upload_from_string(bytes(10 << 20))
    composed(bucket, "whole", *["large"] * 32)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(fetch, f"{running.url}/storage/v1/b/joined/o/whole?alt=media")
        while files_bytes(state) == len(WHOLE) + (10 << 20) and not answer.done():
            time.sleep(0.001)
        assert running.stop() == 0
        with contextlib.suppress(OSError):  # closed in the middle of a whole answer
            assert answer.result(60)[0] in (200, 503)
    assert "unexpected error" not in (state / "daemon.log").read_text(encoding="utf-8")


def test_copies_of_a_composite_share_what_it_has(bucket: Any, state: Path) -> None:
    made = composed(bucket, "whole", *parts())
    bucket.copy_blob(made, bucket, "copy")
    bucket.delete_blobs([*parts(), "whole"])
    assert bucket.blob("copy").download_as_bytes() == WHOLE
    assert files_bytes(state) == len(WHOLE)


def test_old_generations_and_deleted_ones_keep_theirs(bucket: Any) -> None:
    bucket.versioning_enabled = True
    bucket.soft_delete_policy.retention_duration_seconds = 7 * 86_400
    bucket.patch()
    first = composed(bucket, "whole", *parts())
    bucket.blob("whole").upload_from_string("other")
    assert bucket.blob("whole", generation=first.generation).download_as_bytes() == WHOLE
    gone = composed(bucket, "gone", *parts())
    bucket.delete_blob("gone", generation=gone.generation)
    for name in parts():
        bucket.delete_blob(name)
    restored = bucket.restore_blob("gone", generation=gone.generation)
    assert restored.download_as_bytes() == WHOLE


def test_instances_read_composites_of_before_and_after_their_start(bucket: Any, running: Any) -> None:
    """By path: what they have mounted is never joined."""
    cloud = Cloud(running.url)
    composed(bucket, "before", *parts())
    url = cloud.create(service("reader", bucket="joined"))["status"]["url"]
    env = fetch(url + "/env")[1]
    root = env.get("SEEN_AT", "/models") if env["MODELSHELF_MOUNT_MODE"] == "rewritten" else "/models"
    assert fetch(f"{url}/read?path={root}/before")[1] == WHOLE.decode()
    composed(bucket, "after", *reversed(parts()))
    assert fetch(f"{url}/read?path={root}/after")[1] == WHOLE.decode()[::-1]
    other = bucket.client.create_bucket("other")
    for name in parts():
        bucket.copy_blob(bucket.blob(name), other, name)
    bucket.copy_blob(composed(other, "whole", *parts()), bucket, "copied")
    assert fetch(f"{url}/read?path={root}/copied")[1] == WHOLE.decode()

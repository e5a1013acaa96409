"""What the storage room keeps through restarts, kill -9, full and read-only disks; and how little memory it needs."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import json
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions as google

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20


def _bodies(state: Path) -> list[Path]:
    return [path for path in (state / "storage").rglob("*") if path.is_file()]


def test_everything_is_there_after_a_restart(
    tmp_path: Path, standin_at: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    first = standin_at(tmp_path / "cloud")
    bucket = connect(first.url).bucket("kept")
    bucket.versioning_enabled = True
    bucket.create()
    for text in ("one", "two"):
        blob = bucket.blob("doc")
        blob.metadata = {"text": text}
        blob.upload_from_string(text)
    assert first.stop() == 0
    second = standin_at(tmp_path / "cloud", first.port)
    again = connect(second.url).get_bucket("kept")
    assert again.versioning_enabled
    assert again.get_blob("doc").metadata == {"text": "two"}
    versions = list(again.list_blobs(versions=True))
    assert [blob.download_as_text() for blob in versions] == ["one", "two"]
    assert all(oct(path.stat().st_mode & 0o777) == "0o444" for path in _bodies(second.state))


def test_kill_9_in_an_upload_leaves_no_bytes_behind(
    tmp_path: Path, standin_at: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    first = standin_at(tmp_path / "cloud")
    bucket = connect(first.url).create_bucket("torn")
    bucket.blob("whole").upload_from_string(b"w" * MIB)
    upload = socket.create_connection(("127.0.0.1", first.port))
    head = "POST /upload/storage/v1/b/torn/o?uploadType=media&name=half HTTP/1.1\r\nHost: localhost\r\n"
    upload.sendall(f"{head}Content-Length: {8 * MIB}\r\n\r\n".encode() + b"h" * (4 * MIB))
    deadline = time.monotonic() + 60
    while sum(path.stat().st_size for path in _bodies(first.state)) < 3 * MIB:
        assert time.monotonic() < deadline, "the bytes never reached the disk"
    first.stop(signal.SIGKILL)
    upload.close()
    assert len(_bodies(first.state)) == 2
    second = standin_at(tmp_path / "cloud")
    again = connect(second.url).bucket("torn")
    assert [blob.name for blob in again.list_blobs()] == ["whole"]
    assert again.blob("whole").download_as_bytes() == b"w" * MIB
    assert len(_bodies(second.state)) == 1


def test_a_stop_in_an_upload_is_clean(
    tmp_path: Path, standin_at: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    first = standin_at(tmp_path / "cloud")
    connect(first.url).create_bucket("torn")
    done = threading.Event()
    uploads = [threading.Thread(target=_stream, args=(first.port, kind, done)) for kind in ("media", "resumable")]
    for upload in uploads:
        upload.start()
    deadline = time.monotonic() + 60
    while sum(path.stat().st_size for path in _bodies(first.state)) < 8 * MIB:
        assert time.monotonic() < deadline, "the bytes never reached the disk"
    assert first.stop() == 0
    done.set()
    for upload in uploads:
        upload.join()
    assert "Traceback" not in (first.state / "daemon.log").read_text(encoding="utf-8")
    second = standin_at(tmp_path / "cloud")
    assert list(connect(second.url).bucket("torn").list_blobs()) == []
    assert len(_bodies(second.state)) == 1  # the resumable one can be gone on with


def _stream(port: int, kind: str, done: threading.Event) -> None:
    """Send bytes until told or until the server is gone."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    path = f"/upload/storage/v1/b/torn/o?uploadType={kind}&name={kind}"
    if kind == "resumable":
        connection.request("POST", path)
        answer = connection.getresponse()
        answer.read()
        path = answer.headers["location"].split(str(port), 1)[1]
    body = iter(lambda: b"" if done.is_set() else b"x" * (MIB // 4), b"")
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("PUT", path, body)
        connection.getresponse().read()


def test_a_second_daemon_is_refused_the_same_state(standin: Any) -> None:
    argv = [sys.executable, "-m", "scripts.localcloud", "--state", str(standin.state), "--port", "0"]
    second = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 3
    told = json.loads(second.stderr.strip().splitlines()[-1])
    assert "another daemon" in told["error"] and told["remedy"]
    assert standin.get("/_local/health")["pid"] == standin.process.pid


def test_a_port_that_cannot_be_had_is_said(standin: Any, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "scripts.localcloud", "--state", str(tmp_path / "other"), "--port"]
    taken = subprocess.run(
        [*argv, str(standin.port)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert taken.returncode == 3
    told = json.loads(taken.stderr)
    assert f"port {standin.port} on 127.0.0.1 is in use" in told["error"] and "MODELSHELF_PORT" in told["remedy"]
    senseless = subprocess.run([*argv, "65536"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert senseless.returncode == 2
    assert "expected a port from 0 to 65535, found '65536'" in senseless.stderr and "Traceback" not in senseless.stderr


@pytest.mark.parametrize("size", [192 * MIB, pytest.param(1024 * MIB, marks=pytest.mark.full)])
def test_a_large_body_needs_little_memory(standin: Any, connect: Callable[..., Any], size: int) -> None:
    connect(standin.url).create_bucket("large")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        statuses = list(pool.map(lambda name: _send(standin.port, "large", name, size), ("one", "two")))
    assert [status for status, _ in statuses] == [200, 200]
    connection = http.client.HTTPConnection("127.0.0.1", standin.port)
    connection.request("GET", "/storage/v1/b/large/o/one?alt=media")
    answer, received = connection.getresponse(), 0
    while block := answer.read(MIB):
        received += len(block)
    assert received == size
    status = Path(f"/proc/{standin.process.pid}/status").read_text(encoding="ascii")
    peak_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak_kib < 100 * 1024


def _send(port: int, bucket: str, name: str, size: int) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = (b"x" * min(MIB, size - start) for start in range(0, size, MIB))
    headers = {"content-length": str(size)}
    connection.request("POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}", body, headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


@dataclass
class Confined:
    """A daemon on a disk of its own: a small tmpfs in a private mount namespace, or a limit on the size of files."""

    port: int
    process: subprocess.Popen[bytes]
    state: Path  # as this process sees it
    own_disk: bool


def _namespace(mount: str, state: Path) -> list[str] | None:
    """Arguments that run what follows them with a mount over the state folder; None where that is refused."""
    for flags in (["-m"], ["-U", "-r", "-m"]):
        enter = ["unshare", *flags, "sh", "-c", f'mount -t tmpfs -o {mount} tmpfs "$0" && exec "$@"', str(state)]
        with contextlib.suppress(FileNotFoundError):
            if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode == 0:
                return enter
    return None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Confined]:
    state = tmp_path / "small"
    state.mkdir()
    enter = _namespace("size=24m", state)
    argv = [sys.executable, "-m", "scripts.localcloud", "--state", str(state), "--port", "0"]
    log = (tmp_path / "log").open("wb")

    child = subprocess.Popen([*(enter or []), *argv], cwd=ROOT, stdout=log, stderr=log)
    if enter is None:
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (12 * MIB, 12 * MIB))
    seen = Path(f"/proc/{child.pid}/root{state}") if enter else state
    deadline = time.monotonic() + 30
    while not (seen / "daemon.json").exists():
        assert child.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text(encoding="utf-8")
        time.sleep(0.02)
    port = json.loads((seen / "daemon.json").read_text(encoding="utf-8"))["port"]
    yield Confined(port, child, seen, enter is not None)
    child.terminate()
    child.wait(30)
    log.close()
    assert "Traceback" not in (tmp_path / "log").read_text(encoding="utf-8")


def _forgetful(client: Any, name: str) -> Any:
    """A bucket whose deleted objects free the disk at once, instead of a week later."""
    bucket = client.bucket(name)
    bucket.soft_delete_policy.retention_duration_seconds = 0
    bucket.create()
    return bucket


def test_a_full_disk_is_said_and_leaves_nothing_half_done(small_disk: Confined, connect: Callable[..., Any]) -> None:
    bucket = _forgetful(connect(f"http://127.0.0.1:{small_disk.port}"), "disk")
    bucket.blob("kept").upload_from_string(b"k" * (9 * MIB))
    for _ in range(2):
        status, told = _send(small_disk.port, "disk", "too-large", 32 * MIB)
        assert status == 507 and "space" in told["error"]["message"], told
        assert told["error"]["errors"][0]["reason"] == "insufficientStorage"
    with pytest.raises(google.GoogleAPICallError, match="507"):
        bucket.blob("resumable", chunk_size=4 * MIB).upload_from_string(b"r" * (32 * MIB))
    assert [blob.name for blob in bucket.list_blobs()] == ["kept"]
    assert len(_bodies(small_disk.state)) == 1
    bucket.delete_blob("kept")
    bucket.blob("fits").upload_from_string(b"f" * (9 * MIB))
    assert bucket.blob("fits").download_as_bytes() == b"f" * (9 * MIB)
    assert len(_bodies(small_disk.state)) == 1


def test_deleting_works_on_a_disk_that_uploads_have_filled(small_disk: Confined, connect: Callable[..., Any]) -> None:
    bucket = _forgetful(connect(f"http://127.0.0.1:{small_disk.port}"), "disk")
    first = MIB if small_disk.own_disk else 13 * MIB
    names: list[str] = []
    for size in (first, 4096):
        for _ in range(2000 if small_disk.own_disk else 100):
            status, _ = _send(small_disk.port, "disk", f"part-{len(names):04}", size)
            if status == 507:
                break
            names.append(f"part-{len(names):04}")
    assert status == (507 if small_disk.own_disk else 200)
    for name in names:
        bucket.delete_blob(name)
    assert _send(small_disk.port, "disk", "again", 8 * MIB)[0] == 200


def test_a_read_only_state_is_one_clear_line(tmp_path: Path) -> None:
    state = tmp_path / "frozen"
    state.mkdir()
    enter = _namespace("ro", state) or []
    if not enter:
        state.chmod(0o500)
    argv = [*enter, sys.executable, "-m", "scripts.localcloud", "--state", str(state), "--port", "0"]
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 3
    lines = ended.stderr.strip().splitlines()
    assert len(lines) == 1, ended.stderr
    told = json.loads(lines[0])
    assert str(state) in told["error"] and "MODELSHELF_STATE" in told["remedy"]

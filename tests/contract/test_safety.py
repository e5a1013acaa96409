"""Who may reach the stand-in, and who may read what it keeps."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import StandIn
from tests.contract.run_support import fetch

pytestmark = pytest.mark.process
SERVICES = "/apis/serving.knative.dev/v1/namespaces/demo/services"
NOBODY = 65534


def listening(pid: int) -> list[str]:
    """The addresses (as the kernel writes them) on which a process listens, of IPv4 and IPv6."""
    links = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {link.removeprefix("socket:[")[:-1] for link in links if link.startswith("socket:[")}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]
    ]
    return [row[1] for row in rows if row[3] == "0A" and row[9] in inodes]


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "169.254.169.254"]
)
def test_a_foreign_host_is_refused(shared_standin: StandIn, host: str) -> None:
    for path in ("/", "/_local/status", "/storage/v1/b?project=demo", SERVICES, "/run/hello/"):
        assert fetch(shared_standin.url + path, host=host)[0] == 403


def test_it_listens_on_loopback_alone(shared_standin: StandIn) -> None:
    assert listening(shared_standin.process.pid) == [f"0100007F:{shared_standin.port:04X}"]


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1.evil.example", "http://[", "http://x.localhost"]
)
def test_a_page_of_another_site_changes_nothing(shared_standin: StandIn, origin: str) -> None:
    body = json.dumps({"metadata": {"name": "planted"}}).encode()
    for method, path in (
        ("POST", SERVICES),
        ("POST", "/_local/stop"),
        ("PUT", "/bucket/o"),
        ("DELETE", "/storage/v1/b/x"),
    ):
        sent = body if method != "DELETE" else None
        status, answer = fetch(shared_standin.url + path, sent, method, origin=origin, content_type="text/plain")
        assert status == 403 and "another site" in answer["error"]["message"]
    assert shared_standin.process.poll() is None
    assert fetch(shared_standin.url + SERVICES)[1]["items"] == []
    own = fetch(
        f"{shared_standin.url}/v2/entries:list", b'{"resourceNames": ["projects/demo"]}', origin=shared_standin.url
    )
    assert own[0] == 200


def seen_by_nobody(path: Path) -> bool:
    """Whether another user than us can read a file or list a folder."""
    if os.geteuid() != 0:
        reachable = all(each.stat().st_mode & stat.S_IXOTH for each in path.parents)
        return reachable and bool(path.stat().st_mode & stat.S_IROTH)
    shell = shutil.which("setpriv")
    assert shell is not None, "setpriv is missing; it is part of util-linux"
    as_nobody = [shell, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    look = ["sh", "-c", 'if test -d "$1"; then ls "$1"; else cat "$1"; fi', "sh", str(path)]
    done = subprocess.run([*as_nobody, *look], check=False, capture_output=True, timeout=60, cwd="/")
    return done.returncode == 0


def test_what_it_keeps_is_its_user_s_alone(standin_at: Callable[[Path], StandIn]) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # pytest's own folder is closed to others anyway
        Path(folder).chmod(0o755)
        state = Path(folder) / "cloud"
        state.mkdir(mode=0o755)
        (Path(folder) / "open").write_text("for everybody", encoding="utf-8")
        running = standin_at(state)
        running.post("/storage/v1/b?project=demo", {"name": "private"})
        assert seen_by_nobody(Path(folder)) and seen_by_nobody(Path(folder) / "open")
        assert not seen_by_nobody(state) and not seen_by_nobody(state / "state.db")
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        running.stop()


def test_a_folder_of_somebody_s_is_left_as_it_is(tmp_path: Path, standin_at: Callable[[Path], StandIn]) -> None:
    state = tmp_path / "shared"
    state.mkdir(mode=0o755)
    (state / "other.txt").write_text("not ours", encoding="utf-8")
    standin_at(state)
    assert stat.S_IMODE(state.stat().st_mode) == 0o755


def test_json_in_a_text_that_nests_too_deeply_is_refused(shared_standin: StandIn) -> None:
    deep = "[" * 40_000
    token = base64.urlsafe_b64encode(deep.encode()).decode()
    shared_standin.post("/storage/v1/b?project=demo", {"name": "deeply"})
    shared_standin.post("/upload/storage/v1/b/deeply/o?uploadType=media&name=x", {})
    account = "/v1/projects/demo/serviceAccounts"
    shared_standin.post(account, {"accountId": "deeply"})
    calls: list[tuple[str, bytes | None]] = [
        (f"/storage/v1/b/deeply/o?pageToken={token}", None),
        (f"/storage/v1/b/deeply/o/x/rewriteTo/b/deeply/o/y?rewriteToken={token}", b""),
        (f"{SERVICES}?continue={token}", None),
        ("/v2/entries:list", json.dumps({"resourceNames": ["projects/demo"], "pageToken": token}).encode()),
        (f"{account}/deeply@demo.iam.gserviceaccount.com:signJwt", json.dumps({"payload": deep}).encode()),
        ("/_local/token", f"assertion=a.{token}.c".encode()),
    ]
    for path, body in calls:
        assert fetch(shared_standin.url + path, body)[0] == 400, path[:80]

"""The mount check against real folders; permissions are taken away for real, in a child without root's powers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.container import mount
from scripts.errors import AccessDenied, ExitCode, Unreachable

ROOT = Path(__file__).resolve().parents[2]
BUCKET = "tabular-model-cache-test"
CHECK = (
    "import sys; from pathlib import Path; from scripts.container import mount; from scripts.errors import OpsError\n"
    "try: print(mount.check(Path(sys.argv[1]), 'tabular-model-cache-test'))\n"
    "except OpsError as e: print(type(e).__name__, e.message, '|', e.remedy); sys.exit(e.exit_code)"
)


def test_a_mounted_bucket_is_listed_and_read(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "20261120T020000Z-3f9a1c2b.done").write_text("{}", encoding="utf-8")
    found = mount.check(tmp_path, BUCKET)
    assert (found.empty, found.read) == (False, "manifests/20261120T020000Z-3f9a1c2b.done")
    (tmp_path / "manifest.json").write_text("{}", encoding="utf-8")
    assert mount.check(tmp_path, BUCKET).read == "manifest.json"


def test_an_empty_bucket_is_no_failure(tmp_path: Path) -> None:
    found = mount.check(tmp_path, BUCKET)
    assert (found.empty, found.read) == (True, "")


def test_a_mount_that_is_missing_says_what_to_check_in_the_yaml(tmp_path: Path) -> None:
    with pytest.raises(Unreachable) as caught:
        mount.check(tmp_path / "models", BUCKET)
    assert f"nothing is mounted at {tmp_path / 'models'}" in caught.value.message
    for word in ("invoke render", "gcsfuse.run.googleapis.com", f"bucketName {BUCKET}", "mountPath", "gen2"):
        assert word in caught.value.remedy
    assert caught.value.exit_code == ExitCode.UNREACHABLE


def test_a_file_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("", encoding="utf-8")
    with pytest.raises(Unreachable, match="is not a folder"):
        mount.check(tmp_path / "models", BUCKET)


def test_a_mount_that_hangs_is_given_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")  # opening it waits for a writer that never comes
    with pytest.raises(Unreachable, match=r"did not answer within 0\.2 s"):
        mount.check(tmp_path, BUCKET, timeout_s=0.2)
    os.close(os.open(tmp_path / "manifest.json", os.O_RDWR | os.O_NONBLOCK))  # lets the waiting thread go


def test_an_io_error_is_told_apart_from_a_permission(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)  # stat gives ELOOP, an OSError that is neither "missing" nor "denied"
    with pytest.raises(Unreachable) as caught:
        mount.check(loop, BUCKET)
    assert not isinstance(caught.value, AccessDenied)
    assert "cannot list" in caught.value.message
    assert "storage.objectViewer" in caught.value.remedy


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A mount with one object; the tests take permissions away from parts of it."""
    (tmp_path / "models" / "manifests").mkdir(parents=True)
    (tmp_path / "models" / "manifest.json").write_text("{}", encoding="utf-8")
    return tmp_path / "models"


def without_root(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run a child that may not override permissions; whoever is root gives its capabilities up first."""
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    return subprocess.run([*drop, *argv], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.process
@pytest.mark.parametrize("part", ["", "manifest.json"], ids=["list", "read"])
def test_a_missing_permission_says_what_to_grant(closed: Path, part: str) -> None:
    place = closed / part
    place.chmod(0)
    try:
        proof = without_root("ls" if place.is_dir() else "cat", str(place))
        assert "Permission denied" in proof.stderr  # the denial is real, not root's imagination
        child = without_root(sys.executable, "-c", CHECK, str(closed))
    finally:
        place.chmod(0o755)
    assert child.returncode == ExitCode.UNREACHABLE
    assert child.stdout.startswith(
        f"AccessDenied not allowed to {'read' if part else 'list'} {place} (bucket {BUCKET})"
    )
    assert "roles/storage.objectViewer" in child.stdout
    assert child.stderr == ""


@pytest.mark.process
def test_with_the_permission_the_same_child_succeeds(closed: Path) -> None:
    child = without_root(sys.executable, "-c", CHECK, str(closed))
    assert child.returncode == 0, child.stderr
    assert "read='manifest.json'" in child.stdout

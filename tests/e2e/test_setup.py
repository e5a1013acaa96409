"""`./dev` on first use: cut off, without a network, on a full disk, two at once, and with pip alone. Costly."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import PARTS, ROOT
from tests.e2e.support import namespace, on_small_disk

pytestmark = [pytest.mark.process, pytest.mark.full, pytest.mark.timeout(1800)]
# Guards against a hang, not a measure: all packages take half a minute alone, five with ten busy processes beside them.
LONGEST_S = 800
SMALL = ("invoke", "pyyaml")


@dataclass
class Checkout:
    """A checkout without an environment; its lock names a few packages, or all of them."""

    root: Path
    environ: dict[str, str]

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    def lock(self, *names: str) -> None:
        """Write a lock of these packages, with the real lock's versions and hashes."""
        whole = (ROOT / "requirements.lock").read_text(encoding="utf-8")
        entries = {entry.partition("==")[0]: entry for entry in re.split(r"\n(?=[a-z0-9])", whole)}
        (self.root / "requirements.lock").write_text("\n".join(entries[name] for name in names), encoding="utf-8")

    def begin(self, *argv: str, **environ: str) -> subprocess.Popen[str]:
        """Start a command in a process group of its own."""
        return subprocess.Popen(
            argv or ("./dev", "invoke", "--version"), cwd=self.root, env=self.environ | environ, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def run(self, *argv: str, code: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and assert its exit code."""
        child = self.begin(*argv, **environ)
        out, err = child.communicate(timeout=LONGEST_S)
        assert child.returncode == code, f"{argv} -> {child.returncode}\n{out}\n{err}"
        assert "Traceback" not in out + err
        return subprocess.CompletedProcess(argv, child.returncode, out, err)

    def wait(self, child: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
        """Wait for a moment in the middle of a set-up."""
        deadline = time.monotonic() + LONGEST_S
        while not reached():
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def left(self) -> set[str]:
        """What a set-up keeps beside the environment while it runs."""
        return {path.name for path in self.root.glob(".venv.*")}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "checkout"
    root.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
        copy(ROOT / part, root / part)
    kept = {name: os.environ[name] for name in os.environ if name.startswith(("PIP_", "UV_", "SSL_"))}
    (tmp_path / "home").mkdir()
    kept |= {name: os.environ[name] for name in ("PATH", "TMPDIR")}
    return Checkout(root, {**kept, "HOME": str(tmp_path / "home"), "LANG": "C.UTF-8"})


@pytest.mark.parametrize("packages", ["few", "all"])
@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_a_set_up_that_is_cut_off_is_made_good_by_the_next(
    checkout: Checkout, sig: signal.Signals, packages: str
) -> None:
    """Of all packages, it is cut while they are being unpacked; of a few, as soon as the environment has a Python."""
    if packages == "few":
        checkout.lock(*SMALL)
    child = checkout.begin()
    some = "bin/python" if packages == "few" else "lib/python*/site-packages/google"
    checkout.wait(child, lambda: any(checkout.venv.glob(some)))
    os.killpg(child.pid, sig)
    _, err = child.communicate(timeout=LONGEST_S)
    assert not (checkout.venv / ".complete").exists()
    if sig == signal.SIGTERM:
        assert child.returncode == 130, err
        assert "interrupted" in err
        assert ".venv.lock" not in checkout.left()
    again = checkout.run()
    assert again.stdout.startswith("Invoke ")
    assert "ready in" in again.stderr
    assert checkout.left() == set()
    assert checkout.run().stderr == ""
    if packages == "all":
        assert "deploy" in checkout.run("./dev", "invoke", "--list").stdout
        checkout.run("./dev", "python", "-m", "pip", "check")


def test_a_killed_shell_whose_installer_goes_on_does_not_harm_the_next(checkout: Checkout) -> None:
    child = checkout.begin()
    checkout.wait(child, lambda: any(checkout.venv.glob("lib/python*/site-packages/google")))
    os.kill(child.pid, signal.SIGKILL)  # the shell alone
    child.wait(timeout=LONGEST_S)
    again = checkout.run()
    assert again.stdout.startswith("Invoke ")
    assert "deploy" in checkout.run("./dev", "invoke", "--list").stdout
    checkout.run("./dev", "python", "-m", "pip", "check")


def test_without_a_network_it_is_told_and_works_once_there_is_one(checkout: Checkout) -> None:
    checkout.lock(*SMALL)
    kept = checkout.environ
    checkout.environ = {name: value for name, value in kept.items() if not name.startswith(("PIP_", "UV_"))}
    checkout.environ["PIP_CONFIG_FILE"] = os.devnull
    # Where no namespace is allowed, an address where nobody listens.
    alone = namespace("n")
    nowhere = {} if alone else {"PIP_INDEX_URL": "http://127.0.0.1:9/", "UV_DEFAULT_INDEX": "http://127.0.0.1:9/"}
    refused = checkout.run(*alone, "./dev", "invoke", "--version", code=3, PIP_RETRIES="1", **nowhere)
    assert "network" in refused.stderr
    assert "HTTPS_PROXY" in refused.stderr
    assert refused.stdout == ""
    checkout.environ = kept
    assert checkout.run().stdout.startswith("Invoke ")


def test_a_full_disk_is_told_and_leaves_no_half_made_environment(checkout: Checkout, tmp_path: Path) -> None:
    assert namespace("m"), "this test mounts a small file system: run it as root, or where user namespaces are allowed"
    small = tmp_path / "small"
    small.mkdir()
    look = './dev invoke --version; code=$?; ls -A "$0"; exit $code'
    argv = on_small_disk(small, 60, "sh", "-c", look, str(small))
    refused = checkout.run(*argv, code=3, MODELSHELF_VENV=str(small / "venv"))
    assert "disk is full" in refused.stderr
    assert "MODELSHELF_VENV" in refused.stderr
    assert refused.stdout == ""
    assert list(small.iterdir()) == []
    assert checkout.left() == set()


def test_another_lock_brings_the_environment_up_to_date(checkout: Checkout) -> None:
    checkout.lock("invoke")
    assert "first use" in checkout.run().stderr
    find = "import importlib.util as u; print(u.find_spec('yaml') is not None)"
    assert checkout.run("./dev", "python", "-c", find).stdout == "False\n"
    checkout.lock(*SMALL)
    changed = checkout.run("./dev", "python", "-c", "import yaml; print(yaml.__version__)")
    assert "requirements.lock changed" in changed.stderr
    assert changed.stdout.strip()
    assert checkout.run("./dev", "python", "-c", "import yaml").stderr == ""


def test_two_at_once_make_one_environment(checkout: Checkout, tmp_path: Path) -> None:
    checkout.lock(*SMALL)
    held, free = tmp_path / "held-python", tmp_path / "free"
    wait = f'[ "$1" = -c ] || until [ -e {free} ]; do sleep 0.05; done'
    held.write_text(f'#!/bin/sh\n{wait}\nexec {sys.executable} "$@"\n', encoding="utf-8")
    held.chmod(0o755)
    first = checkout.begin(PYTHON=str(held))  # makes no environment until the second one waits for it
    checkout.wait(first, (checkout.root / ".venv.lock" / "pid").exists)
    second = checkout.begin(PYTHON=str(held))
    assert second.stderr is not None
    said = second.stderr.readline()
    free.touch()
    told = [child.communicate(timeout=LONGEST_S) for child in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], told
    assert all(out.startswith("Invoke ") for out, _ in told)
    said += "".join(err for _, err in told)
    assert (said.count("first use"), said.count("ready in"), said.count("waiting for it")) == (1, 1, 1)
    assert checkout.left() == set()


def test_pip_alone_makes_what_invoke_and_nox_need(checkout: Checkout, tmp_path: Path) -> None:
    venv = tmp_path / "plain"
    checkout.run(sys.executable, "-m", "venv", str(venv))
    checkout.run(str(venv / "bin" / "pip"), "install", "--quiet", "--require-hashes", "-r", "requirements.lock")
    size_bytes = sum(path.lstat().st_size for path in venv.rglob("*") if path.is_file() and not path.is_symlink())
    assert size_bytes < 600 << 20
    tools = f"{venv / 'bin'}:/usr/bin:/bin"
    assert "deploy" in checkout.run("invoke", "--list", PATH=tools).stdout
    assert "* unit" in checkout.run("nox", "--list", PATH=tools).stdout

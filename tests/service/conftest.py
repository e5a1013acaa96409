"""Environments of a test's own on a shared stand-in: their names in Cloud Run and in storage meet nobody else's."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.service import instances
from scripts.settings import load
from scripts.settings.model import Settings
from tests.conftest import ROOT, StandIn

HELLO = "us-docker.pkg.dev/cloudrun/container/hello:1"
Make = Callable[..., Settings]


class Listener:
    """A Talk that remembers what it was told; `interrupt` names the step at which somebody types Ctrl-C."""

    def __init__(self, interrupt: str = "") -> None:
        self.interrupt = interrupt
        self.titles: list[str] = []
        self.notes: list[str] = []
        self.failures: list[str] = []
        self.outcomes: dict[str, str] = {}

    def begin(self, title: str) -> None:
        self.titles.append(title)

    def progress(self, text: str) -> None:
        if self.interrupt and self.titles[-1] == self.interrupt:
            raise KeyboardInterrupt

    def end(self, title: str, outcome: str, seconds: float) -> None:
        self.outcomes[title] = outcome
        if self.interrupt == f"after {title}":
            raise KeyboardInterrupt

    def failed(self, title: str, seconds: float) -> None:
        self.failures.append(title)

    def note(self, text: str, *, warning: bool = False) -> None:
        self.notes.append(text)


@pytest.fixture
def listener() -> Listener:
    return Listener()


class Checkout:
    """A checkout with the environments of `make`, in which commands are typed as people type them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def typed(self, *words: str, code: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
        """Type a task, with nobody at the terminal; assert its exit code."""
        kept = {name: os.environ[name] for name in ("PATH", "MODELSHELF_STATE", "MODELSHELF_ENDPOINT")}
        done = subprocess.run(
            [sys.executable, "-m", "invoke", *words], cwd=self.root, stdin=subprocess.DEVNULL, capture_output=True,
            env={**kept, "HOME": str(self.root), "LANG": "C.UTF-8", **environ}, text=True, timeout=170, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{words} -> {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr
        return done


@pytest.fixture
def checkout(make: Make, tmp_path: Path) -> Checkout:
    """The commands' own way through tasks.py, in a copy of the checkout whose environments are those of `make`."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__", "localcloud"))
    for name in ("templates", "docker"):
        shutil.copytree(ROOT / name, root / name)
    shutil.copy2(ROOT / "tasks.py", root / "tasks.py")
    make()
    (root / "environments").symlink_to(tmp_path / "environments")
    return Checkout(root)


@pytest.fixture
def make(shared_standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Settings of environments/local.yaml with changes: top-level keys, or `services`, `cache`, … merged one deep."""
    monkeypatch.setenv("MODELSHELF_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MODELSHELF_ENDPOINT", shared_standin.url)
    monkeypatch.setattr(instances, "SEEN_TIMEOUT_S", 0.0)  # the hello image decides nothing, so nothing is waited for
    token = secrets.token_hex(4)
    plain = yaml.safe_load((ROOT / "environments" / "local.yaml").read_text(encoding="utf-8"))
    plain["project"] = f"test-{token}"
    plain["cache"]["bucket"] = f"bucket-{token}"
    plain["services"]["tabular"] |= {"image": HELLO, "min_instances": 1}
    plain["models"] = [
        {"name": "synthetic", "kind": "ollama", "source": "library/synthetic:tiny", "revision": "", "size_gb": 0.001}
    ]
    tag = {"kind": "ollama", "name": "library/synthetic", "tag": "tiny", "size_bytes": 100_000}
    shared_standin.post("/_local/upstreams/tags", tag)

    def made(environment: str = "local", service: dict[str, Any] | None = None, **changes: Any) -> Settings:
        folder = tmp_path / "environments"
        folder.mkdir(exist_ok=True)
        plain["services"]["tabular"] |= service or {}
        for key, value in changes.items():
            plain[key] = plain.get(key, {}) | value if isinstance(value, dict) else value
        (folder / "local.yaml").write_text(yaml.safe_dump(plain | {"environment": "local"}), encoding="utf-8")
        if environment != "local":
            other = plain | {"environment": environment, "provision": "terraform", "signing": {"key": ""}}
            (folder / f"{environment}.yaml").write_text(yaml.safe_dump(other), encoding="utf-8")
        return load.load(environment, folder)

    return made

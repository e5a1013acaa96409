"""Mounts: a folder appears read-only at a path that does not exist, for root and for others; rewriting elsewhere."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from scripts import process
from scripts.localcloud.run.mounts import FUSE, NAMESPACE, REWRITTEN, Bind, Mounter, detect, rewrite

ROOT = Path(__file__).parents[3]
LOOK = (
    "import os, pathlib, sys\n"
    "for target in sys.argv[1:]:\n"
    "    place = pathlib.Path(target)\n"
    "    print(sorted(each.name for each in place.iterdir()), os.getcwd(), os.getuid())\n"
    "    for name in ('new', 'seen'):\n"
    "        try: (place / name).write_text('x'); print('written')\n"
    "        except OSError as error: print(error.errno)\n"
)


def test_values_that_start_with_the_mount_path_are_rewritten() -> None:
    binds = [Bind(Path("/real/m"), "/models"), Bind(Path("/real/s"), "/models-small"), Bind(Path("/real/d"), "/a/b")]
    assert rewrite("/models", binds) == "/real/m"
    assert rewrite("/models/ollama", binds) == "/real/m/ollama"
    assert rewrite("/models-small/x", binds) == "/real/s/x"
    assert rewrite("/modelsX", binds) == "/modelsX"
    assert rewrite("see /models", binds) == "see /models"
    declared = {"P": "/a/b/c"}
    assert Mounter(REWRITTEN).environ(declared, binds) == {"P": "/real/d/c"}
    assert Mounter(NAMESPACE).environ(declared, binds) == Mounter(FUSE).environ(declared, binds) == declared


def test_a_simpler_way_works_where_a_better_one_does() -> None:
    best = Mounter(NAMESPACE, user_namespace=True)
    assert best.lowered(NAMESPACE) == best and best.lowered(REWRITTEN) == Mounter(REWRITTEN, user_namespace=True)
    with pytest.raises(ValueError, match="'fuse' do not work on this machine; the best kind here is 'namespace'"):
        best.lowered(FUSE)


@pytest.mark.process
def test_a_bind_appears_read_only_and_nothing_else_changes(tmp_path: Path) -> None:
    best = asyncio.run(detect())
    mounter = best.lowered(NAMESPACE) if best.mode == FUSE else best
    for name in ("source", "root"):
        (tmp_path / name).mkdir()
    (tmp_path / "source" / "seen").write_text("x", encoding="utf-8")
    inside = f"/mnt/modelshelf-{os.getpid()}"
    binds = [Bind(tmp_path / "source", target) for target in ("/modelshelf-test/deep", inside, f"{inside}-b")]
    shown = [bind.target if mounter.mode == NAMESPACE else str(bind.source) for bind in binds]
    argv = mounter.argv([sys.executable, "-c", LOOK, *shown], ROOT, binds, tmp_path / "root")
    lines = process.run(argv).stdout.splitlines()
    if mounter.mode == NAMESPACE:
        assert lines == [f"['seen'] {ROOT} {os.getuid()}", "30", "30"] * 3  # EROFS, for root too
    assert not Path("/modelshelf-test").exists() and not Path(inside).exists()


@pytest.mark.process
def test_an_ordinary_user_gets_a_mode_that_works(tmp_path: Path) -> None:
    """As uid 65534 when the tests run as root; the program is the system's, which that user can read."""
    python = "/usr/bin/python3"
    if os.getuid() != 0 or not Path(python).exists() or not shutil.which("setpriv"):
        python = sys.executable
    home = Path("/tmp") / f"modelshelf-{os.getpid()}"
    shutil.copytree(ROOT / "scripts", home / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    program = (
        "import asyncio, sys; from scripts.localcloud.run.mounts import detect; way = asyncio.run(detect());"
        " print(way.mode, way.user_namespace)"
    )
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if python != sys.executable else []
    try:
        for each in (home, *home.rglob("*")):  # whatever the umask was
            each.chmod(0o755)
        result = process.run([*drop, python, "-c", program], cwd=home)
    finally:
        shutil.rmtree(home)
    assert result.stdout.split() in ([FUSE, "True"], [NAMESPACE, "True"], [REWRITTEN, "False"])


@pytest.mark.process
def test_a_program_that_does_not_exist_is_told(tmp_path: Path) -> None:
    argv = Mounter(REWRITTEN).argv(["no-such-program"], tmp_path, [], tmp_path)
    result = process.run(argv, check=False)
    assert result.code == 127 and "cannot start 'no-such-program'" in result.stderr

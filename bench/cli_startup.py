"""How long `invoke --list` takes here, against bare Invoke with one empty task; alternating, so that both see the same
machine. Prints the ratio of the medians."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 15
BARE = "from invoke import task\n\n\n@task\ndef nothing(c):\n    '''Do nothing.'''\n"


def seconds(folder: Path) -> float:
    """The time of one `invoke --list` in a folder."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "invoke", "--list"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        bare = Path(name)
        (bare / "tasks.py").write_text(BARE, encoding="utf-8")
        seconds(ROOT), seconds(bare)
        pairs = [(seconds(ROOT), seconds(bare)) for _ in range(ROUNDS)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"invoke --list: {ours * 1000:.0f} ms, bare {theirs * 1000:.0f} ms, ratio {ours / theirs:.2f} (limit 1.5)")


if __name__ == "__main__":
    main()

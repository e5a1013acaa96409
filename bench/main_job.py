"""How long the main job takes: the first deploy, the second, and each against the bare command line.

Run: python bench/main_job.py [--runs N] [--json]
Uses a state folder and a port of its own; the models' wheel is taken from .local/wheels when it is there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=5, help="how many unchanged deploys to take the median of")
    options.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="modelshelf-bench-") as folder:
        figures = _measure(Path(folder), chosen.runs)
    print(json.dumps(figures) if chosen.json else "\n".join(_lines(figures)))


def _measure(folder: Path, runs: int) -> dict[str, Any]:
    environ = {**os.environ, "MODELSHELF_STATE": str(folder), "MODELSHELF_PORT": str(_free_port())}
    if (ROOT / ".local" / "wheels").is_dir():
        shutil.copytree(ROOT / ".local" / "wheels", folder / "wheels")
    try:
        first, summary = _timed(environ, "deploy", "--env", "local", "--json")
        again = [_timed(environ, "deploy", "--env", "local", "--json") for _ in range(runs)]
        bare, _ = _timed(environ, "--version")
    finally:
        _timed(environ, "local.down")
    assert all(not found["changed"] and found["upstream_bytes"] == 0 for _, found in again)
    return {
        "first_s": round(first, 2),
        "upstream_bytes": summary["upstream_bytes"],
        "steps": summary["steps"],
        "unchanged_s": round(statistics.median(seconds for seconds, _ in again), 2),
        "bare_invoke_s": round(bare, 3),
        "first_over_unchanged": round(first / statistics.median(seconds for seconds, _ in again), 1),
    }


def _timed(environ: dict[str, str], *arguments: str) -> tuple[float, Any]:
    began = time.perf_counter()
    argv = [str(Path(sys.executable).parent / "invoke"), *arguments]
    child = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    return seconds, json.loads(child.stdout) if "--json" in arguments else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _lines(figures: dict[str, Any]) -> list[str]:
    steps = ", ".join(f"{step['name']} {step['seconds']:.1f}" for step in figures["steps"])
    return [
        f"first deploy      {figures['first_s']:6.2f} s   ({figures['upstream_bytes']:,} bytes pulled; {steps})",
        f"unchanged deploy  {figures['unchanged_s']:6.2f} s   (0 bytes pulled)",
        f"bare invoke       {figures['bare_invoke_s']:6.2f} s",
        f"first / unchanged {figures['first_over_unchanged']:6.1f}",
    ]


if __name__ == "__main__":
    main()

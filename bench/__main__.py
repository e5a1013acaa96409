"""Run every benchmark one after the other: python -m bench. Each prints ratios; none fails on a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Run the scripts beside this one."""
    for script in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        print(f"\n{script.stem}", flush=True)
        subprocess.run([sys.executable, str(script), *sys.argv[1:]], check=True)


if __name__ == "__main__":
    main()

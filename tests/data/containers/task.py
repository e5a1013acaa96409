"""A job's container for the contract tests. Environment: FAIL_BEFORE_ATTEMPT, FAIL_INDEX, SLEEP_S, READ (a path)."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main() -> int:
    index, attempt = int(os.environ["CLOUD_RUN_TASK_INDEX"]), int(os.environ["CLOUD_RUN_TASK_ATTEMPT"])
    count = int(os.environ["CLOUD_RUN_TASK_COUNT"])
    if os.environ.get("READ"):
        print(json.dumps({"message": Path(os.environ["READ"]).read_text(encoding="utf-8")}), flush=True)
    print(
        json.dumps({"severity": "INFO", "message": "working", "index": index, "of": count, "args": sys.argv[1:]}),
        flush=True,
    )
    time.sleep(float(os.environ.get("SLEEP_S", "0")))
    if attempt < int(os.environ.get("FAIL_BEFORE_ATTEMPT", "0")) or os.environ.get("FAIL_INDEX") == str(index):
        print("this attempt fails", file=sys.stderr, flush=True)
        return 3
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

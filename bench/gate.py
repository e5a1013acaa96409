"""What a start, a sync with nothing to do and a rollback cost in a bucket of many files: calls and milliseconds.

Run: python bench/gate.py [--files 1000 --files 10000] [--json]
Publishes that many small files twice to a stand-in of its own; each figure is the median of several runs in one
process, without imports and without the connection's set-up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from requests.adapters import HTTPAdapter  # noqa: E402

from bench.publication import _post  # noqa: E402
from bench.storage_throughput import _daemon  # noqa: E402
from scripts.cloud.storage import Bucket, open_bucket  # noqa: E402
from scripts.lease import hold  # noqa: E402
from scripts.models import gate, rollback, shelf, signing, sync  # noqa: E402
from scripts.models.publish import Publisher  # noqa: E402
from scripts.models.sources.huggingface import HubSource  # noqa: E402
from scripts.settings.types import ModelSpec  # noqa: E402

RUNS = 7
SPEC = ModelSpec("many", "huggingface", "bench/many")


class Counting(HTTPAdapter):
    """Counts the requests of a session."""

    count = 0

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        """Send it and count it."""
        self.count += 1
        return super().send(request, *args, **options)


def main() -> int:
    """Measure, print a table or JSON."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--files", type=int, action="append", help="how many files a version has; may be repeated")
    options.add_argument("--json", action="store_true", help="print one JSON object")
    chosen, _ = options.parse_known_args()
    found = {files: measure(files) for files in chosen.files or (1_000, 10_000)}
    if chosen.json:
        print(json.dumps(found))
        return 0
    for files, figures in found.items():
        print(f"{files} files")
        for name, (calls, ms) in figures.items():
            print(f"  {name:<28}{calls:6} calls {ms:9.1f} ms")
    return 0


def measure(files: int) -> dict[str, tuple[int, float]]:
    """Calls and milliseconds of each thing, with this many files in each of two versions."""
    with tempfile.TemporaryDirectory(prefix="gate-bench-") as name, _daemon(Path(name) / "state") as (port, _):
        url, folder = f"http://127.0.0.1:{port}", Path(name)
        key = signing.make_key(folder / "keys")
        signer = signing.load_signer(f"file:{folder / 'keys' / signing.PRIVATE_NAME}")
        bucket = open_bucket("bench", url, "bench-gate")
        bucket.create("europe-west1", {})
        source = HubSource(f"{url}/upstream/huggingface", None)

        def publish() -> object:
            return sync.sync(bucket, [SPEC], {"huggingface": source}, signer, keys=(key,))

        def upstream(changed: int) -> None:
            recipe = {f"shards/{number:05}.json": 1024 + (number < changed) for number in range(files)}
            _post(url, "/_local/upstreams/tags", {"kind": "huggingface", "name": SPEC.source, "files": recipe})

        def back() -> object:
            todo = rollback.prepare(bucket, [key])
            with hold(bucket, shelf.LEASE, "a benchmark", seen=todo.seen.lease) as held:
                return rollback.carry_out(Publisher(bucket, signer, (key,), held, todo.serial), todo, "bench")

        upstream(0)
        first = _counted(bucket, publish, runs=1)
        noop = _counted(bucket, publish)
        start = _counted(bucket, lambda: gate.look(bucket, (SPEC,), (key,), hold_matters=False))
        upstream(1)
        accepted = ModelSpec(SPEC.name, SPEC.kind, SPEC.source, source.resolve(SPEC).revision)
        sync.sync(bucket, [accepted], {"huggingface": source}, signer, keys=(key,))
        return {
            "first sync": first,
            "sync with nothing to do": noop,
            "start-up gate": start,
            "rollback in the bucket": _counted(bucket, back, runs=1),
        }


def _counted(bucket: Bucket, work: Callable[[], object], runs: int = RUNS) -> tuple[int, float]:
    adapter = Counting(pool_connections=4, pool_maxsize=32)
    bucket._clients()[1].mount("http://", adapter)
    bucket.list("nothing/")  # the connection is there
    adapter.count, times = 0, []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return adapter.count // runs, statistics.median(times) * 1000


if __name__ == "__main__":
    raise SystemExit(main())

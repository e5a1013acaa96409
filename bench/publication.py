"""How fast a model is published, beside what people do by hand and beside what the machine can do at all.

Run: python bench/publication.py --size-mib 2048 --files 200 [--json]
One stand-in (upstream and bucket) in a temporary folder. In one run, each from a cold bucket in a process of its own:
sync; huggingface_hub to disk, then transfer_manager; the same, then `gcloud storage cp -r` where gcloud is present; and
the limits: upstream to nowhere, SHA-256, upload from memory, each over as many connections as the sync has.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.storage_throughput import _daemon  # noqa: E402
from scripts.cloud.storage_objects import FIELDS  # noqa: E402
from scripts.models import crew, spans  # noqa: E402

MIB = 1 << 20
MODEL = "bench/large"
LARGE = 2


def main() -> int:
    """Measure, print a table or JSON; with --role: be one of the measured processes."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--size-mib", type=int, default=512, help="bytes of the whole model")
    options.add_argument("--files", type=int, default=200, help="how many small files, beside two large ones")
    options.add_argument("--small-kib", type=int, default=256, help="bytes of a small file")
    options.add_argument("--json", action="store_true", help="print one JSON object")
    options.add_argument("--role", nargs=3, metavar=("NAME", "URL", "FOLDER"), help=argparse.SUPPRESS)
    chosen, _ = options.parse_known_args()
    if chosen.role:
        return _be(*chosen.role)
    found = measure(chosen.size_mib * MIB, chosen.files, chosen.small_kib << 10)
    print(json.dumps(found) if chosen.json else table(found))
    return 0


def table(found: dict[str, Any]) -> str:
    """The figures as plain text."""
    rows = [f"{found['size_mib']} MiB as {LARGE} large and {found['files']} small files"]
    for name, run in found["runs"].items():
        memory = f"{run['peak_mib']:5.0f} MiB peak" if run["peak_mib"] else ""
        rows.append(f"  {name:<34}{run['seconds']:7.2f} s {run['mib_s']:7.0f} MiB/s   {memory}")
    rows += [f"  {name:<34}{value:7.2f}" for name, value in found["ratios"].items()]
    return "\n".join(rows)


def measure(size_bytes: int, files: int, small_bytes: int) -> dict[str, Any]:
    """Run everything once; ratios: how much faster a sync is, and how near to the slowest of the limits."""
    large = (size_bytes - files * small_bytes) // LARGE
    recipe: dict[str, int] = {f"model-{number}.safetensors": large for number in range(LARGE)}
    recipe |= {f"shards/{number:04}.json": small_bytes for number in range(files)}
    runs: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="publication-bench-") as name, _daemon(Path(name) / "state") as (port, _):
        url = f"http://127.0.0.1:{port}"
        _post(url, "/_local/upstreams/tags", {"kind": "huggingface", "name": MODEL, "files": recipe})
        for role in ROLES:
            if role == "gcloud" and shutil.which("gcloud") is None:
                continue
            os.sync()  # what one run left in the page cache must not be written during the next
            runs[ROLES[role][0]] = _measured(role, url, Path(name) / role, size_bytes)
    sync, limits = runs["sync"], [runs[ROLES[role][0]]["mib_s"] for role in ("null", "sha256", "memory")]
    ratios = {"of the slowest limit": sync["mib_s"] / min(limits)}
    ratios["of an upload without MD5"] = sync["mib_s"] / runs[ROLES["bare"][0]]["mib_s"]
    for role in ("manager", "gcloud"):
        if ROLES[role][0] in runs:
            ratios[f"times as fast as {role}"] = runs[ROLES[role][0]]["seconds"] / sync["seconds"]
    return {"size_mib": size_bytes // MIB, "files": files, "runs": runs, "ratios": ratios}


def _measured(role: str, url: str, folder: Path, size_bytes: int) -> dict[str, float]:
    folder.mkdir()
    argv = [sys.executable, str(Path(__file__)), "--role", role, url, str(folder)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=_environment(url))
    shutil.rmtree(folder, ignore_errors=True)
    if done.returncode != 0:
        raise SystemExit(f"{role} failed:\n{done.stderr[-3000:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    return {**told, "mib_s": size_bytes / MIB / told["seconds"]}


def _environment(url: str) -> dict[str, str]:
    known = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**known, "HF_ENDPOINT": f"{url}/upstream/huggingface", "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}


def _be(role: str, url: str, folder: str) -> int:
    """Do what is measured, in this process, and tell how long it took and how much memory it had."""
    work = ROLES[role][1](url, Path(folder))  # imports, keys and buckets are made before the clock starts
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak_mib = max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, children) / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": peak_mib}))
    return 0


def _sync(url: str, folder: Path) -> Callable[[], object]:
    from scripts.cloud.storage import open_bucket
    from scripts.models import signing
    from scripts.models.sources.huggingface import HubSource
    from scripts.models.sync import sync
    from scripts.settings.types import ModelSpec

    key = signing.make_key(folder / "keys")
    signer = signing.load_signer(f"file:{folder / 'keys' / signing.PRIVATE_NAME}")
    bucket = open_bucket("bench", url, "bench-sync")
    bucket.create("europe-west1", {})
    source = HubSource(f"{url}/upstream/huggingface", None)
    spec = ModelSpec("large", "huggingface", MODEL)
    return lambda: sync(bucket, [spec], {"huggingface": source}, signer, keys=(key,))


def _download(folder: Path) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(MODEL, local_dir=folder / "model", max_workers=crew.CONNECTIONS))


def _manager(url: str, folder: Path) -> Callable[[], object]:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage
    from google.cloud.storage import transfer_manager

    options = {"api_endpoint": url}
    client = storage.Client("bench", credentials=AnonymousCredentials(), client_options=options)  # type: ignore[no-untyped-call]
    bucket = client.create_bucket("bench-manager")

    def work() -> None:
        home = _download(folder)
        names = [
            str(path.relative_to(home)) for path in home.rglob("*") if path.is_file() and ".cache" not in path.parts
        ]
        large = [name for name in names if (home / name).stat().st_size > spans.SPAN_BYTES]
        many = {"worker_type": transfer_manager.THREAD, "max_workers": crew.CONNECTIONS}
        small = sorted(set(names) - set(large))
        transfer_manager.upload_many_from_filenames(bucket, small, str(home), raise_exception=True, **many)
        for name in large:
            blob = bucket.blob(name)
            transfer_manager.upload_chunks_concurrently(str(home / name), blob, chunk_size=2 * spans.SPAN_BYTES, **many)

    return work


def _gcloud(url: str, folder: Path) -> Callable[[], object]:
    _post(url, "/storage/v1/b?project=bench", {"name": "bench-gcloud"})
    environment = {
        **os.environ, "CLOUDSDK_CONFIG": str(folder / "gcloud"), "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_PROJECT": "bench", "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{url}/storage/v1/",
    }  # fmt: skip

    def work() -> None:
        argv = [
            "gcloud",
            "storage",
            "cp",
            "-r",
            "--no-user-output-enabled",
            f"{_download(folder)}/*",
            "gs://bench-gcloud/",
        ]
        subprocess.run(argv, check=True, env=environment, capture_output=True)

    return work


def _null(url: str, folder: Path) -> Callable[[], object]:
    from scripts.models.sources.huggingface import HubSource
    from scripts.settings.types import ModelSpec

    source = HubSource(f"{url}/upstream/huggingface", None)
    found = source.resolve(ModelSpec("large", "huggingface", MODEL))
    pieces = [(file, span) for file in found.files if file.content is None for span in spans.spans(file.size_bytes)]

    def pull(piece: Any) -> None:
        file, span = piece
        for _ in source.open(found, file, span.start, span.stop):
            pass

    return lambda: _at_once(pieces, pull)


def _sha256(url: str, folder: Path) -> Callable[[], object]:
    sizes = _sizes(url)
    block = os.urandom(spans.SPAN_BYTES)

    def work() -> None:
        for size_bytes in sizes:
            digest = hashlib.sha256()
            for start in range(0, size_bytes, len(block)):
                digest.update(block[: size_bytes - start] if size_bytes - start < len(block) else block)

    return work


def _memory(url: str, folder: Path, fields: str = "") -> Callable[[], object]:
    sizes = _sizes(url)
    home = f"bench-memory-{len(fields)}"
    _post(url, "/storage/v1/b?project=bench", {"name": home})
    block = memoryview(os.urandom(spans.SPAN_BYTES))
    pieces = [(number, span) for number, size in enumerate(sizes) for span in spans.spans(size)]
    local = threading.local()

    def put(piece: Any) -> None:
        number, span = piece
        connection = getattr(local, "connection", None) or http.client.HTTPConnection(urlsplit(url).netloc)
        local.connection = connection
        name = quote(f"{number}/{span.start}", safe="")
        path = f"/upload/storage/v1/b/{home}/o?uploadType=media{fields}&name={name}"
        connection.request("POST", path, block[: span.size_bytes])
        answer = connection.getresponse()
        if answer.status != 200:
            raise SystemExit(f"upload failed: {answer.status} {answer.read()!r}")
        answer.read()

    return lambda: _at_once(pieces, put)


def _at_once(pieces: list[Any], work: Callable[[Any], None]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(crew.CONNECTIONS) as pool:
        list(pool.map(work, pieces))


def _sizes(url: str) -> list[int]:
    with_sizes = _get(url, f"/upstream/huggingface/api/models/{MODEL}?blobs=true")
    return [int(item["size"]) for item in with_sizes["siblings"]]


def _get(url: str, path: str) -> Any:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request("GET", path)
    return json.loads(connection.getresponse().read())


def _post(url: str, path: str, body: Any) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status} {answer.read()!r}")


ROLES: dict[str, tuple[str, Callable[[str, Path], Callable[[], object]]]] = {
    "null": ("limit: upstream to nowhere", _null),
    "sha256": ("limit: SHA-256, one core", _sha256),
    "memory": ("limit: upload from memory", _memory),
    # what the sync asks for: to make the MD5 that an answer shows otherwise costs the stand-in half of its time
    "bare": ("  the same, asking for no MD5", partial(_memory, fields=f"&fields={FIELDS}")),
    "sync": ("sync", _sync),
    "manager": ("hub to disk, transfer_manager", _manager),
    "gcloud": ("hub to disk, gcloud storage cp", _gcloud),
}


if __name__ == "__main__":
    raise SystemExit(main())

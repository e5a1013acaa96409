"""Takes the pictures of the console: ./dev python -m docs.screenshots

Writes docs/images/console-{light,dark,phone}.png. Needs Chromium. It deploys to a stand-in of its own (another state
folder, a free port), gives it a canary, a fault, an incident and some traffic, takes the pictures, and stops it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import socket
import struct
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

from scripts import process
from scripts.errors import OpsError, Refused

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
MOST_BYTES = 200_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=3000",
)  # fmt: skip
DARK = "--blink-settings=preferredColorScheme=0"
SHOTS = {
    "console-light": ("1360,1592",),
    "console-dark": ("1360,1592", DARK),
    "console-phone": ("390,1660",),
}
TRAFFIC_S = 24.0
_ALIKE = 40  # squared distance of two colours that nobody tells apart
BUCKET = "tabular-model-cache-local"
CHANNEL = {"type": "email", "displayName": "On call"}
POLICY = {
    "displayName": "Statement refused",
    "combiner": "OR",
    "severity": "ERROR",
    "documentation": {"links": [{"displayName": "Runbook", "url": "https://example.com/runbook#statement-refused"}]},
    "conditions": [
        {
            "displayName": "a gate refuses a signature",
            "conditionMatchedLog": {"filter": 'jsonPayload.message:"refused"'},
        }
    ],
}


def main() -> int:
    """Exit 3 when there is no Chromium, 1 when a picture is too large."""
    try:
        program = _browser()
        with tempfile.TemporaryDirectory(prefix="console-") as folder:
            _take(program, Path(folder))
    except OpsError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    return 0


def _browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        raise Refused("there is no Chromium on this machine", "Debian, Ubuntu: sudo apt install chromium")
    return found


def _take(program: str, folder: Path) -> None:
    port = _free_port()
    env = {**os.environ, "MODELSHELF_STATE": str(folder / "state"), "MODELSHELF_PORT": str(port)}
    url = f"http://127.0.0.1:{port}"
    invoke = [sys.executable, "-m", "invoke"]
    try:
        process.run([*invoke, "deploy", "--env", "local"], cwd=ROOT, env=env, on_line=print)
        _canary(url)
        _trouble(url)
        _traffic(url)
        IMAGES.mkdir(exist_ok=True)
        for name, (size, *more) in SHOTS.items():
            raw = folder / f"{name}.png"
            options = [*OPTIONS, *more, f"--user-data-dir={folder / name}", f"--window-size={size}"]
            process.run([program, *options, f"--screenshot={raw}", f"{url}/"], timeout_s=120)
            small = smaller(raw.read_bytes())
            if len(small) > MOST_BYTES:
                raise OpsError(f"{name}.png has {len(small)} bytes, at most {MOST_BYTES}", "Make its window smaller")
            (IMAGES / f"{name}.png").write_bytes(small)
            print(f"docs/images/{name}.png  {len(small)} bytes")
    finally:
        process.run([*invoke, "local.down"], cwd=ROOT, env=env, check=False)


def _canary(url: str) -> None:
    """A second revision that gets a tenth of the traffic."""
    address = f"{url}/apis/serving.knative.dev/v1/namespaces/modelshelf-local/services/tabular-service"
    service = json.loads(_fetch(address))
    stable = service["status"]["latestReadyRevisionName"]
    service["spec"]["template"]["metadata"].setdefault("labels", {})["release"] = "canary"
    service["spec"]["traffic"] = [
        {"revisionName": stable, "percent": 90},
        {"latestRevision": True, "percent": 10, "tag": "canary"},
    ]
    _fetch(address, json.dumps(service).encode(), "PUT")
    for _ in range(100):
        if len(json.loads(_fetch(address))["status"].get("traffic") or ()) == 2:
            return
        time.sleep(0.2)
    raise OpsError("the canary did not become ready", "Run: ./dev invoke local.logs")


def _trouble(url: str) -> None:
    """A fault that has happened, and an alert that has fired."""
    _send(f"{url}/_local/faults", {"on": "storage.objects.insert", "kind": "503", "nth": 2, "bucket": BUCKET})
    _send(f"{url}/_local/faults", {"on": "upstream.ollama.*", "kind": "slow", "count": "forever"})
    for number in range(3):
        with contextlib.suppress(urllib.error.HTTPError):
            address = f"{url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=notes/{number}.txt"
            _send(address, {"note": number})
    with contextlib.suppress(urllib.error.HTTPError):
        _fetch(f"{url}/storage/v1/b/{BUCKET}/o/notes%2Fnone.txt")
    project = "projects/modelshelf-local"
    channel = _send(f"{url}/v3/{project}/notificationChannels", {**CHANNEL, "labels": {"email_address": "on-call"}})
    _send(f"{url}/v3/{project}/alertPolicies", {**POLICY, "notificationChannels": [channel["name"]]})
    entry = {"jsonPayload": {"message": "statement refused: unknown key"}, "severity": "ERROR"}
    given = {"logName": f"{project}/logs/gate", "resource": {"type": "global"}, "entries": [entry]}
    _send(f"{url}/v2/entries:write", given)
    _send(f"{url}/_local/clock", {"advance_s": 90})


def _traffic(url: str) -> None:
    """Requests in waves, so that the sparkline has something to show; the page must be open for it to be drawn."""
    _fetch(f"{url}/")
    began = time.monotonic()
    body = json.dumps({"texts": ["a cat", "a kitten"]}).encode()
    while (spent_s := time.monotonic() - began) < TRAFFIC_S:
        _fetch(f"{url}/run/tabular-service/embed", body, "POST")
        time.sleep(0.02 + 0.12 * (1 + math.sin(spent_s)) * (1 + math.sin(spent_s * 2.7)))


def _send(url: str, given: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(_fetch(url, json.dumps(given).encode(), "POST"))
    return answer


def _fetch(url: str, body: bytes | None = None, method: str = "GET") -> bytes:
    headers = {"content-type": "application/json", "accept": "text/html, application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method), timeout=60) as answer:
        content: bytes = answer.read()
        return content


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def smaller(png: bytes) -> bytes:
    """The same picture with a palette of 256 of its colours: RGB of 8 bits in, a third of the bytes out."""
    width, height, rows = _pixels(png)
    counts = Counter(row[at : at + 3] for row in rows for at in range(0, width * 3, 3))
    palette = _palette([colour for colour, _ in counts.most_common()])
    index = {colour: min(range(len(palette)), key=lambda at: _distance(palette[at], colour)) for colour in counts}
    lines = b"".join(b"\0" + bytes(index[row[at : at + 3]] for at in range(0, width * 3, 3)) for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", b"".join(palette)), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _palette(colours: list[bytes]) -> list[bytes]:
    """The most frequent ones of those that differ from each other: a small mark keeps its colour beside much text."""
    chosen: list[bytes] = []
    for colour in colours:
        if len(chosen) < 256 and all(_distance(colour, each) > _ALIKE for each in chosen):
            chosen.append(colour)
    return chosen + [each for each in colours if each not in chosen][: 256 - len(chosen)]


def _distance(one: bytes, other: bytes) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _pixels(png: bytes) -> tuple[int, int, list[bytes]]:
    """Width, height and the rows of a PNG with 8 bits of RGB (PNG specification, section 9: filters)."""
    at, data = 8, b""
    width = height = 0
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at : at + 8])
        content = png[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", content[:10])
            if (depth, colour) != (8, 2):
                raise OpsError(f"expected a PNG with 8 bits of RGB, found depth {depth}, colour type {colour}")
        elif kind == b"IDAT":
            data += content
        at += 12 + size
    flat, stride, rows = zlib.decompress(data), width * 3, [bytes(width * 3)]
    for start in range(0, len(flat), stride + 1):
        rows.append(_unfiltered(flat[start], flat[start + 1 : start + 1 + stride], rows[-1]))
    return width, height, rows[1:]


def _unfiltered(kind: int, line: bytes, above: bytes) -> bytes:
    if kind == 0:
        return line
    out = bytearray(3) + bytearray(line)  # three zeros stand for the pixel before the first
    for at, up in enumerate(above):
        left, corner = out[at], above[at - 3] if at >= 3 else 0
        if kind == 1:
            guess = left
        elif kind == 2:
            guess = up
        elif kind == 3:
            guess = (left + up) // 2
        else:
            near = left + up - corner
            guess = min((left, up, corner), key=lambda value: abs(near - value))
        out[at + 3] = (out[at + 3] + guess) & 255
    return bytes(out[3:])


if __name__ == "__main__":
    raise SystemExit(main())

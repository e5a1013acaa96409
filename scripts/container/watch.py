"""What an instance sees: the bucket through its API, and the files of the trusted version on the mount.

With VERIFY=full every byte is hashed as the mount shows it before its version may serve, whatever sizes and checksums
the bucket tells. A file with other bytes is told as an error, and the version below serves.
"""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.container import logs, mount, stores
from scripts.container.stores import Stores
from scripts.errors import AccessDenied, OpsError, Unreachable
from scripts.models import gate, layout
from scripts.models.gate import Look
from scripts.models.manifest import ModelFile
from scripts.models.statements import Problem, Trusted
from scripts.settings.runtime import Runtime
from scripts.settings.types import Kind

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket

MOUNT = "mount"
START_LIMIT_S = 235.0  # Cloud Run gives a start 240 s
_CHUNK_BYTES = 1 << 20
_READERS = 4
_PROVE = "Run: ./dev invoke cache.verify --full --env ENVIRONMENT (it tells whether the bucket holds these bytes)"


class Watch:
    """Looks at the bucket, and reports each thing there that does not hold up once. began: the start of the process."""

    def __init__(self, runtime: Runtime, bucket: Bucket, began: float) -> None:
        self._runtime = runtime
        self._bucket = bucket
        self._deadline = began + START_LIMIT_S
        self._told: set[str] = set()
        self._proven: set[str] = set()
        self.rejected: set[str] = set()

    def look(self) -> Look:
        """Read, verify, decide (gate.look). With VERIFY=full a trusted version in it has been hashed on the mount.

        Raises what visible() raises, and OpsError when there is no time to hash all of it.
        """
        runtime = self._runtime
        while True:
            found = gate.look(
                self._bucket, runtime.models, runtime.trusted_keys, min_serial=runtime.min_serial,
                pinned_version=runtime.pinned_version, hold_matters=False, rejected=self.rejected,
            )  # fmt: skip
            for problem in found.problems:
                self._tell("not trusted in the bucket", problem)
            trusted = found.reading.trusted
            if runtime.verify != "full" or trusted is None or self._holds(trusted):
                return found
            self.rejected.add(trusted.version)

    def _tell(self, message: str, problem: Problem) -> None:
        if problem.line() not in self._told:
            self._told.add(problem.line())
            logs.error(
                message, object=problem.object, error=problem.what, kind=problem.kind,
                remedy=problem.remedy.replace("ENVIRONMENT", self._runtime.environment), bucket=self._runtime.bucket,
            )  # fmt: skip

    def _holds(self, trusted: Trusted) -> bool:
        """Whether every byte of a version is what was signed, hashed once; each file that is not is told."""
        if trusted.version in self._proven:
            return True
        began = time.monotonic()
        size_bytes = visible(self._runtime, trusted, self._deadline - began)
        where, files = folders(self._runtime, trusted.version), trusted.manifest.objects()
        kinds = {f"{model.prefix}/{file.path}": model.kind for model in trusted.manifest.models for file in model.files}
        with ThreadPoolExecutor(_READERS) as pool:
            faults = pool.map(lambda name: self._fault(on_mount(where, kinds[name], name), files[name]), files)
            found = [Problem(name, what, _PROVE, "bytes") for name, what in zip(files, faults, strict=True) if what]
        for problem in found:
            self._tell("not trusted on the mount", problem)
        if not found:
            self._proven.add(trusted.version)
            logs.info(
                "every byte verified", manifest_version=trusted.version, serial=trusted.serial, size_bytes=size_bytes,
                bucket=self._runtime.bucket, source=MOUNT, duration_s=time.monotonic() - began,
            )  # fmt: skip
        return not found

    def _fault(self, path: Path, file: ModelFile) -> str:
        digest = hashlib.sha256()
        try:
            with path.open("rb") as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    if time.monotonic() > self._deadline:
                        remedy = "Set cache.verify: metadata in the environment file, and deploy again."
                        raise OpsError(f"VERIFY=full: the time of a start is over while {path} was hashed", remedy)
        except OSError as error:
            return f"cannot be read on the mount ({error.strerror or error})"
        if digest.hexdigest() == file.sha256:
            return ""
        return f"has the sha256 {digest.hexdigest()} on the mount, signed was {file.sha256}"


def folders(runtime: Runtime, version: str) -> Stores:
    """Where the mount shows a version."""
    return Stores(runtime.ollama_models / version, runtime.sbert_home / version, version)


def on_mount(where: Stores, kind: Kind, object_name: str) -> Path:
    """Where the mount shows an object of a version."""
    inside = object_name.removeprefix(layout.folder(kind, where.version)).removeprefix("/")
    return where.folder(kind) / inside


def visible(runtime: Runtime, trusted: Trusted, left_s: float) -> int:
    """Wait until the mount shows every file of a version with its size; returns their bytes. left_s: of the start.

    Raises Unreachable when it does not, AccessDenied when a permission is missing.
    """
    where = folders(runtime, trusted.version)
    expected = (
        stores.Expected(on_mount(where, model.kind, f"{model.prefix}/{file.path}"), file.size_bytes)
        for model in trusted.manifest.models
        for file in model.files
    )

    def tell(problem: str) -> None:
        logs.warning("waiting for the mount", error=problem, manifest_version=trusted.version, bucket=runtime.bucket)

    timeout_s = min(stores.VISIBLE_TIMEOUT_S, max(5.0, left_s), float(runtime.wait_timeout_s))
    try:
        return stores.wait_visible(expected, bucket=runtime.bucket, timeout_s=timeout_s, on_wait=tell)
    except AccessDenied:
        raise
    except Unreachable:
        if mount.check(runtime.mount_path, runtime.bucket).empty:
            raise mount.not_the_bucket(runtime.mount_path, runtime.bucket, trusted.version) from None
        raise

"""Checks that the bucket is really mounted where the environment says, before anything depends on it.

Present, a folder, listable, readable (one small file is really opened and read): each failure has its own message that
says what to look at in the service's YAML and in IAM. An empty folder is no failure: the bucket may be empty, which is
a miss. The check runs with a time limit of its own, because a dead FUSE daemon answers no call at all.

Raises (exit code 4): Unreachable for a mount that is missing, not a folder, broken or silent; AccessDenied when a
permission is missing.
"""

from __future__ import annotations

import errno
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import AccessDenied, OpsError, Unreachable

TIMEOUT_S = 20.0

_PROBES = ("manifest.json", ".done", "holds.json")
_PROBE_BYTES = 4096
_YAML = (
    "Check the service's YAML (run: invoke render --env ENVIRONMENT): spec.template.spec.volumes has the csi driver "
    "gcsfuse.run.googleapis.com with volumeAttributes.bucketName {bucket}, the container's volumeMounts has "
    "mountPath {path}, and the execution environment is gen2. Then run: invoke deploy --env ENVIRONMENT"
)
_IAM = (
    "Give the service's account roles/storage.objectViewer on the bucket {bucket} (with a CMEK key, also decrypt for "
    "the storage agent), see: gcloud storage buckets get-iam-policy gs://{bucket}. "
    "Then run: invoke deploy --env ENVIRONMENT"
)
_BROKEN = (
    "Cloud Storage FUSE answered with an error: check that the bucket {bucket} exists and that the service's account "
    "has roles/storage.objectViewer on it, then deploy again. In an emergency serve without the shared volume: set "
    "cache.enabled to false and run: invoke deploy --env ENVIRONMENT"
)


@dataclass(frozen=True)
class Mount:
    """A mount that answered. empty: it lists no entry. read: the file that was read, empty when there is none yet."""

    path: Path
    empty: bool
    read: str


def check(path: Path, bucket: str, timeout_s: float = TIMEOUT_S) -> Mount:
    """Look at a mount as described above; seconds at most timeout_s."""
    found: list[Mount] = []
    failed: list[Exception] = []

    def look() -> None:
        try:
            found.append(_look(path, bucket))
        except Exception as error:  # carried to the caller's thread below
            failed.append(error)

    # a thread of its own: a call into a dead FUSE mount cannot be interrupted, only left behind
    looker = threading.Thread(target=look, name="mount check", daemon=True)
    looker.start()
    looker.join(timeout_s)
    if failed:
        raise failed[0]
    if not found:
        message = f"the mount {path} (bucket {bucket}) did not answer within {timeout_s:g} s"
        raise Unreachable(message, _remedy(_BROKEN, path, bucket))
    return found[0]


def not_the_bucket(path: Path, bucket: str, version: str) -> Unreachable:
    """What to say of an empty folder when the bucket holds a version: something else is mounted there, or nothing."""
    message = f"{path} is empty, but the bucket {bucket} holds the version {version}: it is not what is mounted there"
    return Unreachable(message, _remedy(_YAML, path, bucket))


def _look(path: Path, bucket: str) -> Mount:
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)  # is_dir() would hide what went wrong
        entries = _names(path) if is_folder else []
    except FileNotFoundError:
        message = f"nothing is mounted at {path}: the folder does not exist (expected the bucket {bucket})"
        raise Unreachable(message, _remedy(_YAML, path, bucket)) from None
    except OSError as error:
        raise _failure(error, path, path, bucket, "list") from error
    if not is_folder:
        message = f"{path} is not a folder (expected the mounted bucket {bucket})"
        raise Unreachable(message, _remedy(_YAML, path, bucket))
    return Mount(path, not entries, _read_one(path, entries, bucket))


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def _read_one(path: Path, entries: list[str], bucket: str) -> str:
    """Read the start of the first small file there is, and return its name; the listing alone proves nothing."""
    for name in _candidates(path, entries, bucket):
        try:
            with (path / name).open("rb", buffering=0) as stream:
                stream.read(_PROBE_BYTES)
            return name
        except (FileNotFoundError, IsADirectoryError):
            continue  # an object that went away after the listing
        except OSError as error:
            raise _failure(error, path / name, path, bucket, "read") from error
    return ""


def _candidates(path: Path, entries: list[str], bucket: str) -> list[str]:
    names = [name for name in _PROBES if name in entries]
    for folder in ("manifests", "statements"):
        if folder in entries:
            try:
                names += [f"{folder}/{name}" for name in _names(path / folder)[:3]]
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise _failure(error, path / folder, path, bucket, "list") from error
    return names


def _failure(error: OSError, place: Path, path: Path, bucket: str, verb: str) -> OpsError:
    where = f"{place} (bucket {bucket})"
    if error.errno in (errno.EACCES, errno.EPERM):
        return AccessDenied(f"not allowed to {verb} {where}: {error.strerror}", _remedy(_IAM, path, bucket))
    if error.errno == errno.ENOTCONN:
        return Unreachable(f"the mount {where} is gone: its FUSE process ended", _remedy(_BROKEN, path, bucket))
    return Unreachable(f"cannot {verb} {where}: {error.strerror or error}", _remedy(_BROKEN, path, bucket))


def _remedy(text: str, path: Path, bucket: str) -> str:
    return text.format(path=path, bucket=bucket)

"""The mount options of a Cloud Storage volume (`volumeAttributes.mountOptions`), as gcsfuse reads its flags.

Source of names, defaults and units: gcsfuse, cfg/params.yaml. Options are separated by commas, written without `--`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

TTL_S = 60.0
NEGATIVE_TTL_S = 5.0
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_TRUE, _FALSE = ("", "true", "t", "1"), ("false", "f", "0")
# The paths of gcsfuse's configuration file, which Cloud Run's own documentation uses too.
_ALIASES = {
    "metadata-cache:ttl-secs": "metadata-cache-ttl-secs",
    "metadata-cache:negative-ttl-secs": "metadata-cache-negative-ttl-secs",
}
# Known to gcsfuse, and without a counterpart here: they are taken and change nothing.
_IGNORED = """
    app-name billing-project cache-dir client-protocol enable-atomic-rename-object enable-buffered-read
    enable-metadata-prefetch enable-nonexistent-type-cache enable-streaming-writes file-cache-cache-file-for-range-read
    file-cache-download-chunk-size-mb file-cache-enable-parallel-downloads file-cache-max-parallel-downloads
    file-cache-max-size-mb file-cache-parallel-downloads-per-file http-client-timeout ignore-interrupts
    kernel-list-cache-ttl-secs limit-ops-per-sec log-format log-severity max-conns-per-host max-idle-conns-per-host
    max-retry-attempts max-retry-sleep metadata-cache-stat-cache-max-size-mb metadata-cache-type-cache-max-size-mb
    metadata-prefetch-on-mount precondition-errors read-global-max-blocks retry-multiplier sequential-read-size-mb
    stat-cache-capacity stat-cache-max-size-mb temp-dir type-cache-max-size-mb write-global-max-blocks
"""
WITHOUT_EFFECT = frozenset(_IGNORED.split())


class BadOption(ValueError):
    """An option that gcsfuse does not know, or a value that it cannot read."""


@dataclass(frozen=True)
class Options:
    """What of a mount can be chosen. ttl_s is infinite for -1; uid and gid None stand for the container's own.

    bandwidth_bytes_s is None without a limit. prefix is what only-dir adds to every name ("" or "a/b/").
    """

    implicit_dirs: bool = False
    ttl_s: float = TTL_S
    negative_ttl_s: float = NEGATIVE_TTL_S
    prefix: str = ""
    uid: int | None = None
    gid: int | None = None
    file_mode: int = 0o644
    dir_mode: int = 0o755
    read_only: bool = False
    rename_dir_limit: int = 0
    bandwidth_bytes_s: float | None = None

    @property
    def cached(self) -> bool:
        """Whether names are remembered at all: a TTL of 0 turns the negative cache off too."""
        return self.ttl_s > 0


def parse(text: str, read_only: bool) -> Options:
    """Read `mountOptions`; read_only is the volume's own field. Raises BadOption."""
    values: dict[str, Any] = {"read_only": read_only}
    deprecated: list[float] = []
    for option in filter(None, (each.strip() for each in text.split(","))):
        name, _, value = option.partition("=")
        name = _ALIASES.get(name, name).replace("_", "-")  # gcsfuse reads both
        if name in _READERS:
            key, read = _READERS[name]
            values[key] = _read(read, option, value)
        elif name in ("stat-cache-ttl", "type-cache-ttl"):
            deprecated.append(_read(_duration_s, option, value))
        elif name == "o":
            values["read_only"] = _fuse_option(value) or values["read_only"]
        elif name in ("ro", "rw"):
            values["read_only"] = name == "ro" or values["read_only"]
        elif name not in WITHOUT_EFFECT:
            raise BadOption(f"unknown flag: --{name}")
    if deprecated and "ttl_s" not in values:
        values["ttl_s"] = math.ceil(min(deprecated))
    return Options(**values)


def of_volume(csi: Mapping[str, Any]) -> Options:
    """The options of a `csi` volume source. Raises BadOption."""
    attributes = csi.get("volumeAttributes") or {}
    return parse(str(attributes.get("mountOptions") or ""), bool(csi.get("readOnly")))


def _read(read: Callable[[str], Any], option: str, value: str) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise BadOption(f"invalid value in the mount option '{option}': {error}") from None


def _boolean(text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError("expected true or false")
    return text.lower() in _TRUE


def _seconds(text: str) -> float:
    number = int(text) if re.fullmatch(r"-?\d{1,12}", text) else -2
    if number < -1:
        raise ValueError("expected whole seconds, 0 for no caching or -1 for no expiry")
    return math.inf if number == -1 else float(number)


def _duration_s(text: str) -> float:
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("expected a duration like 60s or 1h30m")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def _folder(text: str) -> str:
    parts = text.strip("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError("expected a folder of the bucket")
    return "/".join(parts) + "/"


def _mode(text: str) -> int:
    if not re.fullmatch(r"[0-7]{1,4}", text):
        raise ValueError("expected permissions in octal, like 644")
    return int(text, 8) & 0o777


def _identity(text: str) -> int | None:
    if not re.fullmatch(r"-1|\d{1,9}", text):
        raise ValueError("expected a number, or -1 for the container's own")
    return None if text == "-1" else int(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise ValueError("expected a number from 0 on")
    return int(text)


def _bandwidth(text: str) -> float | None:
    if not re.fullmatch(r"-1|\d{1,15}(\.\d+)?", text) or float(text) == 0:
        raise ValueError("expected bytes per second, or -1 for no limit")
    return None if text == "-1" else float(text)


def _fuse_option(text: str) -> bool:
    if text in ("ro", "rw"):
        return text == "ro"
    if text in ("allow_other", "noexec", "nosuid", "nodev", "noatime", "default_permissions"):
        return False
    raise BadOption(f"unknown FUSE option: -o {text}")


_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "implicit-dirs": ("implicit_dirs", _boolean),
    "metadata-cache-ttl-secs": ("ttl_s", _seconds),
    "metadata-cache-negative-ttl-secs": ("negative_ttl_s", _seconds),
    "only-dir": ("prefix", _folder),
    "uid": ("uid", _identity),
    "gid": ("gid", _identity),
    "file-mode": ("file_mode", _mode),
    "dir-mode": ("dir_mode", _mode),
    "rename-dir-limit": ("rename_dir_limit", _count),
    "limit-bytes-per-sec": ("bandwidth_bytes_s", _bandwidth),
}

"""Names of everything the cache keeps in a bucket, and the only place that makes or judges them.

manifest.json .done holds.json · manifests/<version>.{json,done} · statements/<serial>.dsse.json ·
ollama/<version>/… · sbert/<version>/models--ORG--NAME/… · .tmp/<version>/… · leases/ · audit/
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from scripts.errors import SYNC, BadInput
from scripts.settings.types import Kind

MANIFEST_COPY = "manifest.json"
DONE_COPY = ".done"
HOLDS = "holds.json"
MANIFESTS = "manifests/"
STATEMENTS = "statements/"
TMP = ".tmp/"
STORES: dict[Kind, str] = {"ollama": "ollama", "huggingface": "sbert"}

# Cloud Storage: an object name is 1 to 1,024 bytes of UTF-8.
MAX_NAME_BYTES = 1024
# Room for one commit a second for longer than anybody runs this, and still an exact number in every JSON reader.
MAX_SERIAL = 10**15 - 1

_VERSION = re.compile(r"(\d{8}T\d{6}Z)-([0-9a-f]{8})")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PART = re.compile(r"parts/([0-9a-f]{40,64})/(0|[1-9]\d{0,15})-([1-9]\d{0,15})")
_SERIAL = re.compile(r"[1-9][0-9]{0,14}")
_STAMP = "%Y%m%dT%H%M%SZ"


def is_version(text: str) -> bool:
    """Whether text is a version name: an existing UTC second and eight hex digits, `20261120T020000Z-3f9a1c2b`."""
    found = _VERSION.fullmatch(text) if text.isascii() else None
    if found is None:
        return False
    try:
        datetime.strptime(found[1], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


def check_version(text: str, place: str = "version") -> str:
    """The version name itself; raises BadInput with the place when it is none."""
    if not is_version(text):
        raise BadInput(
            f"{place}: {_shown(text)} is not a version name (expected a form like 20261120T020000Z-3f9a1c2b)",
            "Run: ./dev invoke cache.list --env ENVIRONMENT",
        )
    return text


def new_version(identity: str, now: datetime, existing: Iterable[str]) -> str:
    """A version name for content whose identity is a hex digest, later as text than every existing version name.

    The time is `now` unless a version of that second or later exists (a clock that runs behind): then one second
    after the newest, so that names keep sorting in the order of their making.
    """
    moment = now.astimezone(UTC).replace(microsecond=0)
    stamps = [found[1] for found in map(_VERSION.fullmatch, filter(is_version, existing)) if found]
    if stamps:
        newest = datetime.strptime(max(stamps), _STAMP).replace(tzinfo=UTC)
        moment = max(moment, newest + timedelta(seconds=1))
    return f"{moment.strftime(_STAMP)}-{identity[:8]}"


def check_path(text: str, place: str) -> str:
    """A relative path that may become part of an object name; raises BadInput naming the place and what is wrong."""
    wrong = _path_fault(text)
    if wrong:
        raise BadInput(
            f"{place}: {_shown(text)} {wrong} (expected a relative path like blobs/sha256-0a1b)",
            SYNC,
        )
    return text


def _path_fault(text: str) -> str:
    if not text:
        return "is empty"
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if size > MAX_NAME_BYTES:
        return f"is {size} bytes long, more than the {MAX_NAME_BYTES} of an object name"
    if "\\" in text:
        return "contains a backslash"
    if _CONTROL.search(text):
        return "contains a NUL, a line end or another control character"
    if text.startswith("/") or re.match(r"[A-Za-z]:/", text):
        return "is absolute"
    segments = text.split("/")
    if "" in segments:
        return "has an empty segment"
    if any(segment in (".", "..") for segment in segments):
        return "contains a '.' or '..' segment"
    return ""


def folder(kind: Kind, version: str) -> str:
    """The folder of a version's store, without a final slash: `ollama/<version>`, `sbert/<version>`."""
    return f"{STORES[kind]}/{version}"


def model_prefix(kind: Kind, source: str, version: str) -> str:
    """Where a model's files are: the Ollama store as a whole, or the model's folder in the Hugging Face cache."""
    if kind == "ollama":
        return folder(kind, version)
    return f"{folder(kind, version)}/models--{source.replace('/', '--')}"


def tmp_folder(version: str) -> str:
    """The folder of a version in flight, with its final slash."""
    return f"{TMP}{version}/"


def part_name(version: str, digest: str, start: int, stop: int) -> str:
    """Where the bytes [start, stop) of a large file wait until they are composed; digest: what proves the whole."""
    return f"{tmp_folder(version)}parts/{digest}/{start}-{stop}"


def split_part(rest: str) -> tuple[str, int, int] | None:
    """Digest, start and stop from the rest of a part's name, or None when it has not that form."""
    found = _PART.fullmatch(rest)
    return (found[1], int(found[2]), int(found[3])) if found else None


def flight_name(version: str) -> str:
    """What is being published as this version; while it is there, unfinished work is."""
    return f"{tmp_folder(version)}flight.dsse.json"


def shares_folder(version: str) -> str:
    """Where each task of a publication tells what it placed."""
    return f"{tmp_folder(version)}shares/"


def share_name(version: str, index: int) -> str:
    """What one task placed."""
    return f"{shares_folder(version)}{index}.json"


def without_version(name: str, version: str) -> str:
    """The path of a version's object without the version: the same file has the same one in every version."""
    return name.replace(f"/{version}/", "/", 1)


def split_tmp(name: str) -> tuple[str, str] | None:
    """The version and the rest of a name under `.tmp/`, or None when it has not that form."""
    version, slash, rest = name.removeprefix(TMP).partition("/")
    return (version, rest) if name.startswith(TMP) and slash and rest and is_version(version) else None


def manifest_name(version: str) -> str:
    """The immutable manifest of a version."""
    return f"{MANIFESTS}{version}.json"


def done_name(version: str) -> str:
    """The immutable mark that every file of a version is in place."""
    return f"{MANIFESTS}{version}.done"


def statement_name(serial: int) -> str:
    """The commit with this serial."""
    return f"{STATEMENTS}{serial}.dsse.json"


def statement_serial(name: str) -> int | None:
    """The serial in a statement's object name; None for a name no writer here would make (007, a folder, 10^15)."""
    text = name.removeprefix(STATEMENTS).removesuffix(".dsse.json")
    return int(text) if _SERIAL.fullmatch(text) and name == f"{STATEMENTS}{text}.dsse.json" else None


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 120 else text[:119] + "…")

"""Reads a torch checkpoint (torch.save's ZIP archive) into numpy arrays, without torch and without running its pickle.

Layout (torch/serialization.py): NAME/data.pkl describes the tensors, NAME/data/KEY holds one storage each, not
compressed, NAME/byteorder says "little". Storages are read in the order of the file, each straight into the array that
is used: never the whole file at once, and no memory-mapping (see weights.py). Names inside the archive are only
compared, never used as paths. Nothing in the file is believed: members have to lie within the file, storages have to
have the size that the pickle says, tensors have to lie within their storage.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.container import torch_pickle
from scripts.container.torch_pickle import Storage, View

Floats = NDArray[np.float32]

_CHUNK_BYTES = 8 << 20
_MAX_PICKLE_BYTES = 16 << 20  # bge-m3's has 60 kB
_MAX_DIMENSIONS = 16
_MAX_NUMBER = 1 << 48  # of a size, a stride, an offset: numpy counts in 64 bits
_WIDTHS = {"bfloat16": 2} | {kind: np.dtype(kind).itemsize for kind in torch_pickle.KINDS.values() if kind[0] in "<|"}
_FLOATS = ("<f4", "<f2", "<f8", "bfloat16")
_LOCAL_HEADER = struct.Struct("<4s22xHH")


class OldFormat(ValueError):
    """Not an archive at all, but the single pickle that torch wrote before version 1.6."""


def read(path: Path, wanted: Callable[[str], bool]) -> tuple[dict[str, Floats], int]:
    """The wanted floating-point tensors as float32, and how many bytes were read for them.

    Raises OSError, OldFormat, torch_pickle.Forbidden when the pickle asks for more than tensors, ValueError saying what
    is wrong with the file.
    """
    with path.open("rb") as stream:
        archive = _Archive(stream, path.stat().st_size)
        views = {name: view for name, view in _described(archive).items() if wanted(name)}
        storages = {view.storage.key: view.storage for view in views.values()}
        for name, view in views.items():
            _check(name, view, storages[view.storage.key], archive)
        views = {name: view for name, view in views.items() if view.storage.kind in _FLOATS}
        keys = {view.storage.key for view in views.values()}
        archive.check_total(keys)
        arrays = {key: _floats(archive, storages[key]) for key in sorted(keys, key=archive.position)}
    return {name: _strided(view, arrays[view.storage.key]) for name, view in views.items()}, archive.read_bytes


class _Archive:
    """The members of the archive by their names below its one folder."""

    def __init__(self, stream: BufferedReader, size_bytes: int) -> None:
        self._stream = stream
        self._size_bytes = size_bytes
        self.read_bytes = 0
        start = stream.read(4)
        if start[:1] == b"\x80":
            raise OldFormat("PyTorch's format from before version 1.6")
        try:
            listed = zipfile.ZipFile(stream).infolist()
        except (zipfile.BadZipFile, NotImplementedError, OverflowError, struct.error) as error:
            kind = "a truncated or damaged archive" if start[:2] == b"PK" else "not a ZIP archive"
            raise ValueError(f"{kind} of {size_bytes} bytes ({error})") from error
        roots = {entry.filename.removesuffix("data.pkl") for entry in listed if entry.filename.endswith("/data.pkl")}
        if len(roots) != 1 or len({entry.filename for entry in listed}) != len(listed):
            raise ValueError(f"{len(roots)} members named data.pkl, expected one, and every name once")
        (root,) = roots
        self._entries = {each.filename[len(root) :]: each for each in listed if each.filename.startswith(root)}

    def size(self, name: str) -> int:
        return self._entry(name).file_size

    def check_total(self, keys: set[str]) -> None:
        """Members that share their bytes would need more memory than the file has bytes."""
        total = sum(self.size(f"data/{key}") for key in keys)
        if total > self._size_bytes:
            raise ValueError(f"its storages have {total} bytes together, the file {self._size_bytes}")

    def position(self, key: str) -> int:
        return self._entry(f"data/{key}").header_offset

    def small(self, name: str, limit_bytes: int, default: bytes | None = None) -> bytes:
        """A member that is read whole."""
        if name not in self._entries and default is not None:
            return default
        if self.size(name) > limit_bytes:
            raise ValueError(f"{name} has {self.size(name)} bytes, expected at most {limit_bytes}")
        content = bytearray(self.size(name))
        self.seek(name)
        self.fill(memoryview(content), name)
        return bytes(content)

    def seek(self, name: str) -> None:
        """Go to a member's first byte, after proving that all of it lies in the file."""
        entry = self._entry(name)
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.file_size != entry.compress_size:
            raise ValueError(f"{name} is compressed or encrypted, expected plain bytes")
        header = b""
        if entry.header_offset >= 0:  # zipfile moves them when bytes are missing before the directory
            self._stream.seek(entry.header_offset)
            header = self._stream.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
            raise ValueError(f"{name} does not begin at byte {entry.header_offset}, where the directory says")
        _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
        start = entry.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
        if start + entry.file_size > self._size_bytes:
            raise ValueError(f"{name} ends at byte {start + entry.file_size}, the file at {self._size_bytes}")
        self._stream.seek(start)

    def fill(self, target: memoryview, name: str) -> None:
        """Read on until the target is full."""
        for start in range(0, len(target), _CHUNK_BYTES):
            piece = target[start : start + _CHUNK_BYTES]
            if self._stream.readinto(piece) != len(piece):
                raise ValueError(f"the file ended within {name}")
        self.read_bytes += len(target)

    def _entry(self, name: str) -> zipfile.ZipInfo:
        if name not in self._entries:
            raise ValueError(f"it has no member {name[:80]!r}")
        return self._entries[name]


def _described(archive: _Archive) -> dict[str, View]:
    order = archive.small("byteorder", 16, b"little")  # archives from before torch 2.1 do not say it
    if order != b"little":
        raise ValueError(f"its numbers are stored {order.decode(errors='replace')}-endian")
    found: Any = torch_pickle.load(archive.small("data.pkl", _MAX_PICKLE_BYTES))
    if type(found) is not dict or not all(type(key) is str and type(each) is View for key, each in found.items()):
        raise ValueError("it holds something else than a dictionary of tensors")
    return found


def _check(name: str, view: View, known: Storage, archive: _Archive) -> None:
    """The tensor lies within its storage, the storage is its member; ValueError otherwise."""
    name = repr(name[:100])
    storage, size, stride = view.storage, view.size, view.stride
    found, count = archive.size(f"data/{storage.key}"), storage.count
    if storage != known or count < 0 or found != count * _WIDTHS[storage.kind]:
        raise ValueError(f"the storage of tensor {name} has {found} bytes, expected {count} of type {storage.kind}")
    lists = (size, stride, (view.offset,))
    if not all(
        type(each) is tuple and all(type(number) is int and 0 <= number < _MAX_NUMBER for number in each)
        for each in lists
    ):
        raise ValueError(f"tensor {name} has sizes, strides or an offset that are no natural numbers")
    if len(size) != len(stride) or len(size) > _MAX_DIMENSIONS:
        raise ValueError(f"tensor {name} has {len(size)} sizes and {len(stride)} strides")
    elements, last = 1, view.offset
    for length, step in zip(size, stride, strict=True):
        elements *= length
        last += (length - 1) * step
    # more elements than numbers would be one number shown many times: small in the file, huge when it is used
    if view.offset > count or (elements and (last >= count or elements > count)):
        raise ValueError(f"tensor {name} {list(size)} does not fit the {count} numbers of its storage")


def _floats(archive: _Archive, storage: Storage) -> Floats:
    """A storage as float32; other kinds are widened piece by piece, so that there is never a second whole."""
    member = f"data/{storage.key}"
    numbers = np.empty(storage.count, dtype=np.float32)
    archive.seek(member)
    if storage.kind == "<f4" and storage.count:
        archive.fill(numbers.data.cast("B"), member)
    elif storage.count:
        step = _CHUNK_BYTES // 8
        piece = np.empty(min(step, storage.count), dtype="<u2" if storage.kind == "bfloat16" else storage.kind)
        for start in range(0, storage.count, step):
            part = piece[: storage.count - start]
            archive.fill(part.data.cast("B"), member)
            if storage.kind == "bfloat16":
                part = (part.astype(np.uint32) << np.uint32(16)).view(np.float32)
            with np.errstate(over="ignore"):  # a double may be too large for a float: infinity, as torch has it
                numbers[start : start + step] = part
    return numbers


def _strided(view: View, numbers: Floats) -> Floats:
    if 0 in view.size:
        return np.empty(view.size, dtype=np.float32)
    steps = [step * numbers.itemsize for step in view.stride]
    return np.lib.stride_tricks.as_strided(numbers[view.offset :], view.size, steps)

"""Reads a model's files from the mount one after the other, in large sequential reads, and counts the bytes.

Memory-mapping is what most loaders do and is the slow way over Cloud Storage FUSE: every page fault becomes a small
request (gcsfuse issue 2828). read() into one buffer lets FUSE read ahead, and the tensors are views into that buffer.
Format: https://huggingface.co/docs/safetensors/index#format (little-endian header length, JSON header, data).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.container import torch_checkpoint
from scripts.container.torch_checkpoint import OldFormat
from scripts.container.torch_pickle import Forbidden
from scripts.errors import OpsError

Floats = NDArray[np.float32]

_CHUNK_BYTES = 8 << 20
_MAX_HEADER_BYTES = 100_000_000
_DAMAGED = "The published version is damaged. Publish it again: invoke sync --env ENVIRONMENT"
_FORBIDDEN = "Do not load this file with anything else either. Publish weights that you trust, best as safetensors."
_WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8}


@dataclass
class Reader:
    """Reads files below `folder` and adds up what it read; raises OpsError naming the file."""

    folder: Path
    served_bytes: int = field(default=0)

    def has(self, name: str) -> bool:
        """Whether a file exists (no bytes are read)."""
        return (self.folder / name).is_file()

    def data(self, name: str) -> bytearray:
        """A whole file, read sequentially."""
        path = self.folder / name
        try:
            with path.open("rb", buffering=0) as stream:
                buffer = bytearray(path.stat().st_size)
                view, filled = memoryview(buffer), 0
                while filled < len(buffer):
                    count = stream.readinto(view[filled : filled + _CHUNK_BYTES])
                    if not count:
                        raise OpsError(f"{path} ended after {filled} bytes; its size is {len(buffer)}", _DAMAGED)
                    filled += count
        except OSError as error:
            raise OpsError(f"cannot read the model file {path}: {error.strerror}", _DAMAGED) from error
        self.served_bytes += len(buffer)
        return buffer

    def json(self, name: str) -> Any:
        """A JSON file."""
        try:
            return json.loads(self.data(name))
        except (ValueError, RecursionError) as error:
            raise OpsError(f"{self.folder / name} is not JSON: {error}", _DAMAGED) from error

    def tensors(self, name: str) -> dict[str, Floats]:
        """All floating-point tensors of a safetensors file as float32; F32 ones are views, not copies."""
        buffer = self.data(name)
        try:
            return _parse(memoryview(buffer))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise OpsError(f"{self.folder / name} is not a safetensors file: {error}", _DAMAGED) from error

    def checkpoint(self, name: str, wanted: Callable[[str], bool]) -> dict[str, Floats]:
        """The wanted floating-point tensors of a torch checkpoint as float32. Raises OldFormat for other than ZIP."""
        path = self.folder / name
        try:
            tensors, read_bytes = torch_checkpoint.read(path, wanted)
        except OSError as error:
            raise OpsError(f"cannot read the model file {path}: {error.strerror or error}", _DAMAGED) from error
        except OldFormat:
            raise
        except Forbidden as error:
            raise OpsError(f"{path} is refused: {error}", _FORBIDDEN) from error
        except ValueError as error:
            raise OpsError(f"{path} is not a torch checkpoint: {error}", _DAMAGED) from error
        self.served_bytes += read_bytes
        return tensors


def _parse(content: memoryview) -> dict[str, Floats]:
    if len(content) < 8:
        raise ValueError(f"{len(content)} bytes, expected at least 8")
    length = int.from_bytes(content[:8], "little")
    if length > min(_MAX_HEADER_BYTES, len(content) - 8):
        raise ValueError(f"the header says it is {length} bytes long, the file has {len(content)}")
    header = json.loads(bytes(content[8 : 8 + length]))
    body = content[8 + length :]
    return {
        name: _tensor(name, entry, body)
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] != "I64"  # position ids of old exports: computed, not read
    }


def _tensor(name: str, entry: dict[str, Any], body: memoryview) -> Floats:
    kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if kind not in _WIDTHS:
        raise ValueError(f"tensor {name} has type {kind}, expected one of {', '.join(sorted(_WIDTHS))}")
    count = math.prod(shape)
    if not 0 <= start <= end <= len(body) or end - start != count * _WIDTHS[kind]:
        raise ValueError(f"tensor {name} {kind}{shape} does not fit bytes {start} to {end} of {len(body)}")
    raw = body[start:end]
    if kind == "BF16":  # the upper half of a float32
        halves = np.frombuffer(raw, dtype="<u2").astype(np.uint32)
        return (halves << np.uint32(16)).view(np.float32).reshape(shape)
    stored = np.frombuffer(raw, dtype={"F64": "<f8", "F32": "<f4", "F16": "<f2"}[kind]).reshape(shape)
    return np.require(stored, dtype=np.float32, requirements=["ALIGNED"])

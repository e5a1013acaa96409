"""Reads the pickle inside a torch checkpoint without ever importing, calling or building what it names.

Pickle is a small program for a stack machine, and Python's own machine runs whatever the file says. This one knows the
instructions that torch.save writes for a dictionary of tensors and answers each name with a description: a tensor
becomes a View of a Storage, both of plain values that nobody has checked yet (torch_checkpoint.py does). Instructions:
https://docs.python.org/3/library/pickletools.html. What torch writes: torch/serialization.py, torch/_utils.py.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_TENSOR = "torch._utils._rebuild_tensor_v2"
_PARAMETER = "torch._utils._rebuild_parameter"
_ORDERED = "collections.OrderedDict"
# numpy's names of the numbers in a storage, little-endian; bfloat16, which numpy lacks, is the upper half of a float32
KINDS = {
    "torch.FloatStorage": "<f4", "torch.HalfStorage": "<f2", "torch.DoubleStorage": "<f8",
    "torch.BFloat16Storage": "bfloat16", "torch.LongStorage": "<i8", "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2", "torch.CharStorage": "|i1", "torch.ByteStorage": "|u1", "torch.BoolStorage": "|b1",
}  # fmt: skip
_ALLOWED = {_TENSOR, _PARAMETER, _ORDERED, *KINDS}


class Forbidden(ValueError):
    """The file asks for something that only a program could want."""


@dataclass(frozen=True)
class Storage:
    """A run of `count` numbers of one kind (a value of KINDS) in the archive's member `key`."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True)
class View:
    """A tensor: sizes and strides, counted in numbers, from `offset` on in a storage. Unchecked values."""

    storage: Storage
    offset: Any
    size: Any
    stride: Any


@dataclass(frozen=True)
class _Name:
    """An importable name, which is not imported."""

    full: str


def load(program: bytes) -> Any:
    """What the program builds. Raises Forbidden for a name or an instruction beyond those, ValueError for nonsense."""
    machine = _Machine()
    try:
        for instruction, argument, _ in pickletools.genops(program):
            if instruction.name == "STOP":
                return machine.pop()
            machine.step(instruction.name, argument)
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError(f"its pickle is malformed: {type(error).__name__} {error}") from error
    raise ValueError("its pickle has no end")


class _Machine:
    """Stack, marks and memory; a step takes one instruction."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memory: dict[int, Any] = {}

    def pop(self) -> Any:
        return self._stack.pop()

    def step(self, instruction: str, argument: Any) -> None:
        if instruction in _SKIPPED:
            return
        if instruction in _LITERALS:
            self._stack.append(argument)
        elif instruction in _CONSTANTS:
            self._stack.append(_CONSTANTS[instruction]())
        elif instruction in _STEPS:
            _STEPS[instruction](self, argument)
        else:
            raise Forbidden(f"its pickle uses the instruction {instruction}")

    def mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def remember(self, place: int | None) -> None:
        self._memory[len(self._memory) if place is None else int(place)] = self._stack[-1]

    def recall(self, place: int) -> None:
        self._stack.append(self._memory[int(place)])

    def take(self, count: int | None = None) -> tuple[Any, ...]:
        """The topmost `count` values, or those since the last mark."""
        start = self._marks.pop() if count is None else len(self._stack) - count
        if not 0 <= start <= len(self._stack):
            raise IndexError("too few values on the stack")
        taken = tuple(self._stack[start:])
        del self._stack[start:]
        return taken

    def gather(self, count: int | None = None) -> None:
        self._stack.append(self.take(count))

    def append(self, count: int | None) -> None:
        values = self.take(count)
        if type(self._stack[-1]) is not list:
            raise TypeError("values are appended to something that is no list")
        self._stack[-1].extend(values)

    def put(self, count: int | None) -> None:
        values = self.take(count)
        target = self._stack[-1]
        if type(target) is not dict or any(type(key) not in (str, int) for key in values[::2]):
            raise TypeError("items are put into something that is no dictionary, or under keys that are no names")
        target.update(zip(values[::2], values[1::2], strict=True))

    def name(self, spelled: str | None) -> None:
        """GLOBAL carries "module name"; STACK_GLOBAL finds both on the stack."""
        module, name = spelled.split(" ", 1) if spelled is not None else self.take(2)
        full = f"{module}.{name}"
        if full not in _ALLOWED:
            raise Forbidden(f"its pickle asks for {full[:200]!r}, which is no part of a dictionary of tensors")
        self._stack.append(_Name(full))

    def persistent(self, _: Any) -> None:
        """("storage", kind, key, device, count): the device is of no interest here."""
        tag, kind, key, _device, count = self._stack.pop()
        if tag != "storage" or type(kind) is not _Name or type(key) is not str or type(count) is not int:
            raise TypeError("a reference to data is not torch's")
        self._stack.append(Storage(KINDS[kind.full], key, count))

    def call(self, _: Any) -> None:
        callee, arguments = self.take(2)
        if type(callee) is not _Name or type(arguments) is not tuple:
            raise TypeError("something that is no name is called")
        if callee.full == _ORDERED and not arguments:
            self._stack.append({})
        elif callee.full == _TENSOR and len(arguments) in (6, 7) and type(arguments[0]) is Storage:
            self._stack.append(View(*arguments[:4]))
        elif callee.full == _PARAMETER and len(arguments) == 3 and type(arguments[0]) is View:
            self._stack.append(arguments[0])
        else:
            raise TypeError(f"{callee.full} is called with other arguments than torch's")

    def state(self, _: Any) -> None:
        """A state dictionary carries the versions of its modules as attributes; they are dropped."""
        target, _dropped = self.take(2)
        if type(target) is not dict:
            raise TypeError("something that is no dictionary is given attributes")
        self._stack.append(target)


_SKIPPED = frozenset({"PROTO", "FRAME"})
_LITERALS = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE", "BINFLOAT"})
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict,
}  # fmt: skip
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "BINPUT": _Machine.remember, "LONG_BINPUT": _Machine.remember, "MEMOIZE": _Machine.remember,
    "BINGET": _Machine.recall, "LONG_BINGET": _Machine.recall,
    "TUPLE": lambda machine, _: machine.gather(),
    "TUPLE1": lambda machine, _: machine.gather(1),
    "TUPLE2": lambda machine, _: machine.gather(2),
    "TUPLE3": lambda machine, _: machine.gather(3),
    "APPEND": lambda machine, _: machine.append(1), "APPENDS": lambda machine, _: machine.append(None),
    "SETITEM": lambda machine, _: machine.put(2), "SETITEMS": lambda machine, _: machine.put(None),
    "GLOBAL": _Machine.name, "STACK_GLOBAL": _Machine.name,
    "BINPERSID": _Machine.persistent, "REDUCE": _Machine.call, "BUILD": _Machine.state,
}  # fmt: skip

from __future__ import annotations

import collections
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.container import torch_pickle
from scripts.container.torch_pickle import Forbidden, Storage, View

ORDERED = b"ccollections\nOrderedDict\n"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
FLOATS = b"ctorch\nFloatStorage\n"


class Call:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


@pytest.mark.parametrize("protocol", range(6))
def test_a_call_of_the_shell_is_refused_by_name_and_not_made(tmp_path: Path, protocol: int) -> None:
    owned = tmp_path / "owned"
    program = pickle.dumps({"weight": Call(os.system, f"touch {owned}")}, protocol)
    with pytest.raises(Forbidden, match=f"{os.name}.system|instruction"):
        torch_pickle.load(program)
    assert not owned.exists()


@pytest.mark.parametrize(
    "spelled",
    [
        "posix system", "builtins eval", "builtins getattr", "torch load", "torch._utils _rebuild_tensor",
        "torch.storage UntypedStorage", "torch._utils _rebuild_tensor_v2.__globals__", "collections namedtuple",
        "torch ComplexFloatStorage", "torch._utils _rebuild_parameter_with_state", "pickle loads", "os.path join",
    ],
)  # fmt: skip
def test_every_other_name_is_refused_and_told(spelled: str) -> None:
    module, name = spelled.split(" ")
    with pytest.raises(Forbidden) as caught:
        torch_pickle.load(b"\x80\x02c%b\n%b\n." % (module.encode(), name.encode()))
    assert f"{module}.{name}" in str(caught.value)
    stacked = b"\x80\x04\x8c%c%b\x8c%c%b\x93." % (len(module), module.encode(), len(name), name.encode())
    with pytest.raises(Forbidden) as caught:
        torch_pickle.load(stacked)
    assert f"{module}.{name}" in str(caught.value)


@pytest.mark.parametrize(
    ("program", "named"),
    [
        (b"(iposix\nsystem\n.", "INST"),
        (b"(" + ORDERED + b"o.", "OBJ"),
        (ORDERED + b")\x81.", "NEWOBJ"),
        (b"\x82\x01.", "EXT1"),
        (b"Pshell\n.", "PERSID"),
        (b"I1\n.", "INT"),
    ],
)
def test_instructions_beyond_those_of_torch_are_refused_by_name(program: bytes, named: str) -> None:
    with pytest.raises(Forbidden, match=named):
        torch_pickle.load(b"\x80\x02" + program)


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b"}",
        b".",
        b"\x80\x02\xff.",
        b"0",
        b"\x87.",
        b"R.",
        b"t.",
        b"h\x05.",
        b"X\xff\xff\xff\x7fabc.",
        b")(K\x01e.",
        b"}]K\x01s.",
        b"}(K\x01u.",
        b"}}K\x01s.",
        b")K\x01K\x02s.",
        b"K\x01)R.",
        ORDERED + b"K\x01\x85R.",
        ORDERED + b"K\x01R.",
        TENSOR + b")R.",
        TENSOR + b"(K\x01K\x02)))K\x00tR.",
        FLOATS + b")R.",
        b")}b.",
        FLOATS + b"}b.",
        b"K\x01Q.",
        b"(K\x01K\x02K\x03K\x04K\x05tQ.",
        b"(X\x07\x00\x00\x00storage" + TENSOR + b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ.",
        b"(X\x07\x00\x00\x00storage" + FLOATS + b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu\x88tQ.",
    ],
)
def test_nonsense_is_a_value_error(program: bytes) -> None:
    with pytest.raises(ValueError):
        torch_pickle.load(program)


def test_a_far_place_in_memory_costs_no_memory() -> None:
    assert torch_pickle.load(b"\x80\x02}r\xff\xff\xff\x7f.") == {}


def test_a_tensor_becomes_a_description() -> None:
    storage = b"(X\x07\x00\x00\x00storage" + FLOATS + b"X\x01\x00\x00\x007X\x06\x00\x00\x00cuda:0K\x06tQ"
    tensor = TENSOR + b"(" + storage + b"K\x00K\x02K\x03\x86K\x03K\x01\x86\x89" + ORDERED + b")RtR"
    state = b"}X\x09\x00\x00\x00_metadata}sb"  # what Module.state_dict attaches
    whole = b"\x80\x02" + ORDERED + b")RX\x01\x00\x00\x00w" + tensor + b"s" + state + b"."
    assert torch_pickle.load(whole) == {"w": View(Storage("<f4", "7", 6), 0, (2, 3), (3, 1))}


def test_plain_values_of_pickle_itself_come_through() -> None:
    value = {"a": (1, 70_000, -3, 2**70, True, None, 1.5, "x" * 300), "b": [[], [1], [1, 2], (), (1, 2, 3, 4)]}
    for protocol in (2, 3, 4, 5):
        assert torch_pickle.load(pickle.dumps(value, protocol)) == value
    assert torch_pickle.load(pickle.dumps(collections.OrderedDict(a=1), 2)) == {"a": 1}

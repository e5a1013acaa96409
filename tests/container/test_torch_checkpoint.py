from __future__ import annotations

import pickle
import shutil
import tracemalloc
import zipfile
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.container import torch_checkpoint
from scripts.container.torch_checkpoint import OldFormat

DATA = Path(__file__).resolve().parents[1] / "data" / "embeddings"


def read(place: Path) -> dict[str, Any]:
    return torch_checkpoint.read(place, lambda name: True)[0]


def piece(value: Any) -> bytes:
    """The instructions that make a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def tensor(offset: Any, size: Any, stride: Any, *, count: Any = 6, key: str = "0", kind: str = "FloatStorage") -> bytes:
    """The instructions that torch.save writes for a tensor."""
    storage = b"(" + piece("storage") + b"ctorch\n%b\n" % kind.encode() + piece(key) + piece("cpu") + piece(count)
    place = piece(offset) + piece(size) + piece(stride)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"tQ" + place + b"\x89ccollections\nOrderedDict\n)RtR"


def program(**tensors: bytes) -> bytes:
    return b"\x80\x02}" + b"".join(piece(name) + made + b"s" for name, made in tensors.items()) + b"."


def archive(
    place: Path, pickled: bytes, members: dict[str, bytes], *, root: str = "archive", how: int = zipfile.ZIP_STORED
) -> Path:
    with zipfile.ZipFile(place, "w", how) as made:
        made.writestr(f"{root}/data.pkl", pickled)
        for name, content in members.items():
            made.writestr(f"{root}/{name}", content)
    return place


SIX = np.arange(6, dtype=np.float32)
MEMBERS = {"byteorder": b"little", "data/0": SIX.tobytes()}
FINE = tensor(0, (2, 3), (3, 1))


def test_every_kind_and_form_that_torch_writes_is_read() -> None:
    found = read(DATA / "kinds.bin")
    with np.load(DATA / "kinds.npz") as arrays:
        expected = dict(arrays)
    assert set(found) == set(expected)  # whole numbers are not asked for
    for name, value in expected.items():
        assert found[name].dtype == np.float32
        assert np.array_equal(found[name], value), name
    assert np.shares_memory(found["float"], found["transposed"])


def test_only_what_is_wanted_is_read() -> None:
    place = DATA / "xlmr" / "pytorch_model.bin"
    every, all_bytes = torch_checkpoint.read(place, lambda name: True)
    some, some_bytes = torch_checkpoint.read(place, lambda name: not name.startswith("pooler."))
    assert set(every) - set(some) == {"pooler.dense.weight", "pooler.dense.bias"}
    assert all_bytes - some_bytes == (32 * 32 + 32) * 4


def test_our_own_archive_is_read_whatever_its_folder_is_called(tmp_path: Path) -> None:
    for root in ("archive", "../../etc", "/tmp", "a/b"):
        found = read(archive(tmp_path / "a.bin", program(w=FINE), MEMBERS, root=root))
        assert np.array_equal(found["w"], SIX.reshape(2, 3))
    assert np.array_equal(
        read(archive(tmp_path / "a.bin", program(w=FINE), {"data/0": SIX.tobytes()}))["w"][0], SIX[:3]
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "a.bin"]


@pytest.mark.parametrize(
    "made",
    [
        tensor(-1, (2, 3), (3, 1)),
        tensor(1, (2, 3), (3, 1)),
        tensor(7, (0,), (1,)),
        tensor(2**63, (1,), (1,)),
        tensor(0, (2, 4), (4, 1)),
        tensor(0, (2, 3), (4, 1)),
        tensor(0, (-2, -3), (3, 1)),
        tensor(5, (2, 3), (-3, -1)),
        tensor(0, (2**62, 4), (1, 1)),
        tensor(0, (2**32, 2**32), (0, 0)),
        tensor(0, (1000,), (0,)),
        tensor(0, (4, 4), (1, 1)),
        tensor(0, (0, 2**70), (1, 1)),
        tensor(0, (0, 2**47, 2**47), (1, 1, 1)),
        tensor(0, (1,), (2**62,)),
        tensor(0, (2, 3), (3,)),
        tensor(0, (1,) * 40, (1,) * 40),
        tensor(0, [2, 3], (3, 1)),
        tensor(0, (2, 3.0), (3, 1)),
        tensor(0, (True, 3), (3, 1)),
        tensor(None, (2, 3), (3, 1)),
        tensor("0", (2, 3), (3, 1)),
        tensor(0, (2, 3), (3, 1), count=7),
        tensor(0, (2, 3), (3, 1), count=2**62),
        tensor(0, (0,), (1,), count=-6),
        tensor(0, (2, 3), (3, 1), kind="DoubleStorage"),
        tensor(0, (2, 3), (3, 1), key="1"),
        tensor(0, (2, 3), (3, 1), key="../byteorder"),
        piece("no tensor"),
        b"}",
    ],
)
def test_a_tensor_that_does_not_fit_its_storage_is_refused(tmp_path: Path, made: bytes) -> None:
    assert list(read(archive(tmp_path / "fine.bin", program(w=FINE), MEMBERS))) == ["w"]
    with pytest.raises(ValueError):
        read(archive(tmp_path / "a.bin", program(w=made), MEMBERS))


def test_two_kinds_of_one_storage_are_refused(tmp_path: Path) -> None:
    made = program(a=tensor(0, (6,), (1,)), b=tensor(0, (12,), (1,), count=12, kind="HalfStorage"))
    with pytest.raises(ValueError, match="storage of tensor 'a'"):
        read(archive(tmp_path / "a.bin", made, MEMBERS))


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    many = {f"w{number}": tensor(0, (6,), (1,), key=str(number)) for number in range(60)}
    with zipfile.ZipFile(tmp_path / "a.bin", "w") as made:
        made.writestr("archive/data.pkl", program(**many))
        made.writestr("archive/data/0", np.zeros(6, dtype=np.float32).tobytes())
        for number in range(1, 60):
            twin = copy(made.filelist[-1])
            twin.filename = f"archive/data/{number}"
            made.filelist.append(twin)
    whole = (tmp_path / "a.bin").stat().st_size
    assert list(read(tmp_path / "a.bin")) == list(many)  # small enough to fit the file: harmless
    large = {f"w{number}": tensor(0, (whole,), (1,), key=str(number), count=whole) for number in range(3)}
    with zipfile.ZipFile(tmp_path / "b.bin", "w") as made:
        made.writestr("archive/data.pkl", program(**large))
        made.writestr("archive/data/0", bytes(4 * whole))
        for number in (1, 2):
            twin = copy(made.filelist[-1])
            twin.filename = f"archive/data/{number}"
            made.filelist.append(twin)
    with pytest.raises(ValueError, match="its storages have"):
        read(tmp_path / "b.bin")


def test_a_member_that_ends_beyond_the_file_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.bin", "w") as made:
        made.writestr("archive/data.pkl", program(w=tensor(0, (100,), (1,), count=100)))
        made.writestr("archive/data/0", SIX.tobytes())
        made.filelist[-1].file_size = made.filelist[-1].compress_size = 400
    with pytest.raises(ValueError, match="ends at byte"):
        read(tmp_path / "a.bin")


@pytest.mark.parametrize(
    ("members", "root", "how", "named"),
    [
        (MEMBERS | {"byteorder": b"big"}, "archive", zipfile.ZIP_STORED, "big-endian"),
        (MEMBERS | {"byteorder": b"x" * 99}, "archive", zipfile.ZIP_STORED, "byteorder has 99 bytes"),
        (MEMBERS, "archive", zipfile.ZIP_DEFLATED, "compressed"),
        (MEMBERS | {"data/data.pkl": b""}, "archive", zipfile.ZIP_STORED, "2 members named data.pkl"),
    ],
)
def test_an_archive_of_another_make_is_refused(
    tmp_path: Path, members: dict[str, bytes], root: str, how: int, named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        read(archive(tmp_path / "a.bin", program(w=FINE), members, root=root, how=how))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    place = archive(tmp_path / "a.bin", program(w=FINE), MEMBERS)
    with zipfile.ZipFile(place, "a") as made:
        made.writestr("archive/data/0", bytes(24))
    with pytest.raises(ValueError, match="every name once"):
        read(place)


def test_a_truncated_archive_is_said_to_be_one_wherever_it_ends(tmp_path: Path) -> None:
    whole = (DATA / "half.bin").read_bytes()
    for length in (2, 4, 100, 9_000, 40_000, len(whole) - 5_000, len(whole) - 100, len(whole) - 1):
        (tmp_path / "a.bin").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="truncated or damaged archive"):
            read(tmp_path / "a.bin")


def test_a_file_whose_middle_is_missing_is_refused(tmp_path: Path) -> None:
    whole = (DATA / "half.bin").read_bytes()
    for start, end in ((50, 60), (12_000, 13_000), (20_000, 80_000)):
        (tmp_path / "a.bin").write_bytes(whole[:start] + whole[end:])
        with pytest.raises(ValueError):
            read(tmp_path / "a.bin")


def test_flipped_bytes_end_in_values_or_a_value_error(tmp_path: Path) -> None:
    whole = (DATA / "kinds.bin").read_bytes()
    random, refused = np.random.default_rng(11), 0
    for place in random.integers(0, len(whole), 400):
        changed = bytearray(whole)
        changed[place] ^= int(random.integers(1, 256))
        (tmp_path / "a.bin").write_bytes(changed)
        try:
            read(tmp_path / "a.bin")
        except ValueError:
            refused += 1
    assert 50 < refused < 400


@pytest.mark.parametrize(("content", "kind"), [(b"\x80\x02\x8a\n", OldFormat), (b"", ValueError), (b"no", ValueError)])
def test_other_files_are_told_apart(tmp_path: Path, content: bytes, kind: type[Exception]) -> None:
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(kind) as caught:
        read(tmp_path / "a.bin")
    assert type(caught.value) is kind


@pytest.mark.parametrize(("kind", "width"), [("FloatStorage", 4), ("HalfStorage", 2), ("BFloat16Storage", 2)])
def test_large_storages_are_in_memory_once(tmp_path: Path, kind: str, width: int) -> None:
    count = 9_000_001
    made = program(w=tensor(1, (count - 1,), (1,), count=count, kind=kind))
    place = archive(tmp_path / "a.bin", made, {"data/0": bytes(count * width)})
    tracemalloc.start()
    try:
        found = read(place)["w"]
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        shutil.rmtree(tmp_path)
    assert found.shape == (count - 1,)
    assert not found.any()
    assert most < count * 4 * 1.4

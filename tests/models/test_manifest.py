"""Manifest v1: read strictly, every fault with its place; the samples of old days are read for ever."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.errors import BadInput
from scripts.models import manifest
from tests.models.support import VERSION, sample

GOOD: dict[str, Any] = manifest.as_json(sample())


def edited(edit: Callable[[Any], object]) -> bytes:
    value = copy.deepcopy(GOOD)
    edit(value)
    return json.dumps(value).encode()


def put(*path: Any) -> Callable[[Any], object]:
    """Set what the path (its last item is the value) leads to."""

    def edit(value: Any) -> None:
        for step in path[:-2]:
            value = value[step]
        value[path[-2]] = path[-1]

    return edit


def file(*path: Any) -> Callable[[Any], object]:
    return put("models", 0, "files", 0, *path)


FAULTS: list[tuple[str, Callable[[Any], object], str]] = [
    ("unknown schema", put("schema_version", 2), "schema_version: found 2, expected 1"),
    ("schema as text", put("schema_version", "1"), "schema_version: found a string"),
    ("schema as bool", put("schema_version", True), "schema_version: found a boolean"),
    ("missing key", lambda value: value.pop("created_at"), "created_at: found nothing"),
    ("missing schema", lambda value: value.pop("schema_version"), "schema_version: found nothing"),
    ("unknown key", put("extra", 1), "'extra': found an unknown key"),
    ("unknown key below", put("models", 1, "extra", 1), "models[1].'extra': found an unknown key"),
    ("no models", put("models", []), "models: found an empty list"),
    ("models as object", put("models", {}), "models: found an object"),
    ("no files", put("models", 0, "files", []), "models[0].files: found an empty list"),
    ("bad version", put("version", "v1"), "version: 'v1' is not a version name"),
    ("bad time", put("created_at", "yesterday"), "created_at: found 'yesterday'"),
    ("impossible time", put("created_at", "2026-02-30T00:00:00Z"), "created_at: found"),
    ("kind", put("models", 0, "kind", "torch"), "models[0].kind: found 'torch'"),
    ("empty name", put("models", 0, "name", ""), "models[0].name: found an empty string"),
    ("same name", put("models", 1, "name", "llm"), "models[1].name: found 'llm' a second time"),
    ("parent path", file("path", "../x"), "models[0].files[0].path: '../x' contains"),
    ("absolute path", file("path", "/x"), "models[0].files[0].path: '/x' is absolute"),
    ("backslash", file("path", "a\\b"), "models[0].files[0].path: 'a\\\\b' contains a backslash"),
    ("NUL", file("path", "a\0"), "models[0].files[0].path: 'a\\x00' contains a NUL"),
    ("empty segment", file("path", "a//b"), "models[0].files[0].path: 'a//b' has an empty segment"),
    ("path as number", file("path", 7), "models[0].files[0].path: found a number"),
    ("negative size", file("size_bytes", -1), "models[0].files[0].size_bytes: found -1"),
    ("bool size", file("size_bytes", True), "models[0].files[0].size_bytes: found a boolean"),
    ("float size", file("size_bytes", 10.0), "found the number 10.0"),
    ("huge size", file("size_bytes", 10**30), "models[0].files[0].size_bytes: found"),
    ("short sha256", file("sha256", "0" * 63), "models[0].files[0].sha256: found"),
    ("upper sha256", file("sha256", "A" * 64), "models[0].files[0].sha256: found"),
    ("crc32c as hex", file("crc32c", "00000000"), "models[0].files[0].crc32c: found"),
    ("crc32c with stray bits", file("crc32c", "AAAAAB=="), "models[0].files[0].crc32c: found"),
    ("total", put("total_size_bytes", 13), "total_size_bytes: found 13, expected 12"),
    ("other version's folder", put("models", 0, "prefix", "ollama/20201120T020000Z-3f9a1c2b"),
     "models[0].prefix: found"),
    ("other kind's folder", put("models", 0, "prefix", f"sbert/{VERSION}"), "models[0].prefix: found"),
    ("other source", put("models", 1, "source", "acme/other"), "models[1].prefix: found"),
    ("prefix that escapes", put("models", 0, "prefix", "../ollama"), "models[0].prefix: '../ollama' contains"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "message"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_a_fault_is_refused_with_its_place(edit: Callable[[Any], object], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        manifest.parse(edited(edit))
    assert message in caught.value.message
    assert caught.value.remedy


def test_what_was_dumped_is_parsed_again() -> None:
    made = sample()
    assert manifest.parse(manifest.dump(made)) == made
    assert manifest.dump(manifest.parse(manifest.dump(made))) == manifest.dump(made)
    assert list(json.loads(manifest.dump(made))) == [
        "schema_version", "version", "created_at", "total_size_bytes", "models",
    ]  # fmt: skip


def test_every_truncation_is_refused_and_named() -> None:
    data = manifest.dump(sample())
    for end in range(len(data) - 1):
        with pytest.raises(BadInput, match="manifest"):
            manifest.parse(data[:end])
    with pytest.raises(BadInput, match="truncated"):
        manifest.parse(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "truncated"),
        (b"\xff", "UTF-8"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"[]", "found a list"),
        (b"null", "found null"),
        (b"[" * 100_000, "nested"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"{} {}", "Extra data"),
    ],
)
def test_what_is_no_manifest_at_all(data: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        manifest.parse(data)


def test_the_same_path_twice_in_a_model() -> None:
    def twice(value: Any) -> None:
        value["models"][0]["files"].append(dict(value["models"][0]["files"][0]))

    with pytest.raises(BadInput, match=r"models\[0\].files\[1\].path: found 'blobs/sha256-00' a second time"):
        manifest.parse(edited(twice))


def second_ollama(value: Any, **changes: Any) -> None:
    other = copy.deepcopy(value["models"][0])
    other["name"], other["source"] = "second", "library/other:1b"
    other["files"][0].update(changes)
    value["models"].append(other)


def test_models_may_share_an_object_but_not_disagree_about_it() -> None:
    shared = manifest.parse(edited(second_ollama))
    assert shared.total_size_bytes == 12
    assert len(shared.objects()) == 2
    with pytest.raises(BadInput, match=r"models\[2\].files\[0\].path: found .* with two different contents"):
        manifest.parse(edited(lambda value: second_ollama(value, sha256="1" * 64)))


def test_a_file_cannot_be_a_folder_too() -> None:
    with pytest.raises(BadInput, match="as a file and as a folder"):
        manifest.parse(edited(lambda value: (second_ollama(value, path="blobs"), put("total_size_bytes", 22)(value))))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PLACES: list[tuple[Any, ...]] = [
    *[(key,) for key in GOOD],
    *[("models", 0, key) for key in GOOD["models"][0]],
    *[("models", 1, "files", 0, key) for key in GOOD["models"][1]["files"][0]],
]


@settings(max_examples=150, deadline=None)
@given(place=st.sampled_from(PLACES), value=JSON)
def test_any_value_anywhere_is_read_or_is_bad_input(place: tuple[Any, ...], value: Any) -> None:
    try:
        parsed = manifest.parse(edited(put(*place, value)))
    except BadInput as error:
        assert error.remedy
    else:
        assert manifest.parse(manifest.dump(parsed)) == parsed


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=64), at=st.integers(0, 10**4), cut=st.integers(0, 40))
def test_any_bytes_are_read_or_are_bad_input(data: bytes, at: int, cut: int) -> None:
    good = manifest.dump(sample())
    at %= len(good)
    for mutated in (data, good[:at] + data + good[at + cut :]):
        try:
            manifest.parse(mutated)
        except BadInput as error:
            assert error.message


@given(st.sets(st.text("ab/.é😀", min_size=1, max_size=4)), st.sets(st.text("ab/.é😀z", max_size=5)))
def test_stretches_show_every_name_of_the_folders_once(paths: set[str], others: set[str]) -> None:
    """Foreign names too, which a listing must not miss; names are compared by their UTF-8, as Cloud Storage does."""
    files = tuple(manifest.ModelFile(path, 1, "0" * 64, "AAAAAA==") for path in sorted(paths))
    models = (manifest.Model("m", "huggingface", "a/b", "r", f"sbert/{VERSION}/models--a--b", files),)
    content = manifest.Manifest(1, VERSION, "2026-11-30T00:00:00Z", len(files), models)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(manifest, "_PAGE", 2)
        stretches = content.stretches()
    assert len(stretches) == max(1, (len(content.objects()) + 1) // 2)
    names = {*content.objects(), *(f"sbert/{VERSION}/{other}" for other in others)}
    for name in names:
        raw = name.encode()
        seen = [s for s in stretches if name.startswith(s.prefix) and raw >= s.first.encode()
                and (not s.before or raw < s.before.encode())]  # fmt: skip
        assert len(seen) == 1, name

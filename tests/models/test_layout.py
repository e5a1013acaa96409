"""Names in the bucket: made in one place, judged in one place."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scripts.errors import BadInput
from scripts.models import layout

NOW = datetime(2026, 11, 20, 2, 0, 0, tzinfo=UTC)
IDENTITY = "3f9a1c2b" + "0" * 56


def test_a_version_is_the_time_and_a_digest() -> None:
    assert layout.new_version(IDENTITY, NOW, []) == "20261120T020000Z-3f9a1c2b"


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        (["20261120T020000Z-3f9a1c2b"], "20261120T020001Z-3f9a1c2b"),
        (["20261120T020000Z-ffffffff", "20261119T020000Z-00000000"], "20261120T020001Z-3f9a1c2b"),
        (["20301231T235959Z-00000000"], "20310101T000000Z-3f9a1c2b"),
        (["nonsense", "20261120T020000Z", "99999999T999999Z-00000000"], "20261120T020000Z-3f9a1c2b"),
    ],
)
def test_a_new_version_sorts_after_every_existing_one(existing: list[str], expected: str) -> None:
    made = layout.new_version(IDENTITY, NOW, existing)
    assert made == expected
    assert all(made > name for name in existing if layout.is_version(name))


@pytest.mark.parametrize(
    "text",
    ["", "latest", "20261120T020000Z-3F9A1C2B", "20261120T020000Z-3f9a1c2b/", "20261320T020000Z-3f9a1c2b",
     "20261120T250000Z-3f9a1c2b", "20261120T020000Z-3f9a1c2", " 20261120T020000Z-3f9a1c2b",
     "２0261120T020000Z-3f9a1c2b"],
)  # fmt: skip
def test_what_is_no_version_is_refused(text: str) -> None:
    assert not layout.is_version(text)
    with pytest.raises(BadInput, match="MODEL_CACHE_VERSION"):
        layout.check_version(text, "MODEL_CACHE_VERSION")


@pytest.mark.parametrize("text", ["blobs/sha256-00", "a", "snapshots/abc/onnx/model é.onnx", "...", "..a/b.."])
def test_paths_that_may_be_names(text: str) -> None:
    assert layout.check_path(text, "here") == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("../x", "'..'"),
        ("a/../../x", "'..'"),
        ("a/./b", "'.'"),
        ("/etc/passwd", "absolute"),
        ("C:/windows", "absolute"),
        ("a\\b", "backslash"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a//b", "empty segment"),
        ("a/", "empty segment"),
        ("\ud800", "Unicode"),
        ("x" * 1025, "1025 bytes"),
    ],
)
def test_paths_that_may_not(text: str, why: str) -> None:
    with pytest.raises(BadInput) as caught:
        layout.check_path(text, "models[0].files[2].path")
    assert why in caught.value.message
    assert caught.value.message.startswith("models[0].files[2].path: ")
    assert caught.value.remedy


def test_every_kind_has_its_store() -> None:
    version = "20261120T020000Z-3f9a1c2b"
    assert layout.model_prefix("ollama", "library/llama3.2:1b", version) == f"ollama/{version}"
    assert layout.model_prefix("huggingface", "BAAI/bge-m3", version) == f"sbert/{version}/models--BAAI--bge-m3"


def test_what_is_in_flight_tells_its_version_and_place() -> None:
    version, digest = "20261120T020000Z-3f9a1c2b", "0a" * 32
    name = layout.part_name(version, digest, 0, 16 << 20)
    assert name == f".tmp/{version}/parts/{digest}/0-16777216"
    assert layout.split_tmp(name) == (version, f"parts/{digest}/0-16777216")
    assert layout.split_part(f"parts/{digest}/0-16777216") == (digest, 0, 16 << 20)
    for wrong in (
        "parts/x/0-1",
        f"parts/{digest}/0-0",
        f"parts/{digest}/01-2",
        f"parts/{digest}/0-1/x",
        f"{digest}/0-1",
    ):
        assert layout.split_part(wrong) is None
    name = f"sbert/{version}/models--A--B/snapshots/{version}/x"
    assert layout.without_version(name, version) == f"sbert/models--A--B/snapshots/{version}/x"
    assert layout.split_tmp(".tmp/somebody/else") is None
    assert layout.split_tmp(f"other/{version}/x") is None


@pytest.mark.parametrize(
    "name", ["statements/0.dsse.json", "statements/007.dsse.json", "statements/1.json", "statements/.dsse.json",
             "statements/1000000000000000.dsse.json", "statements/-1.dsse.json", "statements/１.dsse.json",
             "1.dsse.json"],
)  # fmt: skip
def test_only_names_that_a_writer_makes_have_a_serial(name: str) -> None:
    assert layout.statement_serial(name) is None


def test_a_statement_is_named_by_its_serial() -> None:
    for serial in (1, 9, 10, layout.MAX_SERIAL):
        assert layout.statement_serial(layout.statement_name(serial)) == serial

"""When an upstream is what is published already, and when not; the identity behind a version's name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.models import compare
from scripts.models.sources.base import RemoteFile, Resolved
from scripts.models.transfer import Placed
from tests.models.support import SPECS, VERSION, sample

LLM = Resolved(SPECS[0], "sha256:abc", (RemoteFile("blobs/sha256-00", 10, "0" * 64, "i"),))
MINI = Resolved(SPECS[1], "abc", (RemoteFile("snapshots/abc/config.json", 2, None, "git:" + "0" * 40),))


def file_of(resolved: Resolved, **changes: object) -> Resolved:
    return replace(resolved, files=(replace(resolved.files[0], **changes),))  # type: ignore[arg-type]


def test_the_same_content_is_up_to_date() -> None:
    assert compare.up_to_date(sample(), [LLM, MINI])
    assert compare.up_to_date(sample(), [MINI, LLM])


@pytest.mark.parametrize(
    "resolved",
    [
        [LLM],
        [LLM, MINI, replace(MINI, spec=replace(SPECS[1], name="third"))],
        [replace(LLM, revision="sha256:def"), MINI],
        [replace(LLM, spec=replace(SPECS[0], source="library/other:1b")), MINI],
        [file_of(LLM, path="blobs/sha256-01"), MINI],
        [file_of(LLM, size_bytes=11), MINI],
        [file_of(LLM, sha256="1" * 64), MINI],
        [file_of(LLM, sha256=None, identity="sha256:" + "1" * 64), MINI],
        [replace(LLM, files=()), MINI],
        [replace(LLM, files=(*LLM.files, RemoteFile("more", 1, None, ""))), MINI],
    ],
)
def test_any_difference_is_a_new_version(resolved: list[Resolved]) -> None:
    assert not compare.up_to_date(sample(), resolved)


def test_the_identity_is_that_of_the_content() -> None:
    assert compare.identity([LLM, MINI]) == compare.identity([MINI, LLM])
    others = [
        [LLM],
        [replace(LLM, revision="sha256:def"), MINI],
        [file_of(LLM, sha256="1" * 64), MINI],
        [file_of(LLM, path="x"), MINI],
        [LLM, file_of(MINI, identity="git:" + "1" * 40)],
    ]
    found = {compare.identity(resolved) for resolved in ([LLM, MINI], *others)}
    assert len(found) == len(others) + 1


def test_a_models_entry_and_what_is_told_of_a_moved_tag() -> None:
    placed = {f"ollama/{VERSION}/blobs/sha256-00": Placed("somewhere", 7, 10, "0" * 64, "AAAAAA==")}
    assert compare.model_of(LLM, VERSION, placed) == sample().models[0]
    moved = compare.moved_of(replace(LLM, moved_to="sha256:new"))
    assert vars(moved) == {
        "name": "llm", "source": "library/tiny:1b", "published": "sha256:abc", "upstream": "sha256:new",
    }  # fmt: skip

"""Names that an upstream chooses never leave their folder."""

from __future__ import annotations

import pytest

from scripts.errors import OpsError
from scripts.models.sources.base import part, safe_path


@pytest.mark.parametrize("path", ["config.json", "1_Pooling/config.json", "onnx/model..v2.onnx", "a b/ü.txt"])
def test_ordinary_names_pass(path: str) -> None:
    assert safe_path(path, "the hub") == path


@pytest.mark.parametrize(
    "path", ["", "../x", "a/../x", "/etc/passwd", "a//b", "a/", "./a", "a\\b", "a\0b", "a\nb", ".."]
)
def test_names_that_could_leave_are_refused(path: str) -> None:
    with pytest.raises(OpsError, match="no safe relative path"):
        safe_path(path, "the hub")


def test_a_part_of_content_at_hand() -> None:
    assert list(part(b"0123456789", 2, 5)) == [b"234"]
    assert list(part(b"0123456789", 8, None)) == [b"89"]
    assert list(part(b"0123456789", 10, None)) == []

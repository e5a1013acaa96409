"""The table of exit codes tells codes that there are, and words that the code really says."""

from __future__ import annotations

import re

from scripts.errors import ExitCode
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "exit-codes.md"
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \| (.*?) \|$", re.MULTILINE)


def missing(page: str, source: str) -> list[str]:
    """The parts of quoted messages, between their variable ones, that no source has."""
    said = [text for row in ROW.findall(page) for text in re.findall(r"`([^`]+)`", row[2])]
    parts = [part.strip() for text in said for part in text.split("…")]
    return [part for part in parts if len(part) > 4 and part not in source]


def test_its_words_are_said_and_its_codes_are_known() -> None:
    page = PAGE.read_text(encoding="utf-8")
    source = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "scripts").rglob("*.py")))
    rows = ROW.findall(page)
    assert {int(row[0]) for row in rows} == set(ExitCode)
    assert missing(page, source) == []
    assert missing("| 3 | a | `no such words` | b |", source) == ["no such words"]

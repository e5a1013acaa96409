"""What Hypothesis draws is the same in every run (see conftest.py)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def drawn() -> list[int]:
    """What a test of 300 integers gets."""
    found: list[int] = []

    @settings(max_examples=300)
    @given(st.integers())
    def draw(number: int) -> None:
        found.append(number)

    draw()
    return found


def test_the_numbers_of_loaded_modules_are_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = drawn()
    path = tmp_path / "loaded_late.py"
    path.write_text(f"NUMBERS = {list(range(987_654, 987_954))}", encoding="utf-8")
    spec = importlib.util.spec_from_file_location("loaded_late", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "loaded_late", module)
    assert drawn() == before

"""How a run of the lifecycle rules is told."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.service import lifecycle


def _found(dry_run: bool, **counts: int) -> dict[str, Any]:
    every = {"deleted": 0, "archived": 0, "changed": 0, "aborted": 0, "kept": 0, **counts}
    changes = [{"did": "deleted", "name": f"a{number}", "generation": "7", "detail": ""} for number in range(30)]
    return {"dry_run": dry_run, "buckets": [{"bucket": "b", "changes": changes[: sum(counts.values())], **every}]}


def test_a_report_names_counts_and_the_first_changes() -> None:
    lines = lifecycle.told(_found(False, deleted=22))
    assert lines[0] == "b: 22 deleted"
    assert lines[1] == "  deleted  a0#7"
    assert (len(lines), lines[-1]) == (22, "  and 2 more")
    assert lifecycle.told(_found(True, deleted=1, kept=1))[0] == "b: 1 would be deleted, 1 kept"
    assert lifecycle.told(_found(False)) == ["b: nothing to do"]
    assert lifecycle.told({"dry_run": True, "buckets": []}) == ["no bucket has lifecycle rules"]


@pytest.mark.parametrize(
    ("found", "code"),
    [(_found(True, deleted=1), 2), (_found(True, kept=1), 0), (_found(True), 0), (_found(False, deleted=1), 0)],
)
def test_only_a_preview_with_something_to_do_is_a_difference(found: dict[str, Any], code: int) -> None:
    assert lifecycle.exit_code(found) == code

"""Plans: what a user reads before confirming."""

from __future__ import annotations

from scripts.plan import Action, Change, Plan


def test_lines_show_sign_place_and_values() -> None:
    plan = Plan("deploy").extended(
        [
            Change(Action.CREATE, "bucket b"),
            Change(Action.UPDATE, "service s", "spec.image", "a:1", "a:2"),
            Change(Action.DELETE, "service s", "env.OLD", "x"),
            Change(Action.RUN, "job j"),
        ]
    )
    assert plan.lines() == ["+ bucket b", "~ service s spec.image: a:1 → a:2", "- service s env.OLD: x", "» job j"]
    assert not plan.empty


def test_an_empty_plan_says_so_and_long_values_are_cut() -> None:
    assert Plan("deploy").empty
    assert Plan("deploy").lines() == ["nothing to change"]
    line = Change(Action.UPDATE, "service s", "env.X", "a" * 500, "b").line()
    assert len(line) < 200
    assert "…" in line


def test_of_long_values_the_first_difference_is_shown() -> None:
    same = "x" * 300
    line = Change(Action.UPDATE, "service s", "env.X", f"{same} red {same}", f"{same} blue {same}").line()
    assert len(line) < 250
    assert "red" in line.split(" → ")[0]
    assert "blue" in line.split(" → ")[1]
    assert Change(Action.UPDATE, "s", "x", "", "red").line() == "~ s x: nothing → red"


def test_json_leaves_out_what_is_empty_and_keeps_falsy_values() -> None:
    change = Change(Action.UPDATE, "service s", "spec.min", 0, False)
    assert change.as_json() == {
        "action": "update",
        "target": "service s",
        "path": "spec.min",
        "before": 0,
        "after": False,
    }
    assert Plan("t", (Change(Action.CREATE, "bucket b"),)).as_json() == {
        "title": "t",
        "changes": [{"action": "create", "target": "bucket b"}],
    }


def test_changes_are_counted_in_words() -> None:
    change = Change(Action.CREATE, "bucket x")
    assert [Plan("p", (change,) * count).count for count in (0, 1, 2)] == ["no changes", "1 change", "2 changes"]

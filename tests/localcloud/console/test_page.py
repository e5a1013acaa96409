from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.localcloud.console import page

ROOT = Path(page.__file__).resolve().parents[3]
LOGS = {"filter": "", "problem": "", "entries": []}


def test_text_is_escaped_and_what_is_no_unicode_does_no_harm() -> None:
    line = {
        "id": '"><script>', "timestamp": "2026-11-20T14:37:00Z", "severity": "<b>", "source": "<i>", "instance": "",
        "text": "<script>alert(1)</script> \ud800", "fields": "'\"&",
    }  # fmt: skip
    html = page.render("lines.html", {"logs": {**LOGS, "entries": [line]}}).decode()
    assert "<script" not in html and "<b>" not in html and "<i>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; ?" in html


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(Exception, match="'logs' is undefined"):
        page.render("lines.html", {})


def test_sparklines() -> None:
    assert page.points([]) == page.points([3.0]) == ""
    assert page.points([0, 10, 5], width=100, height=23) == "0.0,22.0 50.0,2.0 100.0,12.0"


def test_traffic_bars_begin_where_the_one_before_ends() -> None:
    targets = [{"percent": 90, "revision": "a"}, {"percent": 0, "revision": "b"}, {"percent": 10, "revision": "c"}]
    assert [(each["revision"], each["start"]) for each in page.spans(targets)] == [("a", 0), ("c", 90)]


@pytest.mark.process
def test_the_daemon_starts_without_jinja() -> None:
    code = "import sys, scripts.localcloud.rooms; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=60).returncode == 0


def test_nothing_comes_from_elsewhere() -> None:
    for path in sorted(Path(page.__file__).parent.rglob("*.*")):
        if path.suffix in (".html", ".css", ".js"):
            text = path.read_text(encoding="utf-8")
            assert "https://" not in text.replace("//run.googleapis.com/", ""), path
            assert "@import" not in text and " style=" not in text and "innerHTML" not in text, path


def test_the_parts_of_an_executions_bar() -> None:
    execution = {"tasks": 4, "succeeded": 2, "failed": 1, "running": 1}
    assert [(each["kind"], each["start"], each["width"]) for each in page.progress(execution)] == [
        ("good", 0, 50), ("bad", 50, 25), ("wait", 75, 25)
    ]  # fmt: skip
    assert page.progress({"tasks": 0, "succeeded": 0, "failed": 0, "running": 0}) == []
    assert sum(each["width"] for each in page.progress({**execution, "succeeded": 9})) == 100


def test_strokes_stand_where_something_failed() -> None:
    assert page.ticks([0, 10, 1], 100, 23, 10) == "M50.0,22v-20.0M100.0,22v-2.0"
    assert page.ticks([0, 0], 100, 23, 0) == ""


def test_of_many_those_in_trouble_are_shown_whole() -> None:
    instances = [{"id": number, "state": "failed" if number == 99 else "ready"} for number in range(100)]
    found = page.parted(instances, "instances")
    assert [each["id"] for each in found["whole"]] == [99, *range(39)] and len(found["rest"]) == 60
    assert page.parted(instances[:5], "instances") == {"whole": instances[:5], "rest": []}

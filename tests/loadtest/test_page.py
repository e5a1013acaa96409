"""The page needs nothing but itself, shows what was found, and takes nothing from outside for markup."""

from __future__ import annotations

import re

from scripts.loadtest import page
from scripts.loadtest.evidence import Witness
from tests.loadtest.support import measured, proof, report, witness

EVIL = "<script>alert(1)</script>\"'&"


def test_it_is_self_contained() -> None:
    html = page.render(report())
    assert "<script" not in html
    assert re.findall(r"""(?:src|href)=["']?([^"'>]*)""", html) == ["data:,"]
    assert not re.search(r"@import|url\(", html)
    assert html.count("<svg") == 3 and "prefers-color-scheme: dark" in html


def test_it_tells_the_verdict_the_figures_and_the_instances() -> None:
    html = page.render(report())
    assert "<title>Passed: load test of web on staging</title>" in html
    for text in ("100 ms", "p99&lt;500ms", "aaaaaaaaaaaa", "cold start", "every start a hit, 0 B pulled", "kept"):
        assert text in html, text
    assert "Why it failed" not in html and "crossed" not in html


def test_a_failed_one_says_why_and_what_to_do() -> None:
    missed = proof(*(witness(name, False, pulled=1 << 20) for name in "abc"))
    html = page.render(report(measured(*[0.6] * 100, failed=3), missed))
    assert "<title>Failed:" in html
    for text in ("p99 is 600 ms", "crossed", "duplicate downloads: 3 instances", "requests failed", "3.0 MiB"):
        assert text in html, text
    assert "--env staging" in html and "ENVIRONMENT" not in html


def test_nothing_from_outside_becomes_markup() -> None:
    strange = proof(Witness(EVIL, 5, False, EVIL, EVIL, False, 1))
    html = page.render(report(proven=strange, service=EVIL))
    assert "alert(1)" in html and "<script>" not in html


def test_a_test_without_instances_or_answers_has_a_page_too() -> None:
    assert "names no instance" in page.render(report(measured(), proof()))

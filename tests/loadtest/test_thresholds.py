"""Thresholds are understood or refused with an example, and judged in their own unit."""

from __future__ import annotations

import pytest

from scripts.errors import BadInput
from scripts.loadtest import thresholds
from scripts.loadtest.thresholds import DEFAULT, milliseconds
from tests.loadtest.support import measured

FOUND = measured(*[0.1] * 95, *[0.4] * 4, 2.0, failed=1)


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("p50<101ms", True),
        ("p50<0.05s", False),
        ("p95<101ms", True),
        ("p99<500ms", True),
        ("p99.9<1s", False),
        ("max<=2.01s", True),
        ("max<2s", False),
        ("mean<140ms", True),
        ("mean<100ms", False),
        ("errors<1%", False),
        ("errors<=1%", True),
        ("errors<2%", True),
        ("p50<500us", False),
    ],
)
def test_each_is_judged(text: str, passed: bool) -> None:
    (verdict,) = thresholds.judge(thresholds.parse(text), FOUND)
    assert verdict.passed is passed, verdict.line()


def test_several_with_commas_and_spaces() -> None:
    found = thresholds.judge(thresholds.parse(" p99 < 300ms , errors <= 1% "), FOUND)
    assert [each.line() for each in found] == [
        "p99 is 400 ms, the threshold p99<300ms",
        "errors is 1 %, the threshold errors<=1%",
    ]
    assert [each.passed for each in found] == [False, True]
    assert len(thresholds.parse(DEFAULT)) == 2
    assert thresholds.parse("") == ()


@pytest.mark.parametrize("text", ["p99", "p99<500", "p99>5ms", "p100<5ms", "errors<5ms", "p99<5%", "x<1ms", "p99<-1ms"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        thresholds.parse(f"p50<1s,{text}")
    assert caught.value.message.startswith(f"--threshold: found {text!r}")
    assert "For example" in caught.value.remedy


@pytest.mark.parametrize(
    ("value_ms", "text"),
    [(0.4213, "0.421 ms"), (12.34, "12.3 ms"), (999.4, "999 ms"), (1913, "1.91 s"), (60_000, "60 s")],
)
def test_latencies_for_people(value_ms: float, text: str) -> None:
    assert milliseconds(value_ms) == text

"""Only what found nobody is tried again, a bounded number of times, with growing waits."""

from __future__ import annotations

import itertools

import pytest

from scripts.cloud.retry import delays, retrying
from scripts.errors import AccessDenied, Conflict, Unreachable


class Flaky:
    """Fails with the given errors, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def test_an_unreachable_service_is_tried_again_with_growing_waits() -> None:
    waits: list[float] = []
    flaky = Flaky(Unreachable("x"), Unreachable("x"), Unreachable("x"))
    assert retrying(flaky, sleep=waits.append, spread=lambda: 1.0, first_s=0.25, ceiling_s=0.6) == "answer"
    assert waits == [0.25, 0.5, 0.6]


def test_the_last_failure_comes_through() -> None:
    flaky = Flaky(*[Unreachable("x")] * 9)
    with pytest.raises(Unreachable):
        retrying(flaky, attempts=3, sleep=lambda s: None)
    assert flaky.calls == 3


@pytest.mark.parametrize("error", [AccessDenied("x"), Conflict("x"), ValueError("x")])
def test_any_other_error_is_final(error: Exception) -> None:
    flaky = Flaky(error)
    with pytest.raises(type(error)):
        retrying(flaky, sleep=lambda s: None)
    assert flaky.calls == 1


def test_delays_never_exceed_the_ceiling() -> None:
    assert list(itertools.islice(delays(1.0, 5.0), 5)) == [1.0, 2.0, 4.0, 5.0, 5.0]

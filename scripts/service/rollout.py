"""How a deploy brings a new revision to the traffic, decided from values alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.cloud.run import ServiceState
from scripts.errors import BadInput
from scripts.plan import Action, Change
from scripts.service import planning, promoted, routing


@dataclass(frozen=True)
class Way:
    """What is sent first, who serves meanwhile (empty: nobody does yet), and the shares before the whole.

    end: the traffic as the environment file wants it. fresh: the first write makes a new revision. kept: annotations
    that say what somebody decided; they stand until the new revision has all traffic, and become `released` then.
    """

    body: Mapping[str, Any]
    base: Mapping[str, int]
    shares: tuple[int, ...]
    end: tuple[Mapping[str, Any], ...]
    fresh: bool = True
    kept: Mapping[str, str | None] = field(default_factory=dict)
    released: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def previous(self) -> str:
        """The revision that serves most of the traffic until the new one does."""
        return routing.most(self.base)

    def steps(self, candidate: str) -> tuple[int, ...]:
        """The shares of a revision in order; a revision that serves already needs no first ones."""
        return (*(() if set(self.base) == {candidate} else self.shares), routing.WHOLE)


def decide(
    state: ServiceState | None, body: Mapping[str, Any], changes: Sequence[Change], shares: tuple[int, ...]
) -> Way | None:
    """The way from the live service to the rendered body; None where nothing changes."""
    if not changes:
        return None
    end = tuple(body["spec"]["traffic"])
    again = any(change.action is Action.RUN for change in changes)
    wanted = planning.next_attempt(body) if again else dict(body)
    base = routing.base(state) if state is not None else {}
    if state is None or not base:
        return Way(wanted, {}, (), end)
    kept = {name: state.annotations.get(name) for name in (routing.HELD, promoted.NOTE)}
    note = (body["metadata"].get("annotations") or {}).get(promoted.NOTE)
    fresh = not planning.moves_only(changes)
    first = routing.with_traffic(wanted if fresh else state.body, routing.lines(base, 0), kept)
    return Way(first, base, shares, end, fresh, kept, {routing.HELD: None, promoted.NOTE: note})


def told(way: Way | None, name: str, watch_s: int) -> tuple[Change, ...]:
    """The steps of the traffic as a part of the plan; none where everything moves at once."""
    if way is None or not way.base or not way.shares:
        return ()
    shares = ", ".join(f"{share} %" for share in (*way.shares, routing.WHOLE))
    what = f"traffic in steps of {shares}, each watched for {watch_s} s"
    return (Change(Action.RUN, f"service {name}", after=what),)


def parsed(text: str) -> tuple[int, ...]:
    """The shares of --canary: "10,50"; "0" is none. Raises BadInput."""
    words = [word.strip() for word in text.split(",")]
    shares = tuple(int(word) for word in words if word.isascii() and word.isdigit())
    if shares == (0,):
        return ()
    grows = all(earlier < later for earlier, later in zip((0, *shares), (*shares, routing.WHOLE), strict=True))
    if len(shares) != len(words) or not grows:
        expected = "percents from 1 to 99 that grow, separated by commas, or 0 for none"
        raise BadInput(f"--canary: found {text!r}, expected {expected}", "For example: --canary 10,50")
    return shares

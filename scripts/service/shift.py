"""Move a service's traffic: send the lines, explain who was faster, and wait until they are in force."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scripts.cloud.run import ServiceState
from scripts.errors import STATUS, Conflict, OpsError
from scripts.service import apply, routing
from scripts.service.target import Target

TIMEOUT_S = 120.0
TRIES = 4
AGAIN = "Run the same command again: it reads the new state, shows what differs and applies it."
MODIFIER = "serving.knative.dev/lastModifier"


def move(
    target: Target, state: ServiceState, traffic: Sequence[Mapping[str, Any]], say: Callable[[str], None],
    notes: Mapping[str, str | None] | None = None,
) -> ServiceState:  # fmt: skip
    """The service once these lines are in force; notes: annotations to set or (None) to remove.

    state: the service as it was read last. Raises Conflict when somebody else changed it since, OpsError when the
    traffic is not in force within TIMEOUT_S.
    """
    generation = state.generation
    for attempt in range(1, TRIES + 1):
        body = routing.with_traffic(state.body, traffic, notes)
        try:
            sent = apply.service(target, body, state)
        except Conflict as error:
            # The platform itself writes a service's status, which changes its version but not its generation.
            now = target.run.get_service(target.name)
            if now is None or now.generation != generation or attempt == TRIES:
                raise explained(target, now, generation, error) from error
            state = now
        else:
            return await_routed(target, sent.generation, say)
    raise AssertionError("the last try returns or raises")


def put_back(
    target: Target, shares: Mapping[str, int], say: Callable[[str], None], notes: Mapping[str, str | None] | None = None
) -> tuple[str, ServiceState | None]:
    """Give the traffic back to those that had it, without a tag, and the service the annotations that it had (notes);
    what to say of it, and the service when it is done."""
    told = routing.told(shares)
    try:
        now = target.run.get_service(target.name)
        if now is None:
            return f"service {target.name} is gone", None
        return f"the traffic is as it was before: {told}", move(target, now, routing.settled(shares), say, notes)
    except OpsError as error:
        return f"the traffic could not be put back on {told}: {error.message}", None


def await_routed(target: Target, generation: int, say: Callable[[str], None]) -> ServiceState:
    """The service once the traffic of a generation is in force.

    Raises OpsError when it is not within TIMEOUT_S, Conflict when somebody else changed the service meanwhile.
    """
    state = target.run.wait_service(
        target.name, generation, timeout_s=TIMEOUT_S, on_change=lambda now: say(now.reason or "moving traffic"),
        settled=lambda now: now.routed is not None,
    )  # fmt: skip
    check_ours(target, state, generation)
    if state.routed is True:
        return state
    why = state.reason or f"nothing was heard for {TIMEOUT_S:g} s"
    raise OpsError(f"the traffic of {target.name} is not as it was asked for: {why}", target.advice(STATUS))


def check_ours(target: Target, state: ServiceState, generation: int) -> None:
    """Raise Conflict when a service that was waited for is not any more as it was sent: what is there then is somebody
    else's, and nobody has verified it."""
    if state.generation != generation:
        raise explained(target, state, generation, Conflict("", AGAIN))


def explained(target: Target, now: ServiceState | None, generation: int, error: Conflict) -> Conflict:
    """Who changed the service while a command was at work on it."""
    if now is None:
        return Conflict(f"service {target.name} was deleted in between", error.remedy)
    who = now.annotations.get(MODIFIER, "")
    by = f" by {who}" if who else ""
    text = f"service {target.name} was changed in between{by}: generation {now.generation}, expected {generation}"
    return Conflict(text, error.remedy)


def left(error: Conflict, now: ServiceState) -> Conflict:
    """The same error, with where the traffic is: somebody else is at work, so nothing is put back."""
    text = f"{error.message}\nthe traffic is left as it is: {routing.told(routing.serving(now))}"
    return type(error)(text, error.remedy)

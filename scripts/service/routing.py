"""Traffic of a service as values: who serves, what must keep serving during a deploy, and the lines of each step.

While a deploy is under way the newest revision has the tag CANDIDATE, and what served before is named by revision.
HELD on the service says that somebody put the traffic on an earlier revision on purpose, and why.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from scripts.cloud.run import ServiceState

CANDIDATE = "candidate"
HELD = "modelshelf.dev/held-revision"
WHOLE = 100
_WRITTEN = ("name", "namespace", "labels", "annotations")
_SERVERS = re.compile(r"serving\.knative\.dev/(creator|lastModifier)|run\.googleapis\.com/(operation-id|urls)")

Line = dict[str, Any]
Shares = Mapping[str, int]


def serving(state: ServiceState) -> dict[str, int]:
    """The revisions that get traffic now, with their percents."""
    names = dict.fromkeys(str(line["revisionName"]) for line in state.traffic if line.get("percent"))
    return {name: state.percent(name) for name in names}


def unfinished(state: ServiceState) -> bool:
    """Whether a deploy left its candidate behind: it was interrupted, or runs now."""
    return any(line.get("tag") == CANDIDATE for line in state.spec.get("traffic") or ())


def base(state: ServiceState) -> dict[str, int]:
    """What a deploy protects: what serves now; of a deploy that did not end, what served before it."""
    shares = serving(state)
    others = {name: share for name, share in shares.items() if name != state.latest_created_revision}
    if unfinished(state) and others:
        return {max(others, key=lambda name: others[name]): WHOLE}
    return shares


def lines(shares: Shares, percent: int) -> list[Line]:
    """Traffic while the candidate has a percentage of it: the others share the rest as they did."""
    rest = scaled(shares, WHOLE - percent)
    found: list[Line] = [{"revisionName": name, "percent": share} for name, share in rest.items() if share]
    candidate: Line = {"latestRevision": True, "tag": CANDIDATE}
    return [*found, candidate | {"percent": percent} if percent else candidate]


def settled(shares: Shares) -> list[Line]:
    """Traffic as it was: these revisions by name, and nobody else."""
    return [{"revisionName": name, "percent": share} for name, share in shares.items()]


def scaled(shares: Shares, total: int) -> dict[str, int]:
    """Whole percents in the same proportions that sum to total; the largest remainders get what rounding left."""
    whole = sum(shares.values())
    exact = {name: share * total / whole for name, share in shares.items()}
    made = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: exact[name] - made[name], reverse=True)
    for name in by_remainder[: total - sum(made.values())]:
        made[name] += 1
    return made


def pinned(state: ServiceState) -> str:
    """The revision that all traffic is pinned to though a newer one is there; empty when it follows the newest."""
    given = [line for line in state.spec.get("traffic") or () if line.get("percent")]
    names = {str(line.get("revisionName") or "") for line in given}
    name = names.pop() if len(names) == 1 else ""
    return name if name != state.latest_created_revision else ""


def held(state: ServiceState) -> str:
    """Why the traffic is held on an earlier revision; empty when nobody holds it there."""
    noted = state.body.get("metadata", {}).get("annotations", {}).get(HELD, "")
    revision, _, reason = noted.partition(": ")
    return (reason or "no reason was given") if revision and revision == pinned(state) else ""


def hold_note(revision: str, reason: str) -> dict[str, str]:
    """The annotation that holds the traffic on a revision until a deploy has something new to serve."""
    return {HELD: f"{revision}: {reason}"}


def with_traffic(
    body: Mapping[str, Any], traffic: Sequence[Mapping[str, Any]], notes: Mapping[str, str | None] | None = None
) -> dict[str, Any]:
    """A service's document to be sent with other traffic, without what the server writes into it by itself.

    notes: annotations of the service, None removes one.
    """
    made: dict[str, Any] = copy.deepcopy({key: value for key, value in body.items() if key != "status"})
    made["spec"]["traffic"] = [dict(line) for line in traffic]
    meta = {key: made["metadata"][key] for key in _WRITTEN if key in made["metadata"]}
    noted = {**meta.get("annotations", {}), **(notes or {})}
    kept = {key: value for key, value in noted.items() if value is not None and not _SERVERS.fullmatch(key)}
    made["metadata"] = {**meta, "annotations": kept}
    return made


def told(shares: Shares) -> str:
    """Shares for people: 100 % api-00002."""
    return ", ".join(f"{share} % {name}" for name, share in shares.items())


def tag_url(state: ServiceState) -> str:
    """Where the candidate answers; empty while no tag is in force."""
    return next((str(line.get("url", "")) for line in state.traffic if line.get("tag") == CANDIDATE), "")

"""Traffic of a service as values: who serves, what is pinned and why, and the lines and the document of a change of it.

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
_BACK = "rolled back from "
_WRITTEN = ("name", "namespace", "labels", "annotations")
_SERVERS = re.compile(r"serving\.knative\.dev/(creator|lastModifier)|run\.googleapis\.com/(operation-id|urls)")

Line = dict[str, Any]
Shares = Mapping[str, int]


def serving(state: ServiceState) -> dict[str, int]:
    """The revisions that get traffic now, with their percents."""
    names = dict.fromkeys(str(line.get("revisionName") or "") for line in state.traffic if line.get("percent"))
    return {name: state.percent(name) for name in names if name}


def most(shares: Shares) -> str:
    """The revision with the largest share; empty without any."""
    return max(shares, key=lambda name: shares[name], default="")


def unfinished(state: ServiceState) -> bool:
    """Whether a deploy left its candidate behind: it was interrupted, or runs now."""
    return any(line.get("tag") == CANDIDATE for line in state.spec.get("traffic") or ())


def base(state: ServiceState) -> dict[str, int]:
    """What a deploy protects: what serves now; of a deploy that did not end, what served before it."""
    shares = serving(state)
    others = {name: share for name, share in shares.items() if name != state.latest_created_revision}
    if unfinished(state) and others:
        return {most(others): WHOLE}
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
    """The revision that has all traffic by its name; empty where traffic follows the newest one or is split."""
    given = [line for line in state.spec.get("traffic") or () if line.get("percent")]
    names = {"" if line.get("latestRevision") else str(line.get("revisionName") or "") for line in given}
    return names.pop() if len(names) == 1 else ""


def overtaken(state: ServiceState) -> str:
    """The revision that all traffic is pinned to though a newer one is there; empty when it follows the newest."""
    name = pinned(state)
    return name if name != state.latest_created_revision else ""


def held(state: ServiceState) -> str:
    """Why the traffic is held on an earlier revision; empty when nobody holds it there."""
    revision, reason = _noted(state)
    return (reason or "no reason was given") if revision and revision == overtaken(state) else ""


def rolled_back(state: ServiceState) -> tuple[str, str] | None:
    """(from, to) of a rollback that still stands: traffic is pinned to what it went back to, or to its successor."""
    to, why = _noted(state)
    return (why.removeprefix(_BACK), to) if to and to == pinned(state) and why.startswith(_BACK) else None


def _noted(state: ServiceState) -> tuple[str, str]:
    """(revision, reason) of the last hold, whether it still counts or not."""
    revision, _, reason = state.annotations.get(HELD, "").partition(": ")
    return revision, reason


def hold_note(revision: str, reason: str) -> dict[str, str]:
    """The annotation that holds the traffic on a revision until a deploy has something new to serve."""
    return {HELD: f"{revision}: {reason}"}


def rollback_note(before: str, to: str) -> dict[str, str]:
    """The annotation of traffic that was brought back from a revision to an earlier one."""
    return hold_note(to, f"{_BACK}{before}")


def pinned_lines(state: ServiceState, revision: str) -> list[Line]:
    """All traffic for a revision by its name; tags keep answering where they did, but for that of a deploy which did
    not end: somebody decided otherwise now."""
    tagged = [line for line in state.spec.get("traffic") or () if line.get("tag") not in (None, "", CANDIDATE)]
    own = next((line["tag"] for line in tagged if line.get("revisionName") == revision), "")
    others = [
        {key: value for key, value in line.items() if key in ("tag", "revisionName", "latestRevision")}
        for line in tagged
        if line.get("revisionName") != revision
    ]
    return [{"revisionName": revision, "percent": WHOLE, **({"tag": own} if own else {})}, *others]


def with_traffic(
    body: Mapping[str, Any], traffic: Sequence[Mapping[str, Any]], notes: Mapping[str, str | None] | None = None
) -> dict[str, Any]:
    """A service's document to be sent with other traffic; notes as in sendable()."""
    made = sendable(body, notes)
    made["spec"]["traffic"] = [dict(line) for line in traffic]
    return made


def sendable(body: Mapping[str, Any], notes: Mapping[str, str | None] | None = None) -> dict[str, Any]:
    """A copy of a service's document as it can be sent: without what the server writes into it by itself.

    notes: annotations of the service, None removes one.
    """
    made: dict[str, Any] = copy.deepcopy({key: value for key, value in body.items() if key != "status"})
    meta = {key: made["metadata"][key] for key in _WRITTEN if key in made["metadata"]}
    noted = {**meta.get("annotations", {}), **(notes or {})}
    kept = {key: value for key, value in noted.items() if value is not None and not _SERVERS.fullmatch(key)}
    made["metadata"] = {**meta, "annotations": kept}
    return made


def told(shares: Shares) -> str:
    """Shares for people: 100 % api-00002."""
    return ", ".join(f"{share} % {name}" for name, share in shares.items()) or "nobody"


def tag_url(state: ServiceState) -> str:
    """Where the candidate answers; empty while no tag is in force."""
    return next((str(line.get("url", "")) for line in state.traffic if line.get("tag") == CANDIDATE), "")

"""What somebody decided about a live service and the files do not say: a rollback's pinned revision, a toggled cache.

notes() tells what stands, and until when. successor() is the live service as
the next change has to send it, so that such a change keeps what stands.
"""

from __future__ import annotations

import copy
import secrets
from collections.abc import Mapping
from typing import Any

from scripts.cloud.run import Revision, ServiceState
from scripts.errors import STATUS, NotFound
from scripts.service.routing import HELD
from scripts.service.target import Target

_FROM = "rolled back from "
# In a revision that was made of an older one's template: the older one's name.
REVISION_OF = "modelshelf.dev/revision-of"
TOGGLE = "SHARED_MODEL_VOLUME_ENABLED"
# Google's own annotations and labels of a revision, which no template may carry.
_SERVERS = ("serving.knative.dev/", "cloud.googleapis.com/", "run.googleapis.com/client-", "client.knative.dev/")
_SERVERS_NAMES = frozenset({"run.googleapis.com/operation-id", "run.googleapis.com/startupProbeType"})


def pinned(state: ServiceState) -> str:
    """The revision that has all traffic by its name; empty where traffic follows the latest one or is split."""
    shares = [share for share in state.spec.get("traffic", ()) if int(share.get("percent") or 0)]
    names = {"" if share.get("latestRevision") else str(share.get("revisionName") or "") for share in shares}
    return names.pop() if len(names) == 1 else ""


def rolled_back(state: ServiceState) -> tuple[str, str] | None:
    """(from, to) of a rollback that still stands: traffic is pinned to what it went back to."""
    noted = (state.body.get("metadata", {}).get("annotations") or {}).get(HELD, "")
    to, _, why = noted.partition(": ")
    return (why.removeprefix(_FROM), to) if to and pinned(state) == to and why.startswith(_FROM) else None


def notes(target: Target, state: ServiceState | None) -> list[str]:
    """What stands and until when, one sentence each."""
    back = rolled_back(state) if state is not None else None
    until = "it stays until there is something new to deploy, or deploy --unpin"
    return ([f"{_FROM}{back[0]} to {back[1]}: {until}"] if back is not None else []) + toggled(target, state)


def toggled(target: Target, state: ServiceState | None) -> list[str]:
    """What the next deploy does to a toggled cache, in one sentence; nothing where it is as the file says."""
    live = state.container_env.get(TOGGLE) if state is not None else None
    wanted = "true" if target.settings.cache.enabled else "false"
    if live is None or live == wanted:
        return []
    return [f"{TOGGLE} was toggled to {live}: a deploy sets it to {wanted}, as the environment file says"]


def pinned_traffic(state: ServiceState, revision: str) -> list[dict[str, Any]]:
    """All traffic for a revision by its name; tags keep answering where they did."""
    tagged = [
        {key: value for key, value in share.items() if key in ("tag", "revisionName", "latestRevision")}
        for share in state.spec.get("traffic", ())
        if share.get("tag") and share.get("revisionName") != revision
    ]
    kept = next((share["tag"] for share in state.spec.get("traffic", ()) if _tags(share, revision)), "")
    return [{"revisionName": revision, "percent": 100, **({"tag": kept} if kept else {})}, *tagged]


def _tags(share: Mapping[str, Any], revision: str) -> bool:
    return bool(share.get("tag")) and share.get("revisionName") == revision


def plain(state: ServiceState) -> dict[str, Any]:
    """The live document as it can be sent: without what the server says of it."""
    return copy.deepcopy({key: value for key, value in state.body.items() if key != "status"})


def note_rollback(body: dict[str, Any], before: str, to: str) -> None:
    """Write into a document that its traffic was brought back from a revision to an earlier one."""
    body["metadata"].setdefault("annotations", {})[HELD] = f"{to}: {_FROM}{before}"


def successor(target: Target, state: ServiceState, origin: str = "") -> dict[str, Any]:
    """The live document for a new revision that keeps what serves, to be edited and sent.

    Where traffic is pinned by name (or origin names a revision) the new revision has that one's template, a name of its
    own, and all traffic. Raises NotFound when that revision is gone.
    """
    body = plain(state)
    body["spec"]["template"].setdefault("metadata", {}).pop("name", None)  # a revision's name can be used once only
    source = origin or pinned(state)
    if not source:
        return body
    found = target.run.get_revision(source)
    if found is None:
        raise NotFound(f"revision {source} of {target.name} does not exist any more", target.advice(STATUS))
    name = f"{target.name}-{secrets.token_hex(4)}"
    body["spec"]["template"] = _template(found, name)
    body["spec"]["traffic"] = pinned_traffic(state, name)
    back = rolled_back(state)
    if origin or back is not None:
        note_rollback(body, back[0] if back is not None else serving(state), name)
    return body


def serving(state: ServiceState) -> str:
    """The revision with the most traffic; empty without any."""
    shares = {str(share.get("revisionName")): int(share.get("percent") or 0) for share in state.traffic}
    return max(shares, key=lambda name: shares[name], default="")


def told(state: ServiceState) -> str:
    """Who gets how much of the traffic, for people."""
    shares = [share for share in state.traffic if share.get("percent")]
    return ", ".join(f"{share['percent']} % {share.get('revisionName', 'latest')}" for share in shares) or "nobody"


def origin_of(revision: Revision) -> str:
    """The revision whose template this one has: itself, or the older one that it was made of."""
    notes = revision.body.get("metadata", {}).get("annotations") or {}
    return str(notes.get(REVISION_OF) or revision.name)


def _template(revision: Revision, name: str) -> dict[str, Any]:
    meta = revision.body.get("metadata", {})
    return {
        "metadata": {
            "name": name,
            "labels": _ours(meta.get("labels") or {}),
            "annotations": {**_ours(meta.get("annotations") or {}), REVISION_OF: origin_of(revision)},
        },
        "spec": copy.deepcopy(revision.body["spec"]),
    }


def _ours(entries: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in entries.items() if not key.startswith(_SERVERS) and key not in _SERVERS_NAMES}


def merge_env(body: dict[str, Any], name: str, value: str) -> None:
    """Set one variable of the container in a document; all others stay, in their order."""
    container = body["spec"]["template"]["spec"]["containers"][0]
    before = container.get("env", [])
    entry = {"name": name, "value": value}
    found = any(item.get("name") == name for item in before)
    container["env"] = [entry if item.get("name") == name else item for item in before] + ([] if found else [entry])

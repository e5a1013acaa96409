"""The live document of a service as the next change has to send it: what serves and what somebody decided stays."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Mapping
from typing import Any

from scripts.cloud.run import Revision, ServiceState
from scripts.errors import STATUS, NotFound
from scripts.service import routing
from scripts.service.target import Target

# In a revision that was made of an older one's template: the older one's name.
REVISION_OF = "modelshelf.dev/revision-of"
# Google's own annotations and labels of a revision, which no template may carry.
_SERVERS = ("serving.knative.dev/", "cloud.googleapis.com/", "run.googleapis.com/client-", "client.knative.dev/")
_SERVERS_NAMES = frozenset({"run.googleapis.com/operation-id", "run.googleapis.com/startupProbeType"})


def successor(target: Target, state: ServiceState, origin: str = "") -> dict[str, Any]:
    """The live document for a new revision that keeps what serves, to be edited and sent.

    Where traffic is pinned by name (or origin names a revision) the new revision has that one's template, a name of its
    own, and all traffic. Raises NotFound when that revision is gone.
    """
    body = routing.sendable(state.body)
    body["spec"]["template"].setdefault("metadata", {}).pop("name", None)  # a revision's name can be used once only
    source = origin or routing.pinned(state)
    if not source:
        return body
    found = target.run.get_revision(source)
    if found is None:
        raise NotFound(f"revision {source} of {target.name} does not exist any more", target.advice(STATUS))
    name = f"{target.name}-{secrets.token_hex(4)}"
    body["spec"]["template"] = _template(found, name)
    back = routing.rolled_back(state)
    before = back[0] if back is not None else routing.most(routing.serving(state))
    notes = routing.rollback_note(before, name) if origin or back is not None else None
    return routing.with_traffic(body, routing.pinned_lines(state, name), notes)


def origin_of(revision: Revision) -> str:
    """The revision whose template this one has: itself, or the older one that it was made of."""
    return revision.annotations.get(REVISION_OF) or revision.name


def _template(revision: Revision, name: str) -> dict[str, Any]:
    labels = revision.body.get("metadata", {}).get("labels") or {}
    return {
        "metadata": {
            "name": name,
            "labels": _ours(labels),
            "annotations": {**_ours(revision.annotations), REVISION_OF: origin_of(revision)},
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

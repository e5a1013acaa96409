"""Which versions the revisions of an environment name: those must not be removed under instances that may start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.models import layout

if TYPE_CHECKING:
    from scripts.cloud.run import RunClient, ServiceState

# The annotation by which a revision tells the version that it was deployed with.
VERSION_NOTE = "modelshelf.dev/model-version"


def live_versions(run: RunClient) -> set[str]:
    """The versions that live revisions of the project name, or pin. Live is one that gets traffic, that a tag leads
    to, or that is the newest of its service; one that is only kept for the record starts no instances.

    Raises what the client raises; asks for run.services.list and run.revisions.list.
    """
    live = {name for state in run.list_services() for name in _live(state)}
    found = set()
    for revision in run.list_revisions():
        if revision.name in live:
            notes = revision.body.get("metadata", {}).get("annotations") or {}
            found |= {notes.get(VERSION_NOTE, ""), revision.container_env.get("MODEL_CACHE_VERSION", "")}
    return {version for version in found if layout.is_version(version)}


def _live(state: ServiceState) -> set[str]:
    shares = (*state.traffic, *state.spec.get("traffic", ()))
    named = {str(share.get("revisionName") or "") for share in shares if share.get("percent") or share.get("tag")}
    return named | {state.latest_created_revision, state.latest_ready_revision}

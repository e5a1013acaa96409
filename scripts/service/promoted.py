"""The image that a promotion put into an environment: it stays, whatever the environment file names as its default.

A promotion serves what another environment validated. The file's own image is another one, so without a note the next
deploy would put that one there, and status would call the promotion a difference. The note is an annotation of the
service; it ends when the file names another image than it did then, and with a deploy of --image.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

from scripts.cloud.run import ServiceState
from scripts.plan import Action, Change
from scripts.service import apply, routing, shift
from scripts.service.steps import Talk
from scripts.service.target import Target

NOTE = "modelshelf.dev/promoted-image"
_BETWEEN = " instead of "


def note(target: Target, image: str) -> str:
    """What the annotation says: the image, and the file's that it stands in for."""
    return f"{image}{_BETWEEN}{target.service.image}"


def applied(target: Target, state: ServiceState | None) -> Target:
    """The target with the image that was promoted, while that stands; else the target itself."""
    noted = _noted(state)
    image, _, instead = noted.partition(_BETWEEN)
    if not image or instead != target.service.image:
        return target
    service = target.service.model_copy(update={"image": image})
    services = MappingProxyType({**target.settings.services, target.key: service})
    return replace(target, settings=target.settings.model_copy(update={"services": services}), promoted=noted)


def told(target: Target) -> list[str]:
    """What somebody who deploys should know of it."""
    image, _, instead = target.promoted.partition(_BETWEEN)
    place = f"environments/{target.environment}.yaml"
    ends = f"it stays until {place} names another image than {instead}, or until --image"
    return [f"image {image} was promoted: {ends}"] if image else []


def kept(body: dict[str, Any], target: Target) -> dict[str, Any]:
    """A rendered service with the note that stands."""
    if not target.promoted:
        return body
    meta = body["metadata"]
    return {**body, "metadata": {**meta, "annotations": {**meta.get("annotations", {}), NOTE: target.promoted}}}


def changes(target: Target, state: ServiceState | None, image: str) -> tuple[Change, ...]:
    """Writing the note, as a part of a plan; none where it is there."""
    before = _noted(state).partition(_BETWEEN)[0]
    done = _noted(state) == note(target, image)
    return () if done else (Change(Action.UPDATE, f"service {target.name}", "promoted image", before, image),)


def keep(target: Target, image: str, talk: Talk) -> None:
    """Write the note into the live service: no revision is made. Raises Conflict when somebody else changed it."""
    state = target.run.get_service(target.name)
    if state is None or not changes(target, state, image):
        return
    body = routing.with_traffic(state.body, state.spec.get("traffic") or (), {NOTE: note(target, image)})
    shift.await_routed(target, apply.service(target, body, state).generation, talk.progress)


def _noted(state: ServiceState | None) -> str:
    return state.annotations.get(NOTE, "") if state is not None else ""

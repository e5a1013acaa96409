"""The JSON documents of services and revisions: how they are made and what their status says. Pure functions."""

from __future__ import annotations

import copy
import secrets
import string
import uuid
from collections.abc import Sequence
from typing import Any

from scripts.localcloud.context import REGION
from scripts.localcloud.run import images
from scripts.localcloud.run.conditions import FALSE, TRUE, UNKNOWN, Condition, merge
from scripts.localcloud.run.store import CALLER, LOCATION_LABEL, SERVING, Document, new_version

SERVICE_LABEL = "serving.knative.dev/service"
_LETTERS = "bcdfghjklmnpqrstvwxz"


def new_revision(service: Document, number: int, digests: Sequence[str], now: str) -> Document:
    """The revision that a service's present template asks for; its conditions are Unknown.

    number counts the service's templates; digests are what the containers' images are now, "" for a missing one.
    """
    metadata, template = service["metadata"], service["spec"]["template"]
    given = template.get("metadata") or {}
    name = given.get("name") or f"{metadata['name']}-{number:05d}-{_suffix()}"
    labels = {
        **(given.get("labels") or {}),
        SERVICE_LABEL: metadata["name"],
        "serving.knative.dev/configuration": metadata["name"],
        "serving.knative.dev/configurationGeneration": str(number),
        "serving.knative.dev/serviceUid": metadata["uid"],
        LOCATION_LABEL: REGION,
    }
    revision: Document = {
        "apiVersion": SERVING,
        "kind": "Revision",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "selfLink": f"/apis/{SERVING}/namespaces/{metadata['namespace']}/revisions/{name}",
            "uid": str(uuid.uuid4()),
            "generation": 1,
            "resourceVersion": new_version(),
            "creationTimestamp": now,
            "labels": labels,
            "annotations": {**(given.get("annotations") or {}), "serving.knative.dev/creator": CALLER},
            "ownerReferences": [_owner(metadata)],
        },
        "spec": copy.deepcopy(template["spec"]),
        "status": {
            "observedGeneration": 1,
            "serviceName": metadata["name"],
            "conditions": revision_conditions([], UNKNOWN, "Deploying", "The revision is being started.", now),
        },
    }
    set_digests(revision, digests)
    return revision


def number(revision: Document) -> int:
    """The how-manieth template of its service a revision was made of."""
    text = revision["metadata"]["labels"].get("serving.knative.dev/configurationGeneration", "")
    return int(text) if text.isdigit() else 0


def set_digests(revision: Document, digests: Sequence[str]) -> None:
    """Write into a revision's status what its images are."""
    found = revision["spec"]["containers"]
    statuses = [
        {"name": each.get("name") or "", "imageDigest": digest} for each, digest in zip(found, digests, strict=True)
    ]
    revision["status"]["containerStatuses"] = statuses
    revision["status"]["imageDigest"] = digests[0]


def missing_image(revision: Document) -> str:
    """What to say of an image of the revision that did not exist when it was made; "" when all did."""
    statuses = revision["status"].get("containerStatuses") or []
    for container, status in zip(revision["spec"]["containers"], statuses, strict=False):
        if not status["imageDigest"]:
            return images.not_found(container["image"])
    return ""


def _owner(configuration: Document) -> Document:
    return {
        "apiVersion": SERVING,
        "kind": "Configuration",
        "name": configuration["name"],
        "uid": configuration["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def revision_conditions(old: list[Document], status: str, reason: str, message: str, now: str) -> list[Document]:
    """Conditions of a revision; a failure names its reason in ContainerHealthy or ResourcesAvailable too."""
    container = reason in ("HealthCheckContainerError", "ContainerStartFailed")
    shown = (reason, message) if status != TRUE else ("", "")
    return merge(
        old,
        [
            Condition("Ready", status, *shown),
            Condition("ContainerHealthy", status if status != FALSE or container else UNKNOWN, *shown),
            Condition("ResourcesAvailable", status if status != FALSE or not container else TRUE, *shown),
        ],
        now,
    ) + [each for each in old if each["type"] == "Active"]


def with_activity(revision: Document, active: bool, now: str) -> Document:
    """The revision with its Active condition: whether it has traffic."""
    others = [each for each in revision["status"]["conditions"] if each["type"] != "Active"]
    reason = ("", "") if active else ("NoTraffic", "The revision has no traffic.")
    condition = Condition("Active", TRUE if active else FALSE, *reason, "" if active else "Info")
    active_entry = merge(revision["status"]["conditions"], [condition], now)
    return {**revision, "status": {**revision["status"], "conditions": others + active_entry}}


def service_status(
    service: Document, now: str, configuration: tuple[str, str, str], routes: tuple[str, str, str]
) -> list[Document]:
    """Conditions of a service from (status, reason, message) of its configuration and of its routes."""
    states = (configuration, routes)
    ready = next((each for each in states if each[0] == FALSE), None)
    ready = ready or next((each for each in states if each[0] == UNKNOWN), (TRUE, "", ""))
    return merge(
        service.get("status", {}).get("conditions", []),
        [
            Condition("Ready", *ready),
            Condition("ConfigurationsReady", *configuration),
            Condition("RoutesReady", *routes),
        ],
        now,
    )


def set_address(service: Document, base: str, slug: str) -> None:
    """Write where the service answers into its status: base is the daemon's address, slug the name in URLs."""
    status = service["status"]
    status["url"] = f"{base}/run/{slug}"
    status["address"] = {"url": status["url"]}
    for line in status.get("traffic", ()):
        if "tag" in line:
            line["url"] = tag_url(base, line["tag"], slug)


def tag_url(base: str, tag: str, slug: str) -> str:
    """Where a traffic tag answers."""
    return f"{base}/run/{tag}---{slug}"


def route_of(service: Document) -> Document:
    """The Route that belongs to a service (same name)."""
    return _part_of(service, "Route", {"traffic": service["spec"].get("traffic", [])}, ("url", "address", "traffic"))


def configuration_of(service: Document) -> Document:
    """The Configuration that belongs to a service (same name)."""
    names = ("latestCreatedRevisionName", "latestReadyRevisionName")
    return _part_of(service, "Configuration", {"template": service["spec"]["template"]}, names)


def _part_of(service: Document, kind: str, spec: Document, kept: tuple[str, ...]) -> Document:
    condition = {"Route": "RoutesReady", "Configuration": "ConfigurationsReady"}[kind]
    status: dict[str, Any] = {key: service["status"][key] for key in kept if key in service["status"]}
    status["observedGeneration"] = service["status"]["observedGeneration"]
    status["conditions"] = [
        {**each, "type": "Ready"} for each in service["status"]["conditions"] if each["type"] == condition
    ]
    metadata = {key: value for key, value in service["metadata"].items() if key != "annotations"}
    plural = {"Route": "routes", "Configuration": "configurations"}[kind]
    metadata["selfLink"] = metadata["selfLink"].replace("/services/", f"/{plural}/")
    return {"apiVersion": SERVING, "kind": kind, "metadata": metadata, "spec": spec, "status": status}


def _suffix() -> str:
    return "".join(secrets.choice(_LETTERS if place != 1 else string.digits) for place in range(3))

"""Access lists (ACLs) as values: what may stand in one, predefined ones, and when there is none. Pure.

cloud.google.com/storage/docs/access-control/lists; who may do what is kept and shown, but not enforced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from scripts.localcloud.storage.records import Bucket, Record, project_number
from scripts.localcloud.web import ApiError

PUBLIC = ("allUsers", "allAuthenticatedUsers")
_ENTITY = re.compile(r"allUsers|allAuthenticatedUsers|(user|group)-\S+|domain-\S+|project-(owners|editors|viewers)-\w+")
_READ = "https://cloud.google.com/storage/docs/uniform-bucket-level-access"
Entries = list[dict[str, str]]


def refuse_uniform(bucket: Bucket, what: str) -> None:
    """Raises ApiError 400 where access is uniform, as there are no lists then; what: "get legacy ACL for a bucket"."""
    if bucket.uniform:
        text = f"Cannot {what} when uniform bucket-level access is enabled. Read more at {_READ}"
        raise ApiError(400, text, "invalid")


def refuse_public(bucket: Bucket, members: list[str]) -> None:
    """Raises ApiError 412 when everybody would get access although that is prevented."""
    if bucket.private and any(member in PUBLIC for member in members):
        text = "The member bindings allUsers and allAuthenticatedUsers are not allowed"
        raise ApiError(412, f"{text} since public access prevention is enforced.", "conditionNotMet")


def checked(listed: Any, bucket: Bucket, roles: tuple[str, ...]) -> Entries:
    """The entries of a list as they are kept. Raises ApiError 400 or 412 (public access prevention)."""
    if not isinstance(listed, list):
        raise ApiError(400, "Invalid value for acl: expected a list of {entity, role}", "invalid")
    found: dict[str, str] = {}
    for entry in listed:
        entity, role = (entry.get("entity"), entry.get("role")) if isinstance(entry, dict) else (None, None)
        if not isinstance(entity, str) or not _ENTITY.fullmatch(entity):
            raise ApiError(400, f"Unknown ACL entity: {str(entity)[:100]!r}", "invalid")
        if role not in roles:
            raise ApiError(400, f"Invalid role: {str(role)[:100]!r}; expected one of {', '.join(roles)}", "invalid")
        found[entity] = role
    refuse_public(bucket, list(found))
    return [{"entity": entity, "role": role} for entity, role in found.items()]


BUCKET_ROLES = ("OWNER", "WRITER", "READER")
OBJECT_ROLES = ("OWNER", "READER")


def predefined(name: str, bucket: Bucket, *, of_object: bool) -> Entries:
    """The entries of a predefined list. Raises ApiError 400 or 412."""
    owners, editors, viewers = (f"project-{team}-{project_number(bucket.project)}" for team in _TEAMS)
    private = {owners: "OWNER"}
    team = {owners: "OWNER", editors: "OWNER", viewers: "READER"}
    known: dict[str, dict[str, str]] = {
        "private": private,
        "projectPrivate": team,
        "authenticatedRead": {**private, "allAuthenticatedUsers": "READER"},
        "publicRead": {**private, "allUsers": "READER"},
    }
    if of_object:
        known.update({"bucketOwnerRead": {owners: "READER"}, "bucketOwnerFullControl": private})
    else:
        known["publicReadWrite"] = {**private, "allUsers": "WRITER"}
    if name not in known:
        raise ApiError(400, f"Invalid predefined ACL {name[:100]!r}; expected one of {', '.join(known)}", "invalid")
    refuse_public(bucket, list(known[name]))
    return [{"entity": entity, "role": role} for entity, role in known[name].items()]


_TEAMS = ("owners", "editors", "viewers")


def of_object(bucket: Bucket, query: Mapping[str, str], resource: Mapping[str, Any]) -> dict[str, Any]:
    """The list that a request gives an object, as a field; none when it gives none. Raises ApiError 400 or 412."""
    name = query.get("predefinedAcl") or query.get("destinationPredefinedAcl")
    listed = resource.get("acl")
    if not name and not listed:
        return {}
    refuse_uniform(bucket, "insert legacy ACL for an object" if name else "update access control for an object")
    if name:
        return {"acl": predefined(name, bucket, of_object=True)}
    return {"acl": checked(listed, bucket, OBJECT_ROLES)}


def bucket_list(bucket: Bucket, key: str = "acl") -> Entries:
    """A bucket's own list ("acl") or the one of new objects ("defaultObjectAcl")."""
    kept: Entries | None = bucket.settings.get(key)
    return kept if kept is not None else predefined("projectPrivate", bucket, of_object=key != "acl")


def object_list(bucket: Bucket, record: Record) -> Entries:
    """An object's list."""
    kept: Entries | None = record.fields.get("acl")
    return kept if kept is not None else bucket_list(bucket, "defaultObjectAcl")


def shown(entry: Mapping[str, str], bucket: Bucket, record: Record | None, key: str, base_url: str) -> dict[str, Any]:
    """An entry as the API shows it."""
    entity, role = entry["entity"], entry["role"]
    kind = "bucketAccessControl" if record is None and key == "acl" else "objectAccessControl"
    found: dict[str, Any] = {"kind": f"storage#{kind}", "entity": entity, "role": role, "bucket": bucket.name}
    found["etag"] = record.etag if record is not None else bucket.etag
    path = f"{bucket.name}"
    if record is not None:
        found.update({"object": record.name, "generation": str(record.generation)})
        path = f"{bucket.name}/o/{quote(record.name, safe='')}"
    found["id"] = f"{bucket.name}/{record.name}/{record.generation}/{entity}" if record else f"{bucket.name}/{entity}"
    found["selfLink"] = f"{base_url}/storage/v1/b/{path}/{key}/{quote(entity, safe='@')}"
    if entity.startswith(("user-", "group-")):
        found["email"] = entity.partition("-")[2]
    elif entity.startswith("domain-"):
        found["domain"] = entity.partition("-")[2]
    elif entity.startswith("project-"):
        _, team, number = entity.split("-", 2)
        found["projectTeam"] = {"projectNumber": number, "team": team}
    return found

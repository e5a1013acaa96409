"""Where the objects of Cloud Run are kept: JSON documents by (kind, project, name), in the daemon's database."""

from __future__ import annotations

import base64
import json
import uuid
import zlib
from collections.abc import Iterator
from typing import Any

from scripts.localcloud.admin.documents import Documents
from scripts.localcloud.admin.projects import KNOWN
from scripts.localcloud.context import REGION, Context
from scripts.localcloud.run import selectors
from scripts.localcloud.web import ApiError, Request

SERVING = "serving.knative.dev/v1"
RUN = "run.googleapis.com/v1"
LOCATION_LABEL = "cloud.googleapis.com/location"
CALLER = "local"  # who called: nobody is asked for a name here
_SERVER_LABELS = (LOCATION_LABEL, "run.googleapis.com/lastUpdatedTime")
_SERVER_ANNOTATIONS = ("creator", "lastModifier")

_TABLES = """
CREATE TABLE IF NOT EXISTS run_objects (
  kind TEXT NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL, sequence INTEGER NOT NULL, document TEXT NOT NULL,
  PRIMARY KEY (kind, project, name));
CREATE TABLE IF NOT EXISTS run_projects (number TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS run_slugs (slug TEXT PRIMARY KEY, project TEXT NOT NULL, service TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS run_processes (id TEXT PRIMARY KEY, pid INTEGER NOT NULL, started TEXT NOT NULL);
"""

Document = dict[str, Any]


class Store:
    """Reads and writes documents; every method is one step of the event loop, hence atomic."""

    def __init__(self, context: Context) -> None:
        self._db = context.db
        self._documents = Documents(context.db)
        self.context = context
        self._db.script(_TABLES)

    def project(self, namespace: str) -> str:
        """The project id of a namespace, which may be the project's number as well."""
        if not namespace.isdigit():
            return namespace
        row = self._db.row("SELECT id FROM run_projects WHERE number = ?", namespace)
        if row:
            return str(row["id"])
        told = (each for each in self._documents.children(KNOWN) if each["projectNumber"] == namespace)
        return str(next(told, {"projectId": namespace})["projectId"])

    def check_namespace(self, given: Document, project: str) -> None:
        """Raise ApiError 400 when metadata names another project than the URL."""
        found = given.get("namespace")
        if found and self.project(found) != project:
            raise ApiError(400, f"metadata.namespace: expected '{project}' as in the URL, found '{found}'.")

    def number(self, project: str) -> str:
        """The project's number: made from its id, stable, twelve digits."""
        number = str(100_000_000_000 + zlib.crc32(project.encode()))
        self._db.run("INSERT OR IGNORE INTO run_projects (number, id) VALUES (?, ?)", number, project)
        return number

    def get(self, kind: str, project: str, name: str) -> Document | None:
        """One document, or None."""
        row = self._db.row(
            "SELECT document FROM run_objects WHERE kind = ? AND project = ? AND name = ?", kind, project, name
        )
        return json.loads(row["document"]) if row else None

    def need(self, kind: str, project: str, name: str) -> Document:
        """One document. Raises ApiError 404 in Google's words."""
        found = self.get(kind, project, name)
        if found is None:
            what = f"Resource '{name}' of kind '{kind.upper()}'"
            raise ApiError(404, f"{what} in region '{REGION}' in project '{project}' does not exist.")
        return found

    def put(self, kind: str, project: str, name: str, document: Document) -> None:
        """Create or replace a document."""
        self._db.run(
            "INSERT INTO run_objects (kind, project, name, sequence, document)"
            " VALUES (?, ?, ?, (SELECT COALESCE(MAX(sequence), 0) + 1 FROM run_objects), ?)"
            " ON CONFLICT (kind, project, name) DO UPDATE SET document = excluded.document",
            kind, project, name, json.dumps(document, separators=(",", ":")),
        )  # fmt: skip

    def delete(self, kind: str, project: str, name: str) -> None:
        """Remove a document; one that is gone is no error."""
        self._db.run("DELETE FROM run_objects WHERE kind = ? AND project = ? AND name = ?", kind, project, name)

    def all(self, kind: str, project: str | None = None) -> Iterator[tuple[str, Document]]:
        """(project, document) of a kind, oldest first; of one project or of all."""
        where, values = ("AND project = ?", (project,)) if project is not None else ("", ())
        sql = f"SELECT project, document FROM run_objects WHERE kind = ? {where} ORDER BY sequence"
        for row in self._db.rows(sql, kind, *values):
            yield row["project"], json.loads(row["document"])

    def labelled(self, kind: str, project: str, label: str, value: str) -> list[Document]:
        """The documents of a kind that carry a label, oldest first."""
        return [each for _, each in self.all(kind, project) if each["metadata"]["labels"].get(label) == value]

    def slug(self, project: str, service: str) -> str:
        """The service's name in URLs: its own name, or name-NUMBER when another project had that name first."""
        row = self._db.row("SELECT slug FROM run_slugs WHERE project = ? AND service = ?", project, service)
        if row:
            return str(row["slug"])
        taken = self._db.row("SELECT 1 FROM run_slugs WHERE slug = ?", service)
        slug = f"{service}-{self.number(project)}" if taken else service
        self._db.run("INSERT INTO run_slugs (slug, project, service) VALUES (?, ?, ?)", slug, project, service)
        return slug

    def owner(self, slug: str) -> tuple[str, str] | None:
        """(project, service) behind a name in URLs."""
        row = self._db.row("SELECT project, service FROM run_slugs WHERE slug = ?", slug)
        return (row["project"], row["service"]) if row else None

    def release_slug(self, project: str, service: str) -> None:
        """The service is deleted: its name in URLs is free."""
        self._db.run("DELETE FROM run_slugs WHERE project = ? AND service = ?", project, service)


def new_metadata(store: Store, project: str, path: str, given: Document, now: str) -> Document:
    """metadata of a new object: what the client gave plus what the server sets. path names the collection's API."""
    name = given["name"]
    number = store.number(project)
    return {
        **given,
        "namespace": number,
        "selfLink": f"/apis/{path}/{name}".replace("{namespace}", number),
        "uid": str(uuid.uuid4()),
        "generation": 1,
        "resourceVersion": new_version(),
        "creationTimestamp": now,
        "labels": {**(given.get("labels") or {}), LOCATION_LABEL: REGION},
        "annotations": dict(given.get("annotations") or {}),
    }


def changed_metadata(old: Document, given: Document) -> Document:
    """metadata after a replace: labels and annotations are the client's, identity and the server's own are kept."""
    labels = {key: value for key, value in old["labels"].items() if key in _SERVER_LABELS}
    kept = {key: value for key, value in old["annotations"].items() if _is_servers(key)}
    theirs = {key: value for key, value in (given.get("annotations") or {}).items() if not _is_servers(key)}
    return {**old, "labels": {**(given.get("labels") or {}), **labels}, "annotations": {**theirs, **kept}}


def _is_servers(annotation: str) -> bool:
    space, _, name = annotation.partition("/")
    return name in _SERVER_ANNOTATIONS and space in (SERVING.partition("/")[0], RUN.partition("/")[0])


def stamp(metadata: Document, old: Document, api: str, now: str) -> None:
    """Write into metadata who made an object and who changed it last (and for a job, when)."""
    space = api.partition("/")[0]
    before = (old.get("annotations") or {}).get(f"{space}/creator", CALLER)
    metadata["annotations"] |= {f"{space}/creator": before, f"{space}/lastModifier": CALLER}
    if api == RUN:
        metadata["labels"]["run.googleapis.com/lastUpdatedTime"] = now


def dry_run(request: Request) -> bool:
    """Whether a change shall only be tried. Raises ApiError 400."""
    value = request.query.get("dryRun", "")
    if value not in ("", "all"):
        raise ApiError(400, f"dryRun: expected 'all', found {value!r}.")
    return value == "all"


def new_version() -> str:
    """An opaque resourceVersion, different every time."""
    return base64.b64encode(b"\0" + uuid.uuid4().bytes[:8]).decode()


def check_version(given: Document, current: Document) -> None:
    """Raise ApiError 409 when the client's metadata.resourceVersion is not the current one; none given is accepted."""
    wanted, found = given.get("resourceVersion"), current["metadata"]["resourceVersion"]
    if wanted and wanted != found:
        name = current["metadata"]["name"]
        raise ApiError(
            409,
            f"Conflict for resource '{name}': version '{wanted}' was specified but current version is '{found}'.",
            status="ABORTED",
        )


def page(kind: str, api: str, documents: list[Document], request: Request) -> Document:
    """A list answer: labelSelector, fieldSelector, limit and continue applied. Raises ApiError 400."""
    return selectors.page(kind, api, documents, request.query)

"""The Hugging Face hub: model information, trees in pages, files by branch or commit, large ones redirected.

Answers what huggingface_hub 2.4 asks when it reads (HfApi.model_info, list_repo_tree, list_repo_refs,
get_paths_info, hf_hub_download, snapshot_download); the wire is described in that package's file_download.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlencode

from scripts.localcloud.upstream.blobs import Links, serve
from scripts.localcloud.upstream.catalog import Catalog, Entry, Revision
from scripts.localcloud.upstream.counters import Counters
from scripts.localcloud.web import ApiError, Headers, Request, Response, Route, parse_query

PREFIX = "/upstream/huggingface"
PAGE_SIZE = 1000
_POINTER_BYTES = 135
_DATE = "2026-01-01T00:00:00.000Z"
_TRUE = ("true", "1", "yes")


class Hub:
    """Handlers of the hub's routes."""

    def __init__(self, catalog: Catalog, links: Links, counters: Counters) -> None:
        self._catalog = catalog
        self._links = links
        self._counters = counters

    def routes(self) -> list[Route]:
        model = f"{PREFIX}/api/models/{{owner}}/{{name}}"
        return [
            Route("GET", model, self._info, "upstream.huggingface.models.get"),
            Route("GET", f"{model}/revision/{{revision+}}", self._info, "upstream.huggingface.models.get"),
            Route("GET", f"{model}/refs", self._refs, "upstream.huggingface.refs.list"),
            Route("GET", f"{model}/tree/{{revision+}}", self._tree, "upstream.huggingface.tree.list"),
            Route("GET", f"{model}/tree/{{revision+}}/{{folder*}}", self._tree, "upstream.huggingface.tree.list"),
            Route("POST", f"{model}/paths-info/{{revision+}}", self._paths_info, "upstream.huggingface.paths.get"),
            Route(
                "GET",
                f"{PREFIX}/{{owner}}/{{name}}/resolve/{{revision+}}/{{path*}}",
                self._resolve,
                "upstream.huggingface.files.get",
            ),
        ]

    async def _find(self, request: Request) -> Revision | Response:
        given = request.headers.get("authorization")
        if given is not None and not given.startswith("Bearer hf_"):
            return _error(401, "", "Invalid credentials in Authorization header")
        name, revision = _name(request), request.params.get("revision", "main")
        if not self._catalog.tags("huggingface", name):
            return _error(404, "RepoNotFound", "Repository not found")
        found = await self._catalog.find("huggingface", name, revision)
        return found or _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")

    async def _info(self, request: Request) -> Response:
        found = await self._find(request)
        if isinstance(found, Response):
            return found
        detailed = request.query.get("blobs", "").lower() in _TRUE
        owner = found.name.partition("/")[0]
        return Response.of_json(
            {
                "_id": found.revision[:24], "id": found.name, "modelId": found.name, "author": owner,
                "sha": found.revision, "lastModified": _DATE, "createdAt": _DATE, "private": False, "gated": False,
                "disabled": False, "downloads": 0, "likes": 0, "tags": [],
                "siblings": [_sibling(entry, detailed) for entry in found.entries.values()],
            }
        )  # fmt: skip

    async def _refs(self, request: Request) -> Response:
        main = await self._find(request)
        if isinstance(main, Response):
            return main
        branches = []
        for tag in self._catalog.tags("huggingface", main.name):
            found = await self._catalog.find("huggingface", main.name, tag)
            if found is not None:
                branches.append({"name": tag, "ref": f"refs/heads/{tag}", "targetCommit": found.revision})
        return Response.of_json({"branches": branches, "converts": [], "tags": []})

    async def _tree(self, request: Request) -> Response:
        found = await self._find(request)
        if isinstance(found, Response):
            return found
        folder = request.params.get("folder", "").strip("/")
        items = list(_listing(found, folder, request.query.get("recursive", "").lower() in _TRUE))
        if folder and not items:
            return _error(404, "EntryNotFound", f"{folder} does not exist on {found.revision}", found.revision)
        after = request.query.get("cursor", "")
        rest = [item for item in items if item["path"] > after]
        limit = request.query.get("limit", "")
        size = min(max(int(limit), 1), PAGE_SIZE) if limit.isdigit() else PAGE_SIZE
        page = rest[:size]
        headers: Headers = ()
        if len(rest) > size:
            query = urlencode({**request.query, "cursor": page[-1]["path"]})
            headers = (("link", f'<{request.base_url}{request.raw_path}?{query}>; rel="next"'),)
        return Response.of_json(page, headers=headers)

    async def _paths_info(self, request: Request) -> Response:
        found = await self._find(request)
        if isinstance(found, Response):
            return found
        # huggingface_hub sends a form, the hub's documentation shows JSON.
        form = "urlencoded" in request.headers.get("content-type", "")
        body = (await request.read()).decode(errors="replace") if form else await request.json_object()
        asked = (parse_query(body)[1] if isinstance(body, str) else body).get("paths", [])
        if not isinstance(asked, list) or not all(isinstance(path, str) for path in asked):
            raise ApiError(400, 'Expected {"paths": [PATH, …]}')
        every = {item["path"]: item for item in _listing(found, "", True)}
        return Response.of_json([every[path] for path in asked if path in every])

    async def _resolve(self, request: Request) -> Response:
        """A small file as it is; a large one as a redirect whose headers already tell its digest and size."""
        found = await self._find(request)
        if isinstance(found, Response):
            return found
        path = request.params["path"]
        entry = found.entries.get(path)
        if entry is None:
            return _error(404, "EntryNotFound", "Entry not found", found.revision)
        name = quote(PurePosixPath(path).name)
        headers = (
            ("x-repo-commit", found.revision),
            ("content-disposition", f"inline; filename*=UTF-8''{name}; filename=\"{name}\";"),
        )
        if not entry.lfs:
            return serve(request, entry.content, entry.digests.git_oid, self._counters, headers)
        linked = (
            ("x-linked-etag", f'"{entry.digests.sha256}"'),
            ("x-linked-size", str(entry.content.size_bytes)),
            ("etag", f'"{entry.digests.git_oid}"'),
            ("accept-ranges", "bytes"),
            ("location", self._links.make(request, entry.digests.sha256)),
        )
        return Response(302, b"", (*headers, *linked), "text/plain; charset=utf-8")


def _name(request: Request) -> str:
    return f"{request.params['owner']}/{request.params['name']}"


def _sibling(entry: Entry, detailed: bool) -> dict[str, Any]:
    if not detailed:
        return {"rfilename": entry.path}
    size = entry.content.size_bytes
    lfs = {"lfs": {"sha256": entry.digests.sha256, "size": size, "pointerSize": _POINTER_BYTES}} if entry.lfs else {}
    return {"rfilename": entry.path, "blobId": entry.digests.git_oid, "size": size, **lfs}


def _listing(found: Revision, folder: str, recursive: bool) -> Iterable[dict[str, Any]]:
    """Files and folders below a folder, sorted by path."""
    items: dict[str, dict[str, Any]] = {}
    prefix = f"{folder}/" if folder else ""
    for path, entry in found.entries.items():
        if not path.startswith(prefix):
            continue
        parents = [str(parent) for parent in PurePosixPath(path).parents if str(parent) not in (".", folder)]
        for parent in parents:
            if parent.startswith(prefix) and (recursive or "/" not in parent[len(prefix) :]):
                items[parent] = {"type": "directory", "oid": found.revision, "size": 0, "path": parent}
        if recursive or "/" not in path[len(prefix) :]:
            items[path] = _file(entry)
    return [items[path] for path in sorted(items)]


def _file(entry: Entry) -> dict[str, Any]:
    size = entry.content.size_bytes
    lfs = {"lfs": {"oid": entry.digests.sha256, "size": size, "pointerSize": _POINTER_BYTES}} if entry.lfs else {}
    return {"type": "file", "oid": entry.digests.git_oid, "size": size, "path": entry.path, **lfs}


def _error(status: int, code: str, message: str, commit: str = "") -> Response:
    headers = [("x-error-message", message)]
    headers += [("x-error-code", code)] if code else []
    headers += [("x-repo-commit", commit)] if commit else []
    return Response.of_json({"error": message}, status, tuple(headers))

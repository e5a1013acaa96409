"""The image registry: what the OCI distribution specification (1.1) has for pulling, and /_local/images to move tags.

It answers at the hosts of Artifact Registry and Container Registry through the proxy, and on the port itself, where a
path may begin with such a host. Nothing can be pushed: the images are the programs of the table.
"""

from __future__ import annotations

from scripts.localcloud.run import images
from scripts.localcloud.run.image_store import DIGEST, ImageStore, Stored
from scripts.localcloud.web import ApiError, Request, Response, Route

_VERSION = ("docker-distribution-api-version", "registry/2.0")


class Registry:
    """The routes below /v2/ that are a registry's, and /_local/images."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        """Routes of the registry; they come last in /v2/, after those of the APIs."""
        return [
            Route("GET", "/v2/", self._ping, "registry.ping"),
            Route("GET", "/v2/_catalog", self._catalog, "registry.repositories.list"),
            Route("GET", "/v2/{name*}/manifests/{reference+}", self._manifest, "registry.manifests.get"),
            Route("GET", "/v2/{name*}/blobs/{digest+}", self._blob, "registry.blobs.get"),
            Route("GET", "/v2/{name*}/tags/list", self._tags, "registry.tags.list"),
            Route("GET", "/_local/images", self._list, "local.images.list"),
            Route("POST", "/_local/images", self._move, "local.images.move"),
            Route("DELETE", "/_local/images", self._remove, "local.images.delete"),
        ]

    async def _ping(self, request: Request) -> Response:
        return Response.of_json({}, headers=(_VERSION,))

    async def _catalog(self, request: Request) -> Response:
        return Response.of_json({"repositories": self._store.repositories()}, headers=(_VERSION,))

    async def _manifest(self, request: Request) -> Response:
        repository = self._repository(request)
        if repository is None:
            return _unknown("NAME_UNKNOWN", f'Repository "{request.params["name"]}" not found')
        wanted = request.params["reference"]
        found = self._store.manifest(repository, wanted)
        if found is None:
            return _unknown("MANIFEST_UNKNOWN", f'Failed to fetch "{wanted}"')
        return _answer(found)

    async def _blob(self, request: Request) -> Response:
        digest = request.params["digest"]
        found = self._store.blob(digest) if DIGEST.fullmatch(digest) and self._repository(request) else None
        return _answer(found) if found is not None else _unknown("BLOB_UNKNOWN", f'Failed to fetch "{digest}"')

    async def _tags(self, request: Request) -> Response:
        repository = self._repository(request)
        if repository is None:
            return _unknown("NAME_UNKNOWN", f'Repository "{request.params["name"]}" not found')
        tags = {"name": request.params["name"], "tags": self._store.tags(repository)}
        return Response.of_json(tags, headers=(_VERSION,))

    def _repository(self, request: Request) -> str | None:
        """`HOST/PATH` of a request; None when no program stands for it."""
        name = request.params["name"]
        host = request.headers.get("host", "").partition(":")[0].lower()
        found = images.parse(f"{host}/{name}") if images.is_registry(host) else images.parse(name)
        if found is None or images.image_name(name) not in images.IMAGES:
            return None
        if found.host == "docker.io" and not images.is_registry(host):
            # on the port itself a path is enough where one repository is known by it
            known = [each for each in self._store.repositories() if each.partition("/")[2] == found.path]
            return known[0] if len(known) == 1 else found.repository
        return found.repository

    async def _list(self, request: Request) -> Response:
        return Response.of_json({"images": self._store.set_by_hand(), "repositories": self._store.repositories()})

    async def _move(self, request: Request) -> Response:
        """{"reference", "digest"?}: the tag names that digest, or a new build, from now on."""
        body = await request.json_object()
        reference, digest = body.get("reference"), body.get("digest", "")
        if not isinstance(reference, str) or not isinstance(digest, str) or set(body) - {"reference", "digest"}:
            raise ApiError(
                400, 'Expected {"reference": "HOST/PATH:TAG", "digest": "sha256:…"}; the digest may be left out.'
            )
        return Response.of_json({"reference": reference, "digest": self._store.move(reference, digest)})

    async def _remove(self, request: Request) -> Response:
        """?reference=HOST/PATH:TAG is unknown from now on."""
        reference = request.query.get("reference", "")
        self._store.take_away(reference)
        return Response.of_json({"reference": reference, "exists": False})


def _answer(found: Stored) -> Response:
    headers = (_VERSION, ("docker-content-digest", found.digest), ("etag", f'"{found.digest}"'))
    return Response(200, found.body, headers, found.media)


def _unknown(code: str, message: str) -> Response:
    return Response.of_json({"errors": [{"code": code, "message": message}]}, 404, (_VERSION,))

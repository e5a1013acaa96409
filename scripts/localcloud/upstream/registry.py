"""The Ollama registry: the distribution protocol's token challenge, manifests by tag or digest, redirected blobs.

Protocol: OCI distribution-spec 1.1 (pull) and the token authentication of the Docker registry.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable

from scripts.localcloud.upstream.blobs import Links
from scripts.localcloud.upstream.catalog import MANIFEST_TYPE, Catalog, Revision
from scripts.localcloud.web import Request, Response, Route

PREFIX = "/upstream/ollama"
SERVICE = "registry.modelshelf.localhost"
TOKEN_LIFETIME_S = 300
_SCOPE = re.compile(r"repository:([A-Za-z0-9._/-]+):pull")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class Registry:
    """Handlers of the registry's routes."""

    def __init__(self, catalog: Catalog, links: Links, secret: str, clock: Callable[[], float]) -> None:
        self._catalog = catalog
        self._links = links
        self._secret = secret.encode()
        self._clock = clock

    def routes(self) -> list[Route]:
        model = f"{PREFIX}/v2/{{namespace}}/{{name}}"
        return [
            Route("GET", f"{PREFIX}/token", self._token, "upstream.ollama.token.get"),
            Route("GET", f"{PREFIX}/v2/", self._base, "upstream.ollama.base.get"),
            Route("GET", f"{PREFIX}/v2", self._base, "upstream.ollama.base.get"),
            Route("GET", f"{model}/tags/list", self._tags, "upstream.ollama.tags.list"),
            Route("GET", f"{model}/manifests/{{reference+}}", self._manifest, "upstream.ollama.manifests.get"),
            Route("GET", f"{model}/blobs/{{digest+}}", self._blob, "upstream.ollama.blobs.get"),
        ]

    async def _token(self, request: Request) -> Response:
        """A token for the scopes asked for; anonymous pulls get one, too, as at the real registry."""
        if request.query.get("service") != SERVICE:
            return _error(400, "UNSUPPORTED", f"unknown service {request.query.get('service')!r}")
        scopes = [scope for scope in request.query_all.get("scope", []) if _SCOPE.fullmatch(scope)]
        claims = {"scopes": scopes, "expires": int(self._clock()) + TOKEN_LIFETIME_S}
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()
        token = f"{payload}.{self._sign(payload)}"
        return Response.of_json({"token": token, "access_token": token, "expires_in": TOKEN_LIFETIME_S})

    async def _base(self, request: Request) -> Response:
        return self._challenge(request, "") or Response.of_json({})

    async def _tags(self, request: Request) -> Response:
        name = _name(request)
        tags = self._catalog.tags("ollama", name)
        refused = self._challenge(request, name)
        if refused is not None:
            return refused
        return Response.of_json({"name": name, "tags": tags}) if tags else _unknown(name)

    async def _manifest(self, request: Request) -> Response:
        refused = self._challenge(request, _name(request))
        if refused is not None:
            return refused
        reference = request.params["reference"]
        found = await self._catalog.find("ollama", _name(request), reference)
        if found is None:
            return _unknown(f"{_name(request)}:{reference}")
        if not _accepts(request.headers.get("accept", "")):
            return _error(404, "MANIFEST_UNKNOWN", f"the manifest is {MANIFEST_TYPE}, which Accept does not allow")
        return _manifest_response(request, found)

    async def _blob(self, request: Request) -> Response:
        refused = self._challenge(request, _name(request))
        if refused is not None:
            return refused
        match = _DIGEST.fullmatch(request.params["digest"])
        if match is None:
            return _error(400, "DIGEST_INVALID", "expected sha256: and 64 hexadecimal digits")
        content = await self._catalog.blob(match.group(1), "ollama")
        if content is None or not self._catalog.tags("ollama", _name(request)):
            return _error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        headers = (("docker-content-digest", match.group(0)), ("accept-ranges", "bytes"))
        if request.method == "HEAD":
            sized = (*headers, ("content-length", str(content.size_bytes)), ("etag", f'"{match.group(0)}"'))
            return Response(200, b"", sized, "application/octet-stream")
        return Response(307, b"", (*headers, ("location", self._links.make(request, match.group(1)))))

    def _challenge(self, request: Request, name: str) -> Response | None:
        """The 401 that tells where a token comes from; None when the request carries a good one for this model."""
        given = request.headers.get("authorization", "")
        scope = f"repository:{name}:pull" if name else ""
        if given.startswith("Bearer ") and self._good(given.removeprefix("Bearer "), scope):
            return None
        parts = [f'realm="{request.base_url}{PREFIX}/token"', f'service="{SERVICE}"']
        parts += [f'scope="{scope}"'] if scope else []
        parts += ['error="invalid_token"'] if given else []
        refused = _error(401, "UNAUTHORIZED", "authentication required")
        refused.headers = (*refused.headers, ("www-authenticate", f"Bearer {','.join(parts)}"))
        return refused

    def _good(self, token: str, scope: str) -> bool:
        payload, _, signature = token.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(payload).encode()):
            return False
        claims = json.loads(base64.urlsafe_b64decode(payload))
        return bool(claims["expires"] >= self._clock() and (not scope or scope in claims["scopes"]))

    def _sign(self, payload: str) -> str:
        return hmac.new(self._secret, payload.encode(), hashlib.sha256).hexdigest()


def _name(request: Request) -> str:
    return f"{request.params['namespace']}/{request.params['name']}"


def _accepts(accept: str) -> bool:
    allowed = {part.split(";")[0].strip().lower() for part in accept.split(",")}
    return bool(allowed & {"", "*/*", "application/*", MANIFEST_TYPE})


def _manifest_response(request: Request, found: Revision) -> Response:
    tag = f'"{found.revision}"'
    headers = (("docker-content-digest", found.revision), ("etag", tag))
    if request.headers.get("if-none-match") == tag:
        return Response(304, b"", headers)
    length = ("content-length", str(len(found.manifest)))
    return Response(200, found.manifest, (*headers, length), MANIFEST_TYPE)


def _unknown(what: str) -> Response:
    return _error(404, "MANIFEST_UNKNOWN", f"manifest unknown: {what}")


def _error(status: int, code: str, message: str) -> Response:
    body = {"errors": [{"code": code, "message": message}]}
    return Response.of_json(body, status, (("docker-distribution-api-version", "registry/2.0"),))

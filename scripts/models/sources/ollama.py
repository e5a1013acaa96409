"""Models from an Ollama registry: a client of the distribution protocol that pulls what `ollama pull` would store.

Protocol: OCI distribution-spec 1.1 (manifests, blobs) with the token authentication of the Docker registry; store
layout: blobs/sha256-HEX and manifests/registry.ollama.ai/NAMESPACE/NAME/TAG, the manifest's bytes as served.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests

from scripts.errors import BadInput, NotFound, OpsError
from scripts.models.sources.backoff import Backoff, Patience
from scripts.models.sources.base import RemoteFile, Resolved, part
from scripts.models.sources.http import Http, refuse
from scripts.settings.types import ModelSpec

STORE_HOST = "registry.ollama.ai"
MANIFEST_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
MANIFEST_LIMIT_BYTES = 4 << 20
_TOKEN_LIMIT_BYTES = 1 << 20
# No token is used for longer, whatever its endpoint says.
_TOKEN_LIFE_S = 86_400
_REFERENCE = re.compile(r"(?:([A-Za-z0-9][\w.-]{0,79})/)?([A-Za-z0-9][\w.-]{0,79}):(\w[\w.-]{0,127})", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_UNTRUSTED = "Do not use this model; the published version keeps serving."


@dataclass(frozen=True)
class Reference:
    """A source taken apart: `library/llama3.2:1b` is namespace library, name llama3.2, tag 1b."""

    namespace: str
    name: str
    tag: str

    @property
    def repository(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class _Manifest:
    revision: str
    raw: bytes


class OllamaSource:
    """Resolves and streams models of one registry; see base.Source. Safe to use from several threads."""

    def __init__(self, base_url: str, *, client: str = "", patience: Patience | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._http = Http(client=client, patience=patience or Patience())
        self._tokens: dict[str, tuple[str, float]] = {}

    @property
    def received_bytes(self) -> int:
        return self._http.received_bytes

    def resolve(self, spec: ModelSpec, pinned: str | None = None) -> Resolved:
        """See base.Source; one request while the tag still points at the wanted revision, else one more."""
        reference = parse_reference(spec)
        wanted = spec.revision or pinned
        if wanted and not _DIGEST.fullmatch(wanted):
            raise BadInput(
                f"model {spec.name!r}: revision {wanted!r} is not sha256: and 64 hexadecimal digits",
                "Correct `revision` in the environment file, or leave it empty to pin what the tag names now.",
            )
        tagged = self._manifest(spec, reference, reference.tag)
        found = tagged
        if wanted and (tagged is None or tagged.revision != wanted):
            found = self._manifest(spec, reference, wanted)
        if found is None:
            raise _gone(spec, wanted, tagged)
        moved = bool(tagged and not spec.revision and tagged.revision != found.revision)
        files = _files(spec, reference, found)
        return Resolved(spec, found.revision, files, tagged.revision if moved and tagged is not None else None)

    def open(self, resolved: Resolved, file: RemoteFile, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """See base.Source."""
        if file.content is not None:
            return part(file.content, start, stop)
        repository = parse_reference(resolved.spec).repository
        what = f"model {resolved.spec.name!r}, {file.identity[:19]}… of {repository}"
        url = f"{self._base_url}/v2/{repository}/blobs/{file.identity}"

        def opener(headers: Mapping[str, str], backoff: Backoff) -> requests.Response:
            response = self._get(url, repository, headers, what, backoff)
            if response.status_code not in (200, 206):
                refuse(response, what, "Run the sync again: its revision may have been withdrawn upstream.")
            return response

        return self._http.stream(opener, what, file.size_bytes, start, stop)

    def _manifest(self, spec: ModelSpec, reference: Reference, wanted: str) -> _Manifest | None:
        """The manifest of a tag or digest, or None when the registry has none. Raises OpsError on another digest."""
        what = f"model {spec.name!r}, manifest of {reference.repository}:{wanted}"
        url = f"{self._base_url}/v2/{reference.repository}/manifests/{wanted}"
        accept = {"Accept": ", ".join(MANIFEST_TYPES), "Accept-Encoding": "identity"}
        response, raw = self._read(url, reference.repository, accept, what)
        if response.status_code in (404, 410):
            return None
        if response.status_code != 200:
            refuse(response, what, "Check `source` of this model in the environment file.", raw)
        revision = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        promised = wanted if _DIGEST.fullmatch(wanted) else response.headers.get("Docker-Content-Digest", revision)
        if revision != promised:
            raise OpsError(f"{what}: expected content of {promised}, found {revision}", _UNTRUSTED)
        return _Manifest(revision, raw)

    def _read(
        self, url: str, repository: str, headers: Mapping[str, str], what: str
    ) -> tuple[requests.Response, bytes]:
        for fresh in (False, True):
            sent = {**headers, **self._authorization(repository)}
            response, raw = self._http.read(url, sent, what, MANIFEST_LIMIT_BYTES)
            if fresh or response.status_code != 401 or not self._renew(response, repository, what):
                break
        return response, raw

    def _get(
        self, url: str, repository: str, headers: Mapping[str, str], what: str, backoff: Backoff
    ) -> requests.Response:
        for fresh in (False, True):
            sent = {**headers, **self._authorization(repository)}
            response = self._http.request("GET", url, sent, what, backoff)
            if fresh or response.status_code != 401 or not self._renew(response, repository, what):
                break
            response.close()
        return response

    def _authorization(self, repository: str) -> dict[str, str]:
        token, expires = self._tokens.get(repository, ("", 0.0))
        return {"Authorization": f"Bearer {token}"} if token and time.monotonic() < expires else {}

    def _renew(self, refused: requests.Response, repository: str, what: str) -> bool:
        """Get the token that a 401 asks for; False when it names no realm. Nothing secret is sent to the realm."""
        scheme, _, rest = refused.headers.get("WWW-Authenticate", "").partition(" ")
        asked = dict(_CHALLENGE.findall(rest))
        realm = asked.get("realm", "")
        host = urlsplit(self._base_url)
        if scheme.lower() != "bearer" or realm.partition("://")[0].lower() not in {"https", host.scheme}:
            return False
        scope = asked.get("scope") or f"repository:{repository}:pull"
        query = urlencode({"service": asked.get("service", host.netloc), "scope": scope})
        url = realm + ("&" if "?" in realm else "?") + query
        response, raw = self._http.read(url, {}, f"{what}: token", _TOKEN_LIMIT_BYTES)
        if response.status_code != 200:
            refuse(response, f"{what}: token", "Check `source` of this model in the environment file.", raw)
        answer = _json_object(raw, f"{what}: token")
        token, lifetime_s = answer.get("token") or answer.get("access_token"), answer.get("expires_in", 60)
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise OpsError(f"{what}: the token endpoint sent no token", "Try again later.")
        lifetime_s = min(lifetime_s, _TOKEN_LIFE_S) if isinstance(lifetime_s, int | float) else 60
        self._tokens[repository] = (token, time.monotonic() + max(5.0, lifetime_s - 15.0))
        return True


def parse_reference(spec: ModelSpec) -> Reference:
    """Take `[namespace/]name:tag` apart. Raises BadInput for anything else, a host or `..` included."""
    match = _REFERENCE.fullmatch(spec.source)
    if match is None or ".." in spec.source:
        raise BadInput(
            f"model {spec.name!r}: source {spec.source!r} is not [namespace/]name:tag without a host",
            "Write it like library/llama3.2:1b in the environment file.",
        )
    namespace, name, tag = match.groups()
    return Reference(namespace or "library", name, tag)


def _gone(spec: ModelSpec, wanted: str | None, tagged: _Manifest | None) -> NotFound:
    if not wanted:
        return NotFound(
            f"model {spec.name!r}: the registry has no {spec.source!r}",
            "Check `source` of this model in the environment file; a published version keeps serving.",
        )
    now = f"the tag now points at {tagged.revision}" if tagged is not None else "nor does it have the tag any more"
    accept = f"set `revision: {tagged.revision}` for it" if tagged is not None else "choose another source"
    return NotFound(
        f"model {spec.name!r}: the registry no longer has revision {wanted} of {spec.source!r}; {now}",
        f"A published version keeps serving; to go on, {accept} in the environment file.",
    )


def _files(spec: ModelSpec, reference: Reference, found: _Manifest) -> tuple[RemoteFile, ...]:
    what = f"model {spec.name!r}, manifest {found.revision[:19]}… of {spec.source}"
    manifest = _json_object(found.raw, what)
    if manifest.get("schemaVersion") != 2 or manifest.get("mediaType") not in MANIFEST_TYPES:
        seen = f"{manifest.get('schemaVersion')!r}, {manifest.get('mediaType')!r}"
        raise OpsError(f"{what}: expected schema version 2 of an image manifest, found {seen}", _UNTRUSTED)
    layers = manifest.get("layers")
    if not isinstance(layers, list) or not layers:
        raise OpsError(f"{what}: expected a list of layers, found {type(layers).__name__}", _UNTRUSTED)
    blobs: dict[str, RemoteFile] = {}
    for place, layer in [("config", manifest.get("config")), *((f"layers[{i}]", x) for i, x in enumerate(layers))]:
        blob = _blob(layer, f"{what}: {place}")
        if blobs.setdefault(blob.path, blob) != blob:
            raise OpsError(f"{what}: {place} repeats {blob.identity} with another size", _UNTRUSTED)
    path = f"manifests/{STORE_HOST}/{reference.repository}/{reference.tag}"
    digest = found.revision.removeprefix("sha256:")
    return (*blobs.values(), RemoteFile(path, len(found.raw), digest, found.revision, found.raw))


def _blob(layer: Any, what: str) -> RemoteFile:
    digest = layer.get("digest") if isinstance(layer, dict) else None
    size = layer.get("size") if isinstance(layer, dict) else None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise OpsError(f"{what}: expected a digest sha256:HEX, found {str(digest)[:80]!r}", _UNTRUSTED)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise OpsError(f"{what}: expected a size of at least 0 bytes, found {str(size)[:80]}", _UNTRUSTED)
    sha256 = digest.removeprefix("sha256:")
    return RemoteFile(f"blobs/sha256-{sha256}", size, sha256, digest)


def _json_object(raw: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise OpsError(f"{what}: expected a JSON object, found {raw[:40]!r}", _UNTRUSTED)
    return value

"""Image registries: what digest a reference names now (OCI distribution specification 1.1, pulling only).

Google's registries get the default credentials; nobody else ever does. Others are asked anonymously, with the token
that they themselves hand out for it (their answer 401 says where).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from scripts.cloud import rest
from scripts.cloud.credentials import session
from scripts.cloud.retry import retrying
from scripts.errors import NotFound, OpsError
from scripts.settings.project import user_agent

TIMEOUT_S = 30.0
DOCKER = "docker.io"
_GOOGLE = re.compile(r"([a-z]+\.)?gcr\.io|[a-z0-9-]+\.pkg\.dev")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHALLENGE = re.compile(r'(realm|service|scope)="([^"]*)"')
_MEDIA = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


@dataclass(frozen=True)
class Reference:
    """A parsed image reference: written is the repository as it stands there, wanted a digest or a tag."""

    written: str
    host: str
    path: str
    wanted: str


def parse(reference: str) -> Reference:
    """The parts of `[HOST/]PATH[:TAG][@DIGEST]`; without a host it is Docker Hub's, without a tag `latest`."""
    name, _, digest = reference.partition("@")
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    written = f"{head}{slash}{last}"
    host, slash, path = written.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, path = DOCKER, written if "/" in written else f"library/{written}"
    return Reference(written, host, path, digest or tag or "latest")


class Registry:
    """Reads manifests; endpoint is a stand-in's address, None for the registries themselves."""

    def __init__(self, endpoint: str | None) -> None:
        self._endpoint = endpoint

    def digest(self, reference: str) -> str:
        """REPOSITORY@sha256:… that a reference names now, the repository as it is written.

        Raises NotFound when there is no such image, AccessDenied, Unreachable, and OpsError for an answer that is not
        what its digest says.
        """
        parts = parse(reference)
        what = f"look up image {reference}"
        url = f"{self._base(parts)}/manifests/{parts.wanted}"
        place = self._endpoint or parts.host
        answer = retrying(lambda: self._answer(url, self._session(parts.host), what, place))
        if answer.status_code == 404:
            raise _missing(reference, parts, place)
        found = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        told = answer.headers.get("docker-content-digest", found)
        wanted = parts.wanted if _DIGEST.fullmatch(parts.wanted) else told
        if found != told or found != wanted:
            text = f"cannot {what}: the manifest's digest is {found}, expected {wanted}"
            raise OpsError(text, "Something between here and the registry changes answers: try another network.")
        return f"{parts.written}@{found}"

    def _base(self, parts: Reference) -> str:
        if self._endpoint is not None:
            return f"{self._endpoint}/v2/{parts.host}/{parts.path}"
        host = "registry-1.docker.io" if parts.host == DOCKER else parts.host
        return f"https://{host}/v2/{parts.path}"

    def _session(self, host: str) -> Any:
        if self._endpoint is None and _GOOGLE.fullmatch(host):
            return session(None, connections=2)
        import requests

        anonymous = requests.Session()
        anonymous.trust_env = self._endpoint is None  # a proxy set for the internet must not see calls to loopback
        anonymous.headers["User-Agent"] = user_agent()
        return anonymous

    def _answer(self, url: str, client: Any, what: str, place: str) -> Any:
        """The answer 200 or 404 to a GET; every other one as its error."""
        headers = {"accept": ", ".join(_MEDIA)}
        try:
            with client:
                answer = client.get(url, headers=headers, timeout=TIMEOUT_S)
                challenge = answer.headers.get("www-authenticate", "") if answer.status_code == 401 else ""
                if token := _token(client, challenge, url.partition("//")[0]):
                    bearer = {"authorization": f"Bearer {token}"}
                    answer = client.get(url, headers=headers | bearer, timeout=TIMEOUT_S)
        except Exception as error:
            known = rest.translated(error, what, place)
            if known is None:
                raise
            raise known from error
        if answer.status_code not in (200, 404):
            raise rest.for_status(answer.status_code, _words(answer), what, place)
        return answer


def _token(client: Any, challenge: str, scheme: str) -> str:
    """The token that a registry gives to anybody who asks where its challenge says; empty without one.

    scheme: what the address has to begin with, so that nobody sends us from https to http.
    """
    asked = dict(_CHALLENGE.findall(challenge))
    realm = asked.pop("realm", "")
    if not challenge.lower().startswith("bearer ") or not realm.startswith(scheme):
        return ""
    answer = client.get(realm, params=asked, timeout=TIMEOUT_S)
    try:
        found = answer.json() if answer.status_code == 200 else {}
        return str(found.get("token") or found.get("access_token") or "")
    except (ValueError, AttributeError):
        return ""


def _words(answer: Any) -> str:
    """A registry's own words for a refusal, else the status line."""
    try:
        found = answer.json()
        first = found["errors"][0] if "errors" in found else found["error"]
        return str(first["message"])
    except (ValueError, KeyError, IndexError, TypeError):
        return str(answer.reason)


def _missing(reference: str, parts: Reference, place: str) -> OpsError:
    kind = "digest" if _DIGEST.fullmatch(parts.wanted) else "tag"
    text = f"image {reference} does not exist: {place} knows no {kind} {parts.wanted} of {parts.host}/{parts.path}"
    remedy = "Push the image, or name one that exists: in environments/ENVIRONMENT.yaml, or with --image REFERENCE"
    return NotFound(text, remedy)

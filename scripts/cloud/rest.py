"""Google's REST APIs through google-api-python-client: bundled schemas, time-outs, and errors as this project's own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from scripts.cloud.retry import retrying
from scripts.errors import STATUS, AccessDenied, BadInput, Conflict, NotFound, OpsError, Unreachable
from scripts.settings.project import user_agent

TIMEOUT_S = 60.0
LOGIN = "Run: gcloud auth application-default login"


@dataclass(frozen=True)
class Access:
    """How to reach an API: endpoint (scheme and authority) of a stand-in, None for Google; google.auth credentials."""

    endpoint: str | None
    credentials: Any

    @property
    def place(self) -> str:
        """Where calls go, for messages."""
        return self.endpoint or "Google Cloud"


class Api:
    """One API ("run", "v1"): `methods` is googleapiclient's resource tree, `execute` sends one of its requests."""

    def __init__(self, name: str, version: str, access: Access, host: str) -> None:
        """host: the API's own address at Google (regional where the API asks for it), used without an endpoint."""
        from googleapiclient.discovery import build

        self._access = access
        self.methods: Any = build(
            name,
            version,
            static_discovery=True,
            cache_discovery=False,
            http=_Http(access),
            client_options={"api_endpoint": access.endpoint or host},
        )

    def execute(self, request: Any, what: str, *, idempotent: bool = True) -> dict[str, Any]:
        """Send a request; `what` names the attempt in messages ("read service tabular-service").

        Only idempotent calls are repeated. Raises AccessDenied (401, 403), NotFound (404), Conflict (409, 412),
        BadInput (400), Unreachable (429, 5xx, no connection), OpsError otherwise.
        """

        def call() -> dict[str, Any]:
            try:
                answer: dict[str, Any] = request.execute()
            except Exception as error:
                known = translated(error, what, self._access.place)
                if known is None:
                    raise
                raise known from error
            return answer

        return retrying(call) if idempotent else call()


def translated(error: Exception, what: str, place: str) -> OpsError | None:
    """An exception of Google's libraries (or of the sockets below them) as ours; None for anything else."""
    from google.auth import exceptions as auth
    from googleapiclient.errors import HttpError

    if isinstance(error, HttpError):
        return for_status(int(error.resp.status), _message(error.content) or str(error.reason), what, place)
    if isinstance(error, (auth.DefaultCredentialsError, auth.RefreshError)):
        return AccessDenied(f"cannot {what}: the credentials are missing or have expired ({error.args[0]})", LOGIN)
    if isinstance(error, (auth.TransportError, OSError)):  # OSError: also all of requests' errors
        text = f"cannot {what}: {place} does not answer ({cause(error)})"
        return Unreachable(text, unreachable_remedy(place))
    return None


def for_status(status: int, message: str, what: str, place: str) -> OpsError:
    """The error for an HTTP status: its kind decides the exit code, its text names the attempt."""
    text = f"cannot {what}: {message.strip().rstrip('.')} (HTTP {status} from {place})"
    if status == 401:
        return AccessDenied(text, LOGIN)
    if status == 403:
        return AccessDenied(text, "Ask for the missing role, or log in as who has it. " + LOGIN)
    if status == 404:
        return NotFound(text, STATUS)
    if status in (409, 412):
        return Conflict(text, "Somebody else changed it in between: run the same command again.")
    if status == 400:
        return BadInput(text, "Correct the value named above.")
    if status == 429 or status >= 500:
        return Unreachable(text, "Wait a moment, then run the same command again: it continues where it stopped.")
    return OpsError(text)


def cause(error: BaseException) -> str:
    """Why nobody answered, in the words of the innermost cause."""
    while error.__context__ is not None:
        error = error.__context__
    text = getattr(error, "strerror", "") or str(error) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"


def unreachable_remedy(place: str) -> str:
    """What to do when nobody answers: a stand-in can be started, for Google the network is what can be checked."""
    if place.startswith("http://"):
        return "Run: ./dev invoke local.up"
    return "Check the network (and HTTPS_PROXY), then run the same command again."


class _Http:
    """What googleapiclient sends its requests with. httplib2, its own choice, sends even a POST a second time when the
    connection ended without an answer, though it may have been carried out; requests never does."""

    def __init__(self, access: Access) -> None:
        from google.auth.transport.requests import AuthorizedSession

        self._session: Any = AuthorizedSession(access.credentials)  # type: ignore[no-untyped-call]
        if access.endpoint:
            self._session.trust_env = False  # a proxy set for the internet must not see calls to loopback

    def request(
        self, uri: str, method: str = "GET", body: Any = None, headers: Any = None, **unused: Any
    ) -> tuple[Any, bytes]:
        """Send one request, once; the answer as googleapiclient reads it."""
        from httplib2 import Response

        data = body.encode() if isinstance(body, str) else body
        theirs = {key.lower(): value for key, value in (headers or {}).items()}
        named = theirs | {"user-agent": f"{user_agent()} {theirs.get('user-agent', '')}".strip()}
        answer = self._session.request(method, uri, data=data, headers=named, timeout=TIMEOUT_S, allow_redirects=False)
        head = Response({**{key.lower(): value for key, value in answer.headers.items()}, "status": answer.status_code})
        head.reason = answer.reason
        return head, answer.content

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()


def _message(content: bytes) -> str:
    try:
        found = json.loads(content)["error"]
        return str(found["message"] if isinstance(found, dict) else found)
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace").strip()[:300]

"""Application Default Credentials, or an error that says how to get them."""

from __future__ import annotations

from typing import Any

from scripts.cloud.rest import LOGIN
from scripts.errors import AccessDenied
from scripts.settings.project import user_agent

SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def default_credentials() -> Any:
    """The credentials this machine or person has for Google Cloud; raises AccessDenied when there are none."""
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

    try:
        credentials, _ = google.auth.default(scopes=[SCOPE])
    except DefaultCredentialsError as error:
        raise _without(error) from error
    except GoogleAuthError as error:
        raise AccessDenied(f"the credentials for Google Cloud cannot be used: {error}", LOGIN) from error
    return credentials


def _without(error: Exception) -> AccessDenied:
    """Nothing found is told in few words; a file that was found and cannot be used, in the first of Google's own."""
    from google.auth import _default

    told = str(error.args[0]) if error.args else ""
    plain = told == getattr(_default, "_CLOUD_SDK_MISSING_CREDENTIALS", "")
    reason = "" if plain else ": " + told.splitlines()[0].partition(". ")[0].rstrip(".")
    return AccessDenied(f"no credentials for Google Cloud{reason}", LOGIN)


def session(endpoint: str | None, connections: int = 32) -> Any:
    """A requests session: with the default credentials for Google, with none for a stand-in's endpoint."""
    from google.auth.credentials import AnonymousCredentials
    from google.auth.transport.requests import AuthorizedSession
    from requests.adapters import HTTPAdapter

    class Named(AuthorizedSession):
        """Says in front of what Google's clients call themselves who we are, and in which instance."""

        def send(self, request: Any, **options: Any) -> Any:
            theirs = request.headers.get("User-Agent", "")
            if not theirs.startswith(ours):
                request.headers["User-Agent"] = f"{ours} {theirs}".strip()
            return super().send(request, **options)

    ours = user_agent()
    credentials: Any = AnonymousCredentials() if endpoint else default_credentials()  # type: ignore[no-untyped-call]
    made: Any = Named(credentials)  # type: ignore[no-untyped-call]
    for scheme in ("http://", "https://"):
        made.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=connections))
    if endpoint:
        made.trust_env = False  # a proxy set for the internet must not see calls to loopback
    return made

"""Application Default Credentials, or an error that says how to get them."""

from __future__ import annotations

from typing import Any

from scripts.cloud.rest import LOGIN
from scripts.errors import AccessDenied

SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def default_credentials() -> Any:
    """The credentials this machine or person has for Google Cloud; raises AccessDenied when there are none."""
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

    try:
        credentials, _ = google.auth.default(scopes=[SCOPE])
    except DefaultCredentialsError as error:
        reason = str(error.args[0]).splitlines()[0].split("; see")[0].rstrip(".")
        raise AccessDenied(f"no credentials for Google Cloud: {reason}", LOGIN) from error
    except GoogleAuthError as error:
        raise AccessDenied(f"the credentials for Google Cloud cannot be used: {error}", LOGIN) from error
    return credentials


def session(endpoint: str | None, connections: int = 32) -> Any:
    """A requests session: with the default credentials for Google, with none for a stand-in's endpoint."""
    from google.auth.credentials import AnonymousCredentials
    from google.auth.transport.requests import AuthorizedSession
    from requests.adapters import HTTPAdapter

    credentials: Any = AnonymousCredentials() if endpoint else default_credentials()  # type: ignore[no-untyped-call]
    made: Any = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    for scheme in ("http://", "https://"):
        made.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=connections))
    if endpoint:
        made.trust_env = False  # a proxy set for the internet must not see calls to loopback
    return made

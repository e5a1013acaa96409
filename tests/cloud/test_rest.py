"""Every way that an API can refuse becomes one of our errors, with the remedy that fits."""

from __future__ import annotations

import httplib2
import pytest
import requests
from google.auth import exceptions as auth
from googleapiclient.errors import HttpError

from scripts.cloud import rest
from scripts.errors import AccessDenied, BadInput, Conflict, NotFound, OpsError, Unreachable

PLACE = "http://127.0.0.1:8085"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadInput), (401, AccessDenied), (403, AccessDenied), (404, NotFound), (409, Conflict), (412, Conflict),
        (429, Unreachable), (500, Unreachable), (503, Unreachable), (418, OpsError),
    ],
)  # fmt: skip
def test_a_status_becomes_the_error_of_its_kind(status: int, kind: type[OpsError]) -> None:
    content = b'{"error": {"code": 1, "message": "The thing is so."}}'
    error = rest.translated(HttpError(httplib2.Response({"status": status}), content), "read it", PLACE)
    assert type(error) is kind
    assert error.message == f"cannot read it: The thing is so (HTTP {status} from {PLACE})"


def test_a_body_that_is_not_googles_json_is_quoted() -> None:
    error = rest.translated(HttpError(httplib2.Response({"status": 502}), b"<html>bad"), "read it", PLACE)
    assert error is not None
    assert "<html>bad" in error.message


@pytest.mark.parametrize(
    ("raised", "kind", "remedy"),
    [
        (auth.RefreshError("invalid_grant"), AccessDenied, "gcloud auth application-default login"),
        (auth.TransportError("no route"), Unreachable, "local.up"),
        (ConnectionRefusedError(111, "Connection refused"), Unreachable, "local.up"),
        (TimeoutError(), Unreachable, "local.up"),
        (requests.ConnectionError("no such host"), Unreachable, "local.up"),
    ],
)
def test_a_broken_connection_or_login_is_told(raised: Exception, kind: type[OpsError], remedy: str) -> None:
    error = rest.translated(raised, "read it", PLACE)
    assert type(error) is kind
    assert remedy in error.remedy


def test_what_is_not_about_the_call_is_left_alone() -> None:
    assert rest.translated(ValueError("ours"), "read it", PLACE) is None


def test_google_is_not_started_with_local_up() -> None:
    assert "local.up" not in rest.unreachable_remedy("Google Cloud")

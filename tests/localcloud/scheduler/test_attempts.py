"""The request of a job: headers that it may choose, and those that are Cloud Scheduler's own."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from scripts.localcloud.scheduler import attempts
from scripts.localcloud.web import ApiError

NAME = "projects/demo/locations/europe-west1/jobs/nightly"


def headers(**target: Any) -> dict[str, str]:
    job = {"name": NAME, "httpTarget": {"uri": "http://127.0.0.1/x", "httpMethod": "POST", **target}}
    return {name.lower(): value for name, value in attempts.headers(job, 1_800_000_000.0).items()}


def test_its_own_headers_are_not_the_jobs_to_choose() -> None:
    given = {"X-Own": "1", "user-agent": "me", "Host": "other", "x-cloudscheduler": "no", "X-Google-A": "b"}
    found = headers(headers=given, body="e30=")
    assert found == {
        "x-own": "1",
        "user-agent": "Google-Cloud-Scheduler",
        "content-type": "application/octet-stream",
        "x-cloudscheduler": "true",
        "x-cloudscheduler-jobname": "nightly",
        "x-cloudscheduler-scheduletime": "2027-01-15T08:00:00+00:00",
    }
    assert headers(headers={"content-type": "text/plain"}, body="e30=")["content-type"] == "text/plain"


def test_tokens_name_the_account_and_sign_nothing() -> None:
    email = "caller@demo.iam.gserviceaccount.com"
    assert headers(oauthToken={"serviceAccountEmail": email})["authorization"] == f"Bearer stand-in.{email}"
    token = headers(oidcToken={"serviceAccountEmail": email, "audience": "https://x"})["authorization"]
    head, claims, signature = token.removeprefix("Bearer ").split(".")
    shown = json.loads(base64.urlsafe_b64decode(claims + "=="))
    assert shown["aud"] == "https://x" and shown["email"] == email and not signature
    assert json.loads(base64.urlsafe_b64decode(head + "=="))["alg"] == "none"


def test_requests_stay_on_this_machine() -> None:
    own = "http://127.0.0.1:8085"
    assert attempts.destination("https://run.googleapis.com/v2/x?y=1", own) == f"{own}/v2/x?y=1"
    assert attempts.destination("http://api.localhost:9/x", own) == "http://api.localhost:9/x"
    for uri in ("https://example.com/", "http://127.0.0.1.example.com/", "http://googleapis.com.evil/"):
        with pytest.raises(ApiError, match="does not call"):
            attempts.destination(uri, own)

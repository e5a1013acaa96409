"""Which hosts the stand-in answers for when it is used as an HTTP proxy."""

from __future__ import annotations

import pytest

from scripts.localcloud.proxy import is_google, split_target


@pytest.mark.parametrize(
    "host",
    [
        "storage.googleapis.com", "www.googleapis.com", "Storage.GoogleAPIs.com", "run.googleapis.com",
        "europe-west1-run.googleapis.com", "northamerica-northeast1-run.googleapis.com", "logging.googleapis.com",
        "cloudscheduler.googleapis.com", "run.europe-west1.rep.googleapis.com", "storage.gcp.internal",
        "run.gcp.internal", "europe-west1-run.gcp.internal", "scheduler.gcp.internal", "logging.gcp.internal",
        "tabular-model-cache.storage.googleapis.com", "my.dotted_bucket.storage.googleapis.com",
    ],
)  # fmt: skip
def test_known_hosts_are_answered(host: str) -> None:
    assert is_google(host)


@pytest.mark.parametrize(
    "host",
    [
        "", "example.com", "googleapis.com", "evilstorage.googleapis.com", "storage.googleapis.com.evil.example",
        "compute.googleapis.com", "oauth2.googleapis.com", "metadata.google.internal", "storage.evil.internal",
        "evil-run.googleapis.com", "x.europe-west1-run.googleapis.com", "storage.googleapis.com.", "gcp.internal",
        "bucket.run.googleapis.com", "storage.googleapis.com\nx", "storageXgoogleapis.com",
    ],
)  # fmt: skip
def test_other_hosts_are_not(host: str) -> None:
    assert not is_google(host)


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", b"/storage/v1/b", None),
        ("OPTIONS", b"*", None),
        ("GET", b"//host/path", None),
        ("GET", b"/x?u=http://host/", None),
        ("GET", b"http://run.gcp.internal/apis?x=1", (b"run.gcp.internal", b"/apis?x=1")),
        ("GET", b"HTTP://h:80/a%2Fb", (b"h:80", b"/a%2Fb")),
        ("GET", b"http://h", (b"h", b"/")),
        ("GET", b"http://h?x=/y", (b"h", b"/?x=/y")),
        ("GET", b"https://user:pass@h/x", (b"h", b"/x")),
        ("CONNECT", b"storage.googleapis.com:443", (b"storage.googleapis.com:443", b"/")),
    ],
)
def test_a_target_that_names_a_host_is_split(method: str, target: bytes, expected: object) -> None:
    assert split_target(method, target) == expected

"""A project and a bucket of a test's own, and that bucket through a proxy that loses, cuts or refuses what it shall."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.cloud.storage import Bucket, open_bucket
from tests.cloud.proxy import Proxy, troubled
from tests.conftest import StandIn


@pytest.fixture
def project() -> str:
    """A project of the test's own: names in it meet nobody else's."""
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture
def bucket(common_standin: StandIn, tmp_path: Path) -> Bucket:
    made = open_bucket("p", common_standin.url, "st-" + hashlib.sha256(str(tmp_path).encode()).hexdigest()[:16])
    made.create("europe-west1", {"app": "modelshelf"})
    return made


@pytest.fixture
def proxy(common_standin: StandIn) -> Iterator[Proxy]:
    with troubled(common_standin.url) as running:
        yield running


@pytest.fixture
def through(bucket: Bucket, proxy: Proxy) -> Bucket:
    """The same bucket, reached through the proxy."""
    return open_bucket("p", proxy.url, bucket.name)

"""A bucket of a test's own, and the same one through a proxy that loses, cuts or refuses what it is told to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.cloud.storage import Bucket, open_bucket
from tests.cloud.proxy import Proxy, troubled
from tests.conftest import StandIn


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

"""Mounts without FUSE: a bound folder, or rewritten values. As late, as blind and as read-only as they can be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.mount_support import AT_ONCE, SHOWN, Connect, Mounts
from tests.contract.run_support import condition, until

pytestmark = pytest.mark.process


@pytest.fixture(scope="module", params=["namespace", "rewritten"])
def mounts(shared_standin: Any, connect: Connect, request: pytest.FixtureRequest) -> Iterator[Mounts]:
    """A stand-in that mounts in one of the simpler ways (the simplest, where no other works)."""
    made = Mounts(shared_standin, connect(shared_standin.url))
    best = shared_standin.get("/_local/mounts")["best"]
    mode = "rewritten" if best == "rewritten" else request.param
    assert shared_standin.post("/_local/mounts", {"mode": mode})["mode"] == mode
    yield made
    shared_standin.post("/_local/mounts", {"mode": None})


@pytest.fixture
def name(mounts: Mounts, request: pytest.FixtureRequest) -> str:
    """A name for a service and its bucket."""
    test = request.node.originalname.removeprefix("test_").replace("_", "-")
    return f"{request.node.callspec.params['mounts']}-{test}"[:40].strip("-")


def test_changes_show_as_late_as_the_cache_would(mounts: Mounts, name: str) -> None:
    bucket = mounts.bucket(name, pointer="v1", gone="g")
    careless = mounts.instance(name, bucket, SHOWN)
    assert careless.mode == mounts.standin.get("/_local/mounts")["mode"]
    bucket.blob("pointer").upload_from_string("v2")
    bucket.blob("gone").delete()
    bucket.blob("new").upload_from_string("n")
    assert (careless("read", "pointer"), careless("read", "gone"), careless("read", "new")) == ("v1", "g", "ENOENT")
    mounts.advance(6)
    assert (careless("read", "pointer"), careless("read", "new")) == ("v1", "n")
    mounts.advance(60)
    assert (careless("read", "pointer"), careless("read", "gone")) == ("v2", "ENOENT")


def test_at_once_when_nothing_is_remembered(mounts: Mounts, name: str) -> None:
    bucket = mounts.bucket(name, pointer="v1")
    careful = mounts.instance(name, bucket, AT_ONCE)
    bucket.blob("pointer").upload_from_string("v2")
    assert careful("read", "pointer") == "v2"
    bucket.blob("pointer").delete()
    until(lambda: careful("read", "pointer") == "ENOENT")


def test_prefixes_without_folders_are_invisible(mounts: Mounts, name: str) -> None:
    bucket = mounts.bucket(name, top="t", a__b__file="f")
    blind = mounts.instance(name, bucket, "metadata-cache-ttl-secs=0")
    assert blind("tree") == ["top"]
    bucket.blob("a/b/").upload_from_string("")
    assert blind("tree") == ["top"]
    bucket.blob("a/").upload_from_string("")
    assert blind("tree") == ["a", "a/b", "a/b/file", "top"]
    bucket.blob("a/b/").delete()
    until(lambda: blind("tree") == ["a", "top"])


def test_only_a_folder(mounts: Mounts, name: str) -> None:
    bucket = mounts.bucket(name, top="t", a__b__x="x", a__bc="no")
    careful = mounts.instance(name, bucket, f"only-dir=a/b,{AT_ONCE}")
    assert careful("tree") == ["x"]


def test_a_writable_mount_is_refused(mounts: Mounts, name: str) -> None:
    ready = condition(mounts.create(name, mounts.bucket(name).name, AT_ONCE, read_only=False), "Ready")
    assert ready["status"] == "False" and "/dev/fuse" in ready["message"] and "readOnly" in ready["message"]

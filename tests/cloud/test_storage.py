"""The bucket as publication needs it: create once, compare-and-swap, streams, and replies that never came."""

from __future__ import annotations

import hashlib
import socket
import threading
from pathlib import Path

import pytest

from scripts.cloud import storage_calls
from scripts.cloud.storage import Bucket, open_bucket
from scripts.cloud.storage_objects import Pieces, crc32c
from scripts.cloud.storage_parts import create_part
from scripts.errors import AccessDenied, BadInput, Conflict, NotFound, Unreachable
from tests.cloud.proxy import Proxy, Trouble
from tests.conftest import StandIn

pytestmark = pytest.mark.process


def test_a_bucket_is_made_once_with_what_publication_needs(bucket: Bucket, common_standin: StandIn) -> None:
    assert bucket.exists()
    assert bucket.create("europe-west1", {}) is False
    made = common_standin.get(f"/storage/v1/b/{bucket.name}")
    assert made["versioning"]["enabled"] is True
    assert made["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"] is True
    assert made["labels"] == {"app": "modelshelf"}
    rules = made["lifecycle"]["rule"]
    assert {"age": 7, "matchesPrefix": [".tmp/"]} in [rule["condition"] for rule in rules]
    assert any(rule["condition"].get("numNewerVersions") == 3 for rule in rules)


def test_a_missing_bucket_is_told_as_such(common_standin: StandIn) -> None:
    missing = open_bucket("p", common_standin.url, "not-there")
    assert not missing.exists()
    for call in (
        missing.list,
        lambda: missing.create_object("x", b""),
        lambda: create_part(missing, "x", Pieces([b"y"])),
    ):
        with pytest.raises(NotFound, match="not-there") as caught:
            call()
        assert "Check that bucket not-there exists" in caught.value.remedy
    assert missing.read("x") is None and missing.stat("x") is None


def test_create_once_and_compare_and_swap(bucket: Bucket) -> None:
    first = bucket.create_object("a/b.json", b"one")
    assert (first.size_bytes, first.crc32c) == (3, crc32c(b"one"))
    with pytest.raises(Conflict, match="HTTP 412"):
        bucket.create_object("a/b.json", b"two")
    second = bucket.replace("a/b.json", b"two", first.generation)
    with pytest.raises(Conflict):
        bucket.replace("a/b.json", b"three", first.generation)
    found = bucket.read("a/b.json")
    assert found is not None and (found[0], found[1].generation) == (b"two", second.generation)
    old = bucket.read("a/b.json", first.generation)
    assert old is not None and old[0] == b"one"
    assert bucket.read("a/none") is None and bucket.stat("a/none") is None


def test_of_twenty_racers_one_creates(bucket: Bucket) -> None:
    won: list[int] = []
    lost: list[int] = []

    def race(number: int) -> None:
        try:
            bucket.create_object("race", str(number).encode())
            won.append(number)
        except Conflict:
            lost.append(number)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = bucket.read("race")
    assert (len(won), len(lost)) == (1, 19)
    assert found is not None and found[0] == str(won[0]).encode()


def test_a_read_is_bounded(bucket: Bucket) -> None:
    bucket.create_object("big", b"x" * 1000)
    assert bucket.read("big", limit_bytes=1000) is not None
    with pytest.raises(BadInput, match="larger than the 999 bytes"):
        bucket.read("big", limit_bytes=999)
    bucket.create_object("empty", b"")
    empty = bucket.read("empty", limit_bytes=1)
    assert empty is not None and empty[0] == b""


def test_lists_folders_and_generations(bucket: Bucket) -> None:
    first = bucket.create_object("d/a", b"1")
    bucket.replace("d/a", b"2", first.generation)
    bucket.create_object("d/e/f", b"3")
    bucket.create_object("other", b"4")
    assert [info.name for info in bucket.list("d/")] == ["d/a", "d/e/f"]
    assert bucket.prefixes("") == ["d/"] and bucket.prefixes("d/") == ["d/e/"]
    versions = bucket.list("d/a", versions=True)
    assert [bool(info.deleted) for info in sorted(versions, key=lambda info: info.generation)] == [True, False]


def test_copies_happen_on_the_server_and_once(bucket: Bucket) -> None:
    source = bucket.create_object("from", b"x" * 12345)
    copy = bucket.copy("from", "to", source_generation=source.generation)
    assert (copy.size_bytes, copy.crc32c) == (source.size_bytes, source.crc32c)
    with pytest.raises(Conflict):
        bucket.copy("from", "to")
    with pytest.raises(NotFound):
        bucket.copy("nothing", "to2")
    with pytest.raises(NotFound):
        bucket.copy("from", "to3", source_generation=source.generation + 1)


def test_a_delete_is_for_good_and_for_one_generation(bucket: Bucket) -> None:
    first = bucket.create_object("x", b"1")
    second = bucket.replace("x", b"2", first.generation)
    assert bucket.delete("x", first.generation) is True
    assert bucket.delete("x", first.generation) is False
    assert [info.generation for info in bucket.list(versions=True)] == [second.generation]
    assert bucket.delete("x", second.generation) is True
    assert bucket.list(versions=True) == []


# --- replies that never came, servers that are busy ---------------------------------------------------------------


@pytest.mark.parametrize("how", ["lost", "busy", "cut"])
def test_a_create_takes_effect_once_and_is_known_as_ones_own(through: Bucket, proxy: Proxy, how: str) -> None:
    proxy.troubles = [Trouble("POST", "/upload/", how)]
    info = through.create_object("once", b"mine")
    assert through.read("once") is not None
    assert [item.generation for item in through.list(versions=True)] == [info.generation]
    assert len([line for line in proxy.seen if line.startswith("POST")]) == 2


def test_a_lost_swap_is_known_as_ones_own_and_a_rivals_is_not(through: Bucket, bucket: Bucket, proxy: Proxy) -> None:
    first = through.create_object("swap", b"1")
    proxy.troubles = [Trouble("POST", "/upload/", "lost")]
    second = through.replace("swap", b"2", first.generation)
    assert second.generation > first.generation
    bucket.replace("swap", b"2", second.generation)  # the same bytes, but not by us
    proxy.troubles = [Trouble("POST", "/upload/", "busy")]
    with pytest.raises(Conflict):
        through.replace("swap", b"2", second.generation)


def test_a_copy_and_a_delete_with_lost_replies(through: Bucket, proxy: Proxy) -> None:
    through.create_object("from", b"x")
    proxy.troubles = [Trouble("POST", "rewriteTo", "lost")]
    copy = through.copy("from", "to")
    proxy.troubles = [Trouble("DELETE", "/o/to", "lost")]
    through.delete("to", copy.generation)
    assert [info.name for info in through.list(versions=True)] == ["from"]


def test_a_bucket_whose_creation_reply_was_lost(proxy: Proxy, tmp_path: Path) -> None:
    made = open_bucket("p", proxy.url, "lost-" + hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12])
    proxy.troubles = [Trouble("POST", "/b", "lost")]
    made.create("europe-west1", {})
    assert made.exists()


@pytest.mark.parametrize("how", ["busy", "cut"])
def test_reads_and_lists_are_repeated(through: Bucket, proxy: Proxy, how: str) -> None:
    through.create_object("x", b"content")
    proxy.troubles = [Trouble("GET", "", how, 2)]
    found = through.read("x")
    assert found is not None and found[0] == b"content"
    proxy.troubles = [Trouble("GET", "", how, 2)]
    assert [info.name for info in through.list()] == ["x"]


def test_a_server_that_stays_busy_is_given_up(through: Bucket, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_calls, "BUSY_BUDGET_S", 0.5)
    proxy.troubles = [Trouble("GET", "", "busy", 1000)]
    with pytest.raises(Unreachable, match="503") as caught:
        through.list()
    assert "continues where it stopped" in caught.value.remedy


def test_a_permission_that_is_missing_is_told_at_once(through: Bucket, proxy: Proxy) -> None:
    proxy.troubles = [Trouble("POST", "/upload/", "forbidden", 1000)]
    with pytest.raises(AccessDenied, match="403"):
        through.create_object("x", b"")
    assert len(proxy.seen) == 1


def test_nobody_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_calls, "REFUSED_BUDGET_S", 0.2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nobody = open_bucket("p", f"http://127.0.0.1:{port}", "b")
    with pytest.raises(Unreachable, match="does not answer") as caught:
        nobody.list()
    assert "local.up" in caught.value.remedy


def test_a_proxy_of_the_internet_is_not_used_for_loopback(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    again = open_bucket("p", bucket._place, bucket.name)
    assert again.list() == []


def test_nothing_is_asked_behind_our_back(through: Bucket, proxy: Proxy) -> None:
    before = threading.active_count()
    info = through.create_object("x", b"1")
    through.read("x")
    through.copy("x", "y")
    through.delete("y", info.generation)
    assert [line.split()[0] for line in proxy.seen] == ["POST", "GET", "POST", "DELETE"]
    assert threading.active_count() <= before + 1  # the proxy's own for the kept connection


def test_google_without_credentials_says_how_to_log_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(AccessDenied) as caught:
        open_bucket("p", None, "b").list()
    assert "gcloud auth application-default login" in caught.value.remedy

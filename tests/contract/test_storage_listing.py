"""Lists of objects through Google's client."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions as google

pytestmark = pytest.mark.process
NAMES = ["a", "b/1", "b/2", "b/c/3", "b/c/4", "d/", "d/5", "e.json", "f/6.json", "ü"]


@pytest.fixture
def filled(bucket: Any) -> Any:
    for name in NAMES:
        bucket.blob(name).upload_from_string(name)
    return bucket


def _names(client: Any, bucket: Any, **query: Any) -> list[str]:
    return [blob.name for blob in client.list_blobs(bucket, **query)]


def test_everything_in_byte_order_over_pages(filled: Any, client: Any) -> None:
    for size in (1, 3, 10, 1000):
        pages = list(client.list_blobs(filled, page_size=size).pages)
        assert [blob.name for page in pages for blob in page] == sorted(NAMES, key=str.encode)
    assert len(list(client.list_blobs(filled, page_size=3).pages)) == 4
    assert _names(client, filled, max_results=4) == NAMES[:4]


def test_prefix_and_delimiter(filled: Any, client: Any) -> None:
    assert _names(client, filled, prefix="b/") == ["b/1", "b/2", "b/c/3", "b/c/4"]
    top = client.list_blobs(filled, delimiter="/")
    assert [blob.name for blob in top] == ["a", "e.json", "ü"]
    assert top.prefixes == {"b/", "d/", "f/"}
    inner = client.list_blobs(filled, prefix="b/", delimiter="/")
    assert ([blob.name for blob in inner], inner.prefixes) == (["b/1", "b/2"], {"b/c/"})
    trailing = client.list_blobs(filled, delimiter="/", include_trailing_delimiter=True)
    assert ([blob.name for blob in trailing], trailing.prefixes) == (["a", "d/", "e.json", "ü"], {"b/", "d/", "f/"})


def test_delimiter_over_small_pages_gives_each_once(filled: Any, client: Any) -> None:
    for size in (1, 2, 3):
        names: list[str] = []
        prefixes: list[str] = []
        found = client.list_blobs(filled, delimiter="/", page_size=size)
        for page in found.pages:
            names += [blob.name for blob in page]
            prefixes += page.prefixes
            assert len(page.prefixes) + page.num_items <= size
        assert (names, sorted(prefixes)) == (["a", "e.json", "ü"], ["b/", "d/", "f/"])


def test_offsets(filled: Any, client: Any) -> None:
    assert _names(client, filled, start_offset="b/2", end_offset="d/") == ["b/2", "b/c/3", "b/c/4"]
    assert _names(client, filled, start_offset="zz") == ["ü"]
    assert _names(client, filled, prefix="b/", start_offset="b/c") == ["b/c/3", "b/c/4"]


def test_globs(filled: Any, client: Any) -> None:
    assert _names(client, filled, match_glob="**.json") == ["e.json", "f/6.json"]
    assert _names(client, filled, match_glob="*.json") == ["e.json"]
    assert _names(client, filled, match_glob="b/{1,c/4}") == ["b/1", "b/c/4"]
    assert _names(client, filled, match_glob="b/[1-2]") == ["b/1", "b/2"]
    with pytest.raises(google.BadRequest, match="matchGlob"):
        _names(client, filled, match_glob="{open")


def test_an_empty_bucket_and_no_match(bucket: Any, client: Any) -> None:
    assert _names(client, bucket) == []
    assert _names(client, bucket, prefix="nothing/", versions=True) == []


def test_versions_page_without_loss(versioned: Any, client: Any) -> None:
    made = []
    for number in range(7):
        blob = versioned.blob(f"doc-{number % 2}")
        blob.upload_from_string(str(number))
        made.append((blob.name, blob.generation))
    for size in (1, 2, 5):
        listed = [(blob.name, blob.generation) for blob in client.list_blobs(versioned, versions=True, page_size=size)]
        assert listed == sorted(made)


def test_a_page_token_survives_changes_between_pages(filled: Any, client: Any) -> None:
    first = client.list_blobs(filled, page_size=3)
    assert [blob.name for blob in next(first.pages)] == ["a", "b/1", "b/2"]
    filled.delete_blob("b/2")
    filled.delete_blob("b/c/3")
    filled.blob("a-new").upload_from_string("x")
    filled.blob("zz").upload_from_string("x")
    rest = client.list_blobs(filled, page_token=first.next_page_token)
    assert [blob.name for blob in rest] == ["b/c/4", "d/", "d/5", "e.json", "f/6.json", "zz", "ü"]


def test_bad_queries_are_refused(filled: Any, client: Any) -> None:
    for query in ({"pageToken": "no token"}, {"maxResults": "-1"}, {"maxResults": "many"}, {"pageToken": "WzEsMl0="}):
        with pytest.raises(google.BadRequest):
            client._connection.api_request(method="GET", path=f"{filled.path}/o", query_params=query)


def test_unknown_parameters_do_no_harm(filled: Any, client: Any) -> None:
    query = {"projection": "full", "userProject": "p", "prettyPrint": "false", "zz": "1"}
    found = client._connection.api_request(method="GET", path=f"{filled.path}/o", query_params=query)
    assert len(found["items"]) == len(NAMES)
    assert {item["size"] for item in found["items"]} >= {"1"}


def test_only_the_fields_that_were_asked_for(filled: Any, client: Any) -> None:
    assert [
        (blob.name, blob.size) for blob in client.list_blobs(filled, fields="items(name),nextPageToken", page_size=3)
    ] == [(name, None) for name in sorted(NAMES, key=str.encode)]

    def asked(path: str, fields: str) -> Any:
        return client._connection.api_request(method="GET", path=path, query_params={"fields": fields})

    assert asked(f"{filled.path}/o/a", "name,size") == {"name": "a", "size": "1"}
    assert asked(filled.path, "iamConfiguration/publicAccessPrevention") == {
        "iamConfiguration": {"publicAccessPrevention": "inherited"}
    }
    with pytest.raises(google.BadRequest, match="field selection"):
        asked(filled.path, "items(")


def test_a_glob_finds_prefixes_too(bucket: Any, client: Any) -> None:
    for name in ("a1/x", "a2/y", "b/x", "c"):
        bucket.blob(name).upload_from_string(b"")
    for glob, names, prefixes in (("a*/", [], {"a1/", "a2/"}), ("*", ["c"], set()), ("**/x", [], {"a1/", "b/"})):
        found = client.list_blobs(bucket, delimiter="/", match_glob=glob)
        assert ([blob.name for blob in found], found.prefixes) == (names, prefixes)

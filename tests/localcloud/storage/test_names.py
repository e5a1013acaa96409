"""Bucket and object names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.localcloud.storage.names import check_bucket, check_object
from scripts.localcloud.web import ApiError


@pytest.mark.parametrize(
    "name", ["abc", "a-b_c.d9", "tabular-model-cache-local", "a" * 63, f"{'a' * 63}.{'b' * 63}.com"]
)
def test_good_buckets(name: str) -> None:
    assert check_bucket(name) == name


@pytest.mark.parametrize(
    "name",
    ["", None, 5, "ab", "a" * 64, f"{'a' * 64}.b", "A-b", "a b",
     "a/b", "-ab", "ab-", "_ab", "a..b", "a.-b", "1.2.3.4", "goog1", "my-google"],
)  # fmt: skip
def test_bad_buckets(name: object) -> None:
    with pytest.raises(ApiError) as refused:
        check_bucket(name)
    assert refused.value.code == 400


@given(st.text())
def test_objects(name: str) -> None:
    legal = 1 <= len(name.encode()) <= 1024 and not set("\r\n\0") & set(name) and name not in (".", "..")
    if legal and not name.startswith(".well-known/acme-challenge/"):
        assert check_object(name) == name
        return
    with pytest.raises(ApiError) as refused:
        check_object(name)
    assert refused.value.code == 400


@pytest.mark.parametrize("name", [None, 5, "\ud800", "é" * 513])
def test_bad_objects(name: object) -> None:
    with pytest.raises(ApiError):
        check_object(name)

"""The metadata that an owner chooses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.localcloud.storage import fields
from scripts.localcloud.web import ApiError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
KEYS = st.sampled_from(["contentType", "metadata", "customTime", "temporaryHold", "storageClass", "size", "other"])


def test_only_what_the_owner_may_choose_is_taken() -> None:
    resource = {
        "contentType": "a/b",
        "size": "9",
        "generation": "1",
        "crc32c": "x",
        "metadata": {"k": "v"},
        "cacheControl": None,
    }
    assert fields.given(resource) == {"contentType": "a/b", "metadata": {"k": "v"}}


def test_a_patch_merges_metadata_and_null_removes() -> None:
    before = {"contentType": "a/b", "metadata": {"a": "1", "b": "2"}, "componentCount": 3}
    after = fields.patched(before, {"metadata": {"a": None, "c": "3"}, "contentType": None})
    assert after == {"metadata": {"b": "2", "c": "3"}, "componentCount": 3}
    assert fields.patched(before, {"metadata": None}) == {"contentType": "a/b", "componentCount": 3}
    assert fields.patched(before, {"metadata": {"a": None, "b": None}}) == {"contentType": "a/b", "componentCount": 3}
    assert before["metadata"] == {"a": "1", "b": "2"}


def test_an_update_replaces_but_keeps_what_the_server_set() -> None:
    before = {"contentType": "a/b", "metadata": {"a": "1"}, "componentCount": 3, "storageClass": "STANDARD"}
    after = fields.replaced(before, {"metadata": {"z": "9"}})
    assert after == {"metadata": {"z": "9"}, "componentCount": 3, "storageClass": "STANDARD"}


@pytest.mark.parametrize(
    "bad",
    [{"contentType": 5}, {"contentType": "a\nb"}, {"contentType": "\ud800"}, {"metadata": []}, {"metadata": {"a": 1}},
     {"metadata": {"a": "x" * 8192}}, {"customTime": "yesterday"}, {"customTime": "2026-01-01T00:00:00"},
     {"eventBasedHold": "true"}, {"storageClass": "FAST"}, {"storageClass": []}],
)  # fmt: skip
def test_wrong_values_are_refused(bad: dict[str, Any]) -> None:
    for call in (lambda: fields.given(bad), lambda: fields.patched({}, bad), lambda: fields.replaced({}, bad)):
        with pytest.raises(ApiError) as refused:
            call()
        assert refused.value.code == 400


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # a loaded machine is no failure
@given(st.dictionaries(KEYS, JSON, max_size=3))
def test_any_resource_is_taken_or_refused(resource: dict[str, Any]) -> None:
    try:
        taken = fields.given(resource)
    except ApiError as error:
        assert error.code == 400
        return
    assert None not in taken.values()
    assert fields.given(taken) == taken

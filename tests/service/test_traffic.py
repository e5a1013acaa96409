"""What `local.requests` and `local.fault` do and print, on a stand-in."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from scripts.errors import BadInput, Unreachable
from scripts.service import traffic

pytestmark = pytest.mark.process


@pytest.fixture
def standin(standin: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MODELSHELF_ENDPOINT", standin.url)
    return standin


def test_a_fault_from_setting_to_clearing(standin: Any) -> None:
    planned = traffic.fault({"on": "storage.*", "kind": "503"}, dry_run=True)
    assert traffic.exit_code(planned) == 2 and traffic.faults() == {"faults": []}
    assert traffic.told(planned) == ["would set 503 on storage.* (call 1)"]
    done = traffic.fault({"on": "storage.*", "kind": "503", "nth": "1", "count": "2", "retry_after_s": "0"})
    assert traffic.exit_code(done) == 0
    assert traffic.told(done) == ["set f1: 503 on storage.* (call 1, 2 times, retry-after-s 0)"]
    assert requests.get(f"{standin.url}/storage/v1/b?project=p", timeout=30).status_code == 503
    heads, rows = traffic.faults_table(traffic.faults())
    assert dict(zip(heads, rows[0], strict=True)) | {"when": ""} == {
        "id": "f1", "on": "storage.*", "kind": "503", "when": "", "seen": "1", "fired": "1", "missed": "0", "left": "1"
    }  # fmt: skip
    heads, rows = traffic.requests_table(found := traffic.requests({"operation": "storage.*", "limit": "5"}))
    assert [row[1] for row in rows] == ["storage.buckets.list"] and rows[0][-1] == "503 f1"
    assert traffic.requests_line(found) == "1 of 1 calls"
    heads, rows = traffic.requests_table(traffic.requests({"summary": "operation"}))
    assert rows[0][:2] == ["storage.buckets.list", "1"]
    with pytest.raises(BadInput, match="there is no fault 'f9'; set are: f1"):
        traffic.clear("f9", {})
    assert traffic.exit_code(traffic.clear("all", {}, dry_run=True)) == 2
    cleared = traffic.clear("f1", {})
    assert traffic.told(cleared) == [f"cleared f1: {traffic._meant(done['set'][0])}; seen 1, fired 1"]
    assert traffic.told(traffic.clear("all", {})) == ["no fault is set"]


def test_what_is_wrong_is_said(standin: Any) -> None:
    for asked, text in (
        ({"on": "storage.object.get", "kind": "503"}, "did you mean storage.objects.get"),
        ({"on": "storage.*", "kind": "503", "nth": "soon"}, "--nth: found 'soon', expected a whole number"),
        ({"on": "storage.*", "kind": "slow", "delay_s": "x"}, "--delay-s: found 'x', expected a number"),
        ({"kind": "503"}, "--on: found nothing"),
    ):
        with pytest.raises(BadInput, match=text):
            traffic.fault(asked)
    with pytest.raises(BadInput, match="--clear and --on exclude each other"):
        traffic.clear("all", {"on": "*"})
    with pytest.raises(BadInput, match="--status: found"):
        traffic.requests({"status": "bad"})
    standin.stop()
    with pytest.raises(Unreachable):
        traffic.faults()


def test_callers_are_told_in_short_and_other_names_as_they_are() -> None:
    agent = f"modelshelf/0.1 instance/{'a' * 64} gcloud-python/3.17.1  gl-python/3.11.7"
    assert traffic._caller("caller", agent) == f"modelshelf/0.1 instance/{'a' * 12}"
    assert traffic._caller("instance", "b" * 64) == "b" * 12
    assert traffic._caller("object", "bucket/a name with spaces") == "bucket/a name with spaces"

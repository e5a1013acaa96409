"""How the stand-in's report reads: the stand-in's own, not one made up."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.service import overview

pytestmark = pytest.mark.process


def test_a_report_has_no_machine_words_and_every_room(standin: Any) -> None:
    report = standin.get("/_local/status")
    rows = dict(overview.rows(report))
    assert rows["URL"] == standin.url
    assert rows["faults"] == "none"
    assert rows["clock"].endswith("the machine's own")
    for value in rows.values():
        assert value and "None" not in value
    assert [rows for _, rows in overview.tables(report)] == [[], []]
    assert "real model" in rows["upstreams"]


def test_a_report_tells_what_is_unusual(standin: Any) -> None:
    report = standin.get("/_local/status")
    report["clock"] |= {"skipped_s": 3600.2, "rate": 60.0}
    report["traffic"]["faults"] = [{}]
    report["storage"]["buckets"] = [{"bucket": "b", "objects": 2, "generations": 3, "size_bytes": 2048}]
    report["run"]["mounts"] |= {"mode": "fuse", "bandwidth_bytes_s": 1 << 20, "latency_ms": 50.0}
    rows = dict(overview.rows(report))
    assert rows["clock"].endswith("Z, 3600 s ahead, 60 times as fast")
    assert "local.faults" in rows["faults"]
    assert rows["mounts"] == "fuse, 1.0 MiB a second, 50 ms latency"
    assert overview.tables(report)[0][1] == [["b", "2", "3", "2.0 KiB"]]


def test_upstreams_and_scaling() -> None:
    client = {"requests": 2, "bytes": 1 << 20}
    found = {
        "running": False,
        "requests": 2,
        "bytes": 1 << 20,
        "corpus": {"state": "ready"},
        "by_client": {"job": client},
    }
    assert dict(overview.upstream_rows(found)) | {"requests": "2"} == {
        "state": "stopped: every request is refused", "real model": "ready", "requests": "2", "pulled": "1.0 MiB"
    }  # fmt: skip
    assert overview.upstream_table(found)[1] == [["job", "2", "1.0 MiB"]]
    assert overview.scale_rows({"revision": "r", "started": ["a" * 64]}) == [("revision", "r"), ("started", "a" * 12)]

"""The summary and the JSON of a deploy say the same."""

from __future__ import annotations

import dataclasses

from scripts.cloud.instances import Instance
from scripts.service.report import Report
from scripts.service.steps import Step

HIT = Instance("0a1b2c3d4e5f6a7b", True, "match", "20261120T020000Z-3f9a1c2b", 3, 90 << 20, 0, "2026-11-20T02:00:00Z")
REPORT = Report(
    environment="staging",
    service="tabular-service",
    url="https://tabular.example",
    revision="tabular-service-00002-abc",
    manifest_version=HIT.version,
    changed=True,
    upstream_bytes=5 << 20,
    instances=(HIT, dataclasses.replace(HIT, id="f" * 16, cache_hit=False, reason="models_differ")),
    steps=(Step("cloud", seconds=0.25), Step("verify", seconds=1.5)),
    image="tabular@sha256:1",
    previous_revision="tabular-service-00001-xyz",
)


def test_the_json_has_exactly_the_documented_shape() -> None:
    assert REPORT.as_json() == {
        "environment": "staging",
        "service": "tabular-service",
        "url": "https://tabular.example",
        "revision": "tabular-service-00002-abc",
        "previous_revision": "tabular-service-00001-xyz",
        "image": "tabular@sha256:1",
        "manifest_version": "20261120T020000Z-3f9a1c2b",
        "changed": True,
        "upstream_bytes": 5 << 20,
        "instances": [{"id": "0a1b2c3d4e5f6a7b", "cache_hit": True}, {"id": "f" * 16, "cache_hit": False}],
        "steps": [{"name": "cloud", "seconds": 0.25}, {"name": "verify", "seconds": 1.5}],
    }


def test_the_summary_tells_what_people_ask_for() -> None:
    rows = REPORT.rows()
    text = "\n".join(f"{name}: {value}" for name, value in rows)
    assert "URL: https://tabular.example" in text
    assert "instances: 1 of 2 on a hit" in text
    assert "pulled upstream: 5.0 MiB" in text
    assert "served from the cache: 90.0 MiB" in text  # a miss served nothing from it
    assert "total 1.8" in text
    assert REPORT.title == "tabular-service on staging: deployed"
    assert dataclasses.replace(REPORT, changed=False).title.endswith("nothing to change")

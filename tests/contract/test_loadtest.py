"""`loadtest` against the stand-in with real instances: the proof of zero duplicate downloads, and that it can fail."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import audit
from scripts.cloud import connect
from scripts.errors import BadInput, NotFound, OpsError, Refused
from scripts.lease import hold
from scripts.loadtest import run as loadtest
from scripts.loadtest.report import Report
from scripts.service import deploy
from scripts.service.steps import SILENT, Steps
from scripts.settings import load
from scripts.settings.model import Settings
from tests.conftest import ROOT, StandIn
from tests.contract.test_console_browser import PHONE, opened, port

__all__ = ["port"]  # the browser, a fixture
pytestmark = pytest.mark.process
Make = Callable[..., Settings]
TINY_BYTES = 100_000
EASY = {
    "path": "/health",
    "rate": "30",
    "duration": "2s",
    "warm_up": "500ms",
    "threshold": "p99<60s",
    "send_lag": "60s",
}


@pytest.fixture
def make(shared_standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Settings of a fresh environment whose one model is small; `cache` is merged."""
    monkeypatch.setenv("MODELSHELF_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MODELSHELF_ENDPOINT", shared_standin.url)
    token = secrets.token_hex(4)
    plain = yaml.safe_load((ROOT / "environments" / "local.yaml").read_text(encoding="utf-8"))
    plain["project"] = f"test-{token}"
    plain["cache"]["bucket"] = f"bucket-{token}"
    plain["services"]["tabular"] |= {"min_instances": 1, "max_instances": 4}
    plain["models"] = [
        {"name": "synthetic", "kind": "ollama", "source": "library/synthetic:tiny", "revision": "", "size_gb": 0.001}
    ]
    tag = {"kind": "ollama", "name": "library/synthetic", "tag": "tiny", "size_bytes": TINY_BYTES}
    shared_standin.post("/_local/upstreams/tags", tag)

    def made(**cache: Any) -> Settings:
        plain["cache"] |= cache
        (tmp_path / "local.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
        return load.load("local", tmp_path)

    return made


def loaded(settings: Settings, place: Path, **options: Any) -> Report:
    chosen = loadtest.Options(**{**EASY, "output": str(place), **options})
    return loadtest.run(loadtest.prepare(settings, chosen), Steps(SILENT))


def test_three_instances_serve_and_none_downloads(make: Make, tmp_path: Path, shared_standin: StandIn) -> None:
    settings = make()
    deploy.deploy(settings, deploy.Options(), SILENT)
    planned = loadtest.prepare(settings, loadtest.Options(**EASY)).plan.lines()
    assert any("start: 2 further instances of" in line for line in planned) and any(
        "75 requests" in line for line in planned
    )
    pulled = shared_standin.get("/_local/upstreams")["bytes"]

    report = loaded(settings, tmp_path / "out")
    report.check()
    proof = report.evidence
    assert (proof.serving, proof.hits, proof.misses, proof.cold_starts) == (3, 3, 0, 2)
    assert (proof.upstream_bytes, proof.pulled) == (0, {})
    assert shared_standin.get("/_local/upstreams")["bytes"] == pulled
    assert report.found.latency.count == 60 and proof.logged_requests == 75
    assert {each.instance for each in report.found.served} == {each.instance for each in proof.witnesses}
    assert sum(each.requests for each in report.found.served) == 60

    document = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert document["passed"] is True and document["hits"] == 3
    assert "Passed" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_promotion_finds_the_passed_test_of_a_digest(make: Make, tmp_path: Path) -> None:
    settings = make()
    deploy.deploy(settings, deploy.Options(), SILENT)
    bucket = connect.connect(settings).bucket(settings.cache.bucket)
    report = loaded(settings, tmp_path, instances=1)
    digest = report.subject.image_digest
    assert digest.startswith("sha256:")
    with pytest.raises(OpsError, match="threshold max<1us"):
        loaded(settings, tmp_path, instances=1, threshold="max<1us", duration="1s").check()

    failed, found = (each for each in audit.latest(bucket, 100) if each["command"] == "loadtest")
    assert found["outcome"] == "passed"
    told = found["details"]
    assert told == json.loads(json.dumps(report.details()))
    assert (told["revision"], told["manifest_version"]) == (report.subject.revision, report.versions)
    assert failed["details"]["passed"] is False and failed["details"]["image_digest"] == digest
    assert "threshold max<1us" in failed["details"]["failures"][0]


def test_without_the_shared_cache_every_instance_pulls_its_copy_and_the_check_says_so(
    make: Make, tmp_path: Path
) -> None:
    """The control run: the proof can fail."""
    settings = make(enabled=False)
    deploy.deploy(settings, deploy.Options(sync="never"), SILENT)
    report = loaded(settings, tmp_path)
    proof = report.evidence
    assert (proof.serving, proof.hits, proof.misses, proof.copies) == (3, 0, 3, 3)
    assert proof.upstream_bytes >= 3 * TINY_BYTES
    # Two of them started during the test: that is what the upstreams themselves counted meanwhile.
    started = {each.instance for each in proof.witnesses if each.cold}
    assert len(started) == 2 and set(proof.pulled or {}) == started
    with pytest.raises(OpsError, match="duplicate downloads: 3 instances pulled a copy each") as caught:
        report.check()
    assert "started on a miss (shared_volume_disabled)" in caught.value.message
    assert report.details()["passed"] is False


def test_two_load_tests_of_a_service_keep_each_other_out(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make()
    deploy.deploy(settings, deploy.Options(), SILENT)
    bucket = connect.connect(settings).bucket(settings.cache.bucket)
    monkeypatch.setattr(loadtest, "LEASE_WAIT_S", 0.0)
    with hold(bucket, "loadtest-tabular-service", "another"), pytest.raises(Refused, match="is in use by"):
        loaded(settings, tmp_path)
    assert "loadtest" not in {each["command"] for each in audit.latest(bucket, 100)}


def test_what_cannot_be_tested_is_refused_before_anything_happens(make: Make) -> None:
    settings = make()
    with pytest.raises(NotFound, match="tabular-service does not exist"):
        loadtest.prepare(settings, loadtest.Options())
    wrongs: list[dict[str, Any]] = [
        {"instances": -1}, {"instances": 51}, {"path": "embed"}, {"path": "/a b"}, {"rate": "0"}, {"duration": "x"},
        {"ramp": "1"}, {"threshold": "x"}, {"processes": -1}, {"send_lag": "0"},
    ]  # fmt: skip
    for wrong in wrongs:
        with pytest.raises(BadInput) as caught:
            loadtest.prepare(settings, loadtest.Options(**wrong))
        assert caught.value.message.startswith(f"--{next(iter(wrong)).replace('_', '-')}: found")
    with pytest.raises(NotFound, match="available: tabular"):
        loadtest.prepare(settings, loadtest.Options(service="nosuch"))


def test_the_page_in_a_browser_fits_a_phone_and_asks_for_nothing(tmp_path: Path, port: int | None) -> None:
    from scripts.loadtest import page
    from tests.loadtest.support import measured, report

    place = tmp_path / "report.html"
    long = report(measured(*[0.6] * 100, failed=7), service="a" + "-very-long-name" * 4)
    place.write_text(page.render(long), encoding="utf-8")
    if port is None:
        print("no Chromium on this machine: only the text of the page was looked at")
        assert "p99 is 600 ms" in place.read_text(encoding="utf-8")
        return

    async def visit(url: str) -> None:
        async with opened(port, url, ready="!!document.querySelector('h1')") as tab:
            for scheme in ("light", "dark"):
                features = [{"name": "prefers-color-scheme", "value": scheme}]
                await tab.do("Emulation.setEmulatedMedia", features=features)
                width = PHONE["width"]
                await tab.js("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
                assert await tab.js("[innerWidth, document.documentElement.scrollWidth]") == [width, width]
            assert await tab.js("performance.getEntriesByType('resource').length") == 0
            assert await tab.js("document.querySelectorAll('.plot svg path.curve').length") == 3
            boxes = "[...document.querySelectorAll('.plot')].map((each) => each.getBoundingClientRect().height > 150)"
            assert await tab.js(boxes) == [True, True]
            assert "p99 is 600 ms" in await tab.js("document.querySelector('.failures').innerText")
            assert tab.problems == []

    asyncio.run(visit(place.as_uri()))

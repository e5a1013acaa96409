"""Any order of commands, deaths and races: nothing acknowledged is lost, and readers see whole versions only."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from scripts.models import signing
from scripts.service import cache
from tests.conftest import StandIn
from tests.crash.machine import WAIT_S, Shelves
from tests.crash.scenes import TTL_S

pytestmark = pytest.mark.process


def play(
    standin: StandIn,
    folder: Path,
    patches: tuple[pytest.MonkeyPatch, pytest.CaptureFixture[str]],
    examples: int,
    steps: int,
) -> None:
    monkeypatch, capsys = patches
    monkeypatch.setattr(cache, "TTL_S", TTL_S)
    monkeypatch.setattr(cache, "WAIT_S", WAIT_S)
    key = signing.make_key(folder / "keys")
    signer = signing.load_signer(f"file:{folder / 'keys' / signing.PRIVATE_NAME}")
    prefix = f"machine-{secrets.token_hex(4)}"

    def make() -> Any:
        return Shelves(standin.url, folder, signer, key, prefix)

    how = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink), print_blob=False,
    )  # fmt: skip
    Shelves.tally.clear()
    run_state_machine_as_test(make, settings=how)
    told = ", ".join(f"{name} {count}" for name, count in sorted(Shelves.tally.items()))
    with capsys.disabled():
        print(f"\ncommands (†: killed): {told}")
    missing = {"publish", "publish †", "back †", "to", "prune", "repair", "pin", "resume"} - set(Shelves.tally)
    assert not missing, f"never happened: {missing}"


def test_every_history_is_one_that_could_be_told(
    shared_standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    play(shared_standin, tmp_path, (monkeypatch, capsys), examples=9, steps=18)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_many_long_histories_are_too(
    shared_standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    play(shared_standin, tmp_path, (monkeypatch, capsys), examples=40, steps=30)

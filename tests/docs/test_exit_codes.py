"""The table of exit codes is true: each of its rows is typed, and ends with its code and its words."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from scripts import lease
from scripts.errors import ExitCode
from scripts.service import target
from tests.cloud.proxy import Trouble, troubled
from tests.conftest import ROOT, StandIn, start_standin
from tests.service.conftest import Checkout, Make
from tests.service.conftest import checkout as _checkout
from tests.service.conftest import make as _make
from tests.table import IMAGE

make, checkout = _make, _checkout
PAGE = ROOT / "docs" / "exit-codes.md"
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \| (.*?) \|$", re.MULTILINE)
DEPLOY = ("deploy", "--env", "local", "--sync", "never")
QUICK = {"startup": {"path": "/ready", "period_s": 1, "timeout_s": 1, "failure_threshold": 2}}
# What takes two who work at once: tests/service/test_shift.py, test_deployment.py and tests/tasks/test_command.py.
ELSEWHERE = {"somebody changed the service meanwhile", "a watched share failed", "Ctrl-C, SIGTERM"}


@dataclass(frozen=True)
class Case:
    """What is typed. first: with a deploy before it; mode: of the image then; how: every read of Cloud Run ends so;
    models: the reference service, from the cache."""

    words: tuple[str, ...]
    first: bool = False
    mode: str = "ok"
    how: str = ""
    models: bool = False
    file: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)


CASES = {
    "done, or nothing to change": Case((*DEPLOY, "--dry-run"), first=True),
    "the revision does not start; the sync failed": Case(DEPLOY, mode="crash"),
    "a load test crossed a threshold": Case(
        ("loadtest", "--env", "local", "--rate", "20", "--duration", "1s", "--warm-up", "0", "--path", "/health",
         "--instances", "0", "--send-lag", "60s", "--threshold", "max<1us"), first=True,
    ),
    "`--dry-run`: something would change": Case((*DEPLOY, "--dry-run")),
    "unknown environment": Case(("deploy", "--env", "lokal")),
    "unknown service": Case((*DEPLOY, "--service", "nosuch")),
    "image or digest that does not exist": Case((*DEPLOY, "--image", f"{IMAGE[:-2]}@sha256:{'a' * 64}")),
    "unknown revision": Case(("rollback", "--env", "local", "--to", "nosuch"), first=True),
    "unknown version of the models": Case(
        ("rollback", "--env", "local", "--models", "20200101T000000Z-00000000"), first=True
    ),
    "a promotion of what no load test passed": Case(
        ("promote", "--from", "local", "--to", "prod", "--min-age", "0s"), first=True, models=True
    ),
    "nothing that builds images": Case(("image.build", "--env", "local"), environ={"PATH": "/nonexistent"}),
    "a choice that cannot be meant": Case((*DEPLOY, "--canary", "50,10")),
    "not confirmed": Case(DEPLOY, file={"confirm": "name"}),
    "another deploy is at work (`--no-wait`)": Case((*DEPLOY, "--no-wait"), first=True),
    "a hook before the deploy failed": Case(DEPLOY, file={"hooks": {"before_deploy": [["false"]]}}),
    "Terraform's part is missing": Case(("deploy", "--env", "staging")),
    "no permission (403)": Case(DEPLOY, how="forbidden"),
    "quota (429)": Case(DEPLOY, how="quota"),
    "credentials missing or expired (401)": Case(DEPLOY, how="expired"),
    "nobody answers": Case(DEPLOY, environ={"MODELSHELF_ENDPOINT": "http://127.0.0.1:9"}),
    "a check of the new revision failed": Case(DEPLOY, first=True, mode="late"),
}  # fmt: skip
# Half a minute each, and part of tests/contract/test_loadtest.py and tests/service/test_deployment.py too.
COSTLY = dict.fromkeys(("a load test crossed a threshold", "a check of the new revision failed"), pytest.mark.full)


@pytest.fixture(scope="module")
def shared_standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """A stand-in whose table of images has the broken one."""
    running = start_standin(tmp_path_factory.mktemp("cloud"), module="tests.table")
    yield running
    running.stop()


def rows() -> dict[str, tuple[int, str]]:
    """What goes wrong: its code, and what is said of it."""
    return {what: (int(code), says) for code, what, says, _ in ROW.findall(PAGE.read_text(encoding="utf-8"))}


def unsaid(says: str, told: str) -> list[str]:
    """The parts of quoted messages, between their variable ones, that were not said."""
    parts = [part.strip() for text in re.findall(r"`([^`]+)`", says) for part in text.split("…")]
    return [part for part in parts if len(part) > 4 and part not in told]


def test_every_row_is_typed_and_every_code_has_one() -> None:
    assert {code for code, _ in rows().values()} == set(ExitCode)
    assert set(rows()) == set(CASES) | ELSEWHERE
    assert unsaid("`no … words`", "there are words") == []
    assert unsaid("`no such … words`", "there are words") == ["no such"]


@pytest.mark.process
@pytest.mark.parametrize("what", [pytest.param(what, marks=COSTLY.get(what, ())) for what in CASES])
def test_a_row_is_true(make: Make, checkout: Checkout, shared_standin: StandIn, what: str) -> None:
    case, (code, says) = CASES[what], rows()[what]
    service = {"image": IMAGE, "min_instances": 1, "probes": QUICK, "env": {"MODE": "ok"}}
    cache = {"enabled": False, "wait_timeout_s": 1}
    settings = make(service={"image": "example/tabular:1"}) if case.models else make(service=service, cache=cache)
    make("staging"), make("prod")
    if case.first:
        checkout.typed(*DEPLOY[: 3 if case.models else None])
    make(service={"env": {"MODE": case.mode}}, **case.file)
    environ = dict(case.environ)
    with contextlib.ExitStack() as stack:
        if "--no-wait" in case.words:
            stack.enter_context(lease.hold(target.reach(settings).bucket, "deploy-tabular-service", "a deploy"))
        if case.how:
            proxy = stack.enter_context(troubled(shared_standin.url))
            proxy.troubles = [Trouble("GET", "/apis/", case.how, 99)]
            environ["MODELSHELF_ENDPOINT"] = proxy.url
        done = checkout.typed(*case.words, code=code, **environ)
    assert unsaid(says, done.stdout + done.stderr) == [], done.stderr
    refused = code not in (ExitCode.OK, ExitCode.DIFFERENCE)
    assert ("✗ " in done.stderr and "→ " in done.stderr) is refused

"""deploy as it is typed: two at once, a name to confirm, hooks, what is wrong with what was typed, and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from invoke.main import program

from scripts import lease
from scripts.service import deploy, routing, shift, target, validation
from scripts.service.preflight import Options
from scripts.settings import load
from scripts.settings.model import Settings
from tests.cloud.proxy import Trouble, troubled
from tests.conftest import ROOT, StandIn, start_standin
from tests.service.conftest import Listener, Make
from tests.service.conftest import make as _make
from tests.table import IMAGE

pytestmark = pytest.mark.process
make = _make
NEVER = Options(sync="never")
LOCAL = ("--env=local", "--sync=never")
Run = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def shared_standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """A stand-in whose table of images has the broken one."""
    running = start_standin(tmp_path_factory.mktemp("cloud"), module="tests.table")
    yield running
    running.stop()


def typed(folder: Path, *words: str, **options: Any) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-m", "tests.service.typed", str(folder / "environments"), "deploy", *words]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environ = {**os.environ, **options.pop("environ", {})}
    return subprocess.Popen(arguments, cwd=ROOT, text=True, env=environ, **{**streams, **options})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Type deploy in this process, with the environment files of the test: what it wrote to stdout and stderr."""
    kept = {name: signal.getsignal(name) for name in (signal.SIGPIPE, signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.chdir(ROOT)
    whole, ours = load.load, tmp_path / "environments"
    monkeypatch.setattr(load, "load", lambda environment, folder=ours: whole(environment, folder))

    def invoke(*words: str, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        ended = 0
        given = {word.partition("=")[0] for word in words}
        usual = [word for word in LOCAL if word.partition("=")[0] not in given]
        try:
            program.run(["invoke", "deploy", *usual, *words])
        except SystemExit as error:
            ended = int(error.code or 0)
        told = capsys.readouterr()
        assert ended == code, f"{ended}\n{told.out}\n{told.err}"
        return told.out, told.err

    yield invoke
    for name, handler in kept.items():
        signal.signal(name, handler)


def settings(make: Make, number: int = 0, **more: Any) -> Settings:
    mode = more.pop("mode", "ok")
    service = {"image": IMAGE, "min_instances": 1, "env": {"NUMBER": str(number), "MODE": mode}}
    return make(service=service, cache={"enabled": False}, **more)


def revisions(chosen: Settings) -> list[str]:
    return [item.name for item in target.reach(chosen).run.list_revisions("tabular-service")]


def test_of_two_at_once_one_waits_and_both_end_well(make: Make, tmp_path: Path) -> None:
    chosen = settings(make)
    both = [typed(tmp_path, *LOCAL, "--json") for _ in range(2)]
    ended = [child.communicate(timeout=150) for child in both]
    assert [child.returncode for child in both] == [0, 0], ended
    results = [json.loads(out) for out, _ in ended]
    assert sorted(result["changed"] for result in results) == [False, True]
    assert len({result["revision"] for result in results}) == len(revisions(chosen)) == 1


def test_who_will_not_wait_is_told_who_is_at_work(make: Make, run: Run, tmp_path: Path) -> None:
    chosen = settings(make)
    deploy.deploy(chosen, NEVER, Listener())
    settings(make, 1)
    with lease.hold(target.reach(chosen).bucket, "deploy-tabular-service", "a long deploy by somebody") as held:
        _, err = run("--no-wait", code=3)
        waiting = typed(tmp_path, *LOCAL, "--json")
        assert waiting.stderr is not None
        told = next(line for line in waiting.stderr if "waiting for" in line)
        assert waiting.poll() is None
    for text in (held.holder.owner, "a long deploy by somebody", "until 20"):
        assert text in err
    assert held.holder.owner in told and "a long deploy by somebody" in told
    out, _ = waiting.communicate(timeout=120)
    assert json.loads(out)["changed"] is True


def test_the_plan_is_shown_in_groups_and_carried_out(make: Make, run: Run) -> None:
    chosen = settings(make)
    deploy.deploy(chosen, NEVER, Listener())
    settings(make, 1, rollout={"watch_s": 0})
    out, _ = run("--dry-run", "--canary", "10,50", code=2)
    lines = out.splitlines()
    assert lines[0] == "deploy tabular-service to local"
    assert [line for line in lines[1:] if not line.startswith("  ")] == ["env", "traffic"]
    assert "  ~ service tabular-service spec.template.spec.containers[tabular].env[NUMBER]: 0 → 1" in lines
    assert lines[-1] == "  » service tabular-service: traffic in steps of 10 %, 50 %, 100 %, each watched for 0 s"
    document = json.loads(run("--dry-run", "--json", code=2)[0])
    assert {change["group"] for change in document["changes"]} == {"env"}
    assert len(revisions(chosen)) == 1
    out, err = run("--canary", "10,50", "--json")
    assert [line for line in err.splitlines() if "% of the traffic" in line][-1].startswith("100 %")
    assert json.loads(out)["previous_revision"] == revisions(chosen)[1]
    assert "nothing to change" in run()[0]
    assert len(revisions(chosen)) == 2


def test_an_image_for_one_deploy_becomes_its_digest(make: Make, run: Run) -> None:
    settings(make)
    hello = "us-docker.pkg.dev/tests/containers/hello"
    found = json.loads(run("--image", f"{hello}:7", "--json")[0])
    assert found["image"].startswith(f"{hello}@sha256:")
    out, err = run("--image", f"{hello}:7", "--dry-run")
    assert "nothing to change" in out and f"image {hello}:7 for this deploy" in err
    out, _ = run("--dry-run", code=2)
    assert "image" in out.splitlines()
    for wrong, text in (
        (f"{hello}@sha256:{'a' * 64}", "does not exist"),
        ("gcr.io/p/nosuch:1", "does not exist"),
        ("A B", "--image: found"),
    ):
        _, err = run("--image", wrong, code=3)
        assert text in err and "--image" in err


def test_a_name_is_asked_for_where_the_file_says_so(make: Make, run: Run, tmp_path: Path) -> None:
    chosen = settings(make, confirm="name")
    _, err = run(code=3)
    assert "no terminal to ask on" in err and "--yes" in err
    assert not target.reach(chosen).bucket.exists()
    assert "Type staging" not in run("--yes")[1]
    assert "nothing to change" in run()[0], "nobody is asked about nothing"
    settings(make, 1, confirm="name")
    for word, code in (("yes", 3), ("local", 0)):
        assert on_terminal(tmp_path, word, code).count("Type local to go on") == 1
    assert len(revisions(chosen)) == 2


def on_terminal(folder: Path, answer: str, code: int) -> str:
    """What a terminal shows of a deploy that is answered with a word."""
    leader, follower = os.openpty()
    child = typed(
        folder, *LOCAL, stdin=follower, stdout=follower, stderr=follower,
        environ={"TERM": "xterm", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(follower)
    os.write(leader, f"{answer}\n".encode())
    shown = b""
    try:
        while piece := os.read(leader, 4096):
            shown += piece
    except OSError:  # the terminal's other end is closed
        pass
    os.close(leader)
    assert child.wait(timeout=60) == code, shown.decode()
    return shown.decode()


HOOK = """
import json, sys
told = json.load(sys.stdin)
print(told["hook"], told["environment"], len(told["plan"]["changes"]), told["result"].get("failed_step", ""))
open(sys.argv[1], "a").write(told["hook"] + "\\n")
sys.exit(int(sys.argv[2]))
"""


def test_hooks_are_told_and_one_before_stops_everything(
    make: Make, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.service.probe.PATIENCE_S", 0.5)
    script, seen = tmp_path / "hook.py", tmp_path / "seen"
    script.write_text(HOOK, encoding="utf-8")

    def hook(code: int) -> list[list[str]]:
        return [[sys.executable, str(script), str(seen), str(code)]]

    chosen = settings(make, hooks={"before_deploy": hook(7)})
    _, err = run(code=3)
    assert "before_deploy: before_deploy local 5" in err
    assert "hooks.before_deploy in environments/local.yaml" in err and "exited with 7" in err
    assert not target.reach(chosen).bucket.exists()
    moments = ("before_deploy", "after_deploy", "on_failure", "on_rollback")
    hooks = {moment: hook(0) for moment in moments}
    settings(make, hooks=hooks)
    run()
    run()  # nothing to change: nobody is told
    settings(make, 2, hooks={"before_deploy": [["true"]], "after_deploy": [["false"]]})
    assert "after_deploy" in run()[1], "a hook may leave its standard input unread"
    settings(make, 1, hooks=hooks | {"on_failure": hook(3)}, mode="late")
    _, err = run(code=5)
    assert "on_rollback: on_rollback local 4 verify" in err
    assert "! the hook" in err, "a hook that fails afterwards is a warning"
    assert seen.read_text(encoding="utf-8").split() == [
        "before_deploy", "before_deploy", "after_deploy", "before_deploy", "on_failure", "on_rollback",
    ]  # fmt: skip


def test_a_hold_sticks_until_there_is_something_new(make: Make, run: Run) -> None:
    other = Options(sync="never", image="us-docker.pkg.dev/tests/containers/hello:7")
    first = deploy.deploy(settings(make, 1), other, Listener()).revision
    chosen = settings(make, 2)
    second = deploy.deploy(chosen, NEVER, Listener()).revision
    reached = target.reach(chosen)
    state = reached.run.get_service("tabular-service")
    assert state is not None
    shift.move(reached, state, routing.settled({first: 100}), print, routing.hold_note(first, "it is wrong"))

    out, err = run()
    assert "nothing to change" in out
    assert f"traffic is pinned to {first} by a rollback (it is wrong), though {second} is newer: it stays there" in err
    held = reached.run.get_revision(first)
    assert held is not None and json.loads(run("--json")[0])["image"] == validation.image_of(held)
    out, err = run("--unpin", "--dry-run", code=2)
    assert f"~ service tabular-service spec.traffic: 100 % {first} → 100 % latest" in out
    assert "this deploy moves it" in err
    settings(make, 3)
    document = json.loads(run("--json")[0])
    found = reached.run.get_service("tabular-service")
    assert found is not None and routing.serving(found) == {document["revision"]: 100}
    assert document["previous_revision"] == first
    assert routing.HELD not in found.body["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("words", "how", "code", "texts"),
    [
        (("--env=lokal",), "", 3, ("environment 'lokal' does not exist; available: local", "--env local")),
        (("--service=nosuch",), "", 3, ("service 'nosuch' is not in environments/local.yaml", "--service tabular")),
        (("--sync=maybe",), "", 3, ("expected one of auto, always, never", "--help deploy")),
        (("--canary=50,10",), "", 3, ("--canary: found '50,10'", "--canary 10,50")),
        ((), "forbidden", 4, ("cannot", "(HTTP 403", "missing role", "gcloud auth")),
        ((), "quota", 4, ("(HTTP 429", "Wait a moment")),
        ((), "expired", 4, ("the credentials are missing or have expired", "gcloud auth application-default login")),
    ],
)  # fmt: skip
def test_what_goes_wrong_has_a_message_a_remedy_and_a_code(
    make: Make, run: Run, shared_standin: StandIn, monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...], how: str, code: int, texts: tuple[str],
) -> None:  # fmt: skip
    settings(make)
    with troubled(shared_standin.url) as proxy:
        monkeypatch.setenv("MODELSHELF_ENDPOINT", proxy.url)
        proxy.troubles = [Trouble("GET", "/apis/", how, 99)] if how else []
        _, err = run(*words, code=code)
    for text in texts:
        assert text in err

"""The command line as a user types it: spellings, help, exit codes, and no traceback on the screen."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from invoke.parser import Parser

import tasks
from tests.conftest import ROOT

Type = Callable[..., subprocess.CompletedProcess[str]]
CONTEXTS = {context.name: context for context in tasks.namespace.to_contexts()}


def environ(folder: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder), "LANG": "C.UTF-8",
        "NO_GCE_CHECK": "true", "MODELSHELF_STATE": str(folder / "state"), "MODELSHELF_PORT": "9", **more,
    }  # fmt: skip


@pytest.fixture
def invoke(tmp_path: Path) -> Type:
    def typed(*words: str, cwd: Path = ROOT, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "invoke", *words], cwd=cwd, env=environ(tmp_path, **more),
            capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return typed


def test_every_task_says_what_it_does_and_every_option_what_it_is_for() -> None:
    assert len(CONTEXTS) >= 20
    for name, context in CONTEXTS.items():
        body = tasks.namespace[name].body
        assert inspect.getdoc(body), name
        for argument in context.args.values():
            assert argument.help, f"{name} --{argument.name}"
            assert not argument.positional, f"{name} {argument.name}"


@pytest.mark.parametrize("task", [name for name, context in CONTEXTS.items() if "env" in context.args])
@pytest.mark.parametrize(
    "words",
    [
        ["--env", "staging"],
        ["--env=staging"],
        ["--environment", "staging"],
        ["--environment=staging"],
        ["-e", "staging"],
    ],
)
def test_the_environment_is_named_in_every_spelling(task: str, words: list[str]) -> None:
    (parsed,) = Parser(contexts=tasks.namespace.to_contexts()).parse_argv([task, *words])
    assert parsed.args["env"].value == "staging"


def test_tasks_are_thin() -> None:
    for name in CONTEXTS:
        lines = inspect.getsource(tasks.namespace[name].body).splitlines()
        body = lines[next(number for number, line in enumerate(lines) if line.startswith("def ")) :]
        assert len(body) <= 15, name


@pytest.mark.process
def test_without_an_environment_the_known_ones_are_listed(invoke: Type) -> None:
    for words in (("deploy",), ("status",), ("cache.list",)):
        done = invoke(*words)
        assert done.returncode == 3
        assert done.stdout == ""
        assert done.stderr.splitlines()[0] == "✗ which environment? there are: dev, local, prod, staging"
        assert "MODELSHELF_ENV" in done.stderr
    assert invoke("status", MODELSHELF_ENV="local").returncode == 4


@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["status", "--env", "local"], 4, "Run: ./dev invoke local.up"),
        (["status", "--environment=stagging"], 3, "did you mean staging?"),
        (["deploy", "-e", "local", "--sync", "sometimes"], 3, "expected one of auto, always, never"),
        (["deploy", "-e", "local", "--service", "nosuch"], 3, "available: tabular"),
        (["deploy", "-e", "staging"], 4, "gcloud auth application-default login"),
        (["logs", "--env", "local", "--since", "soon"], 3, "For example: --since 2h"),
        (["local.scale", "--instances", "0"], 3, "expected 1 to 50"),
        (["local.upstreams", "--stop", "--start"], 3, "exclude each other"),
        (["local.status"], 4, "Run: ./dev invoke local.up"),
        (["local.logs"], 3, "never ran here"),
        (["local.scale", "--instances", "many"], 3, "expected a whole number"),
        (["deply", "--env", "local"], 1, "did you mean deploy?"),
        (["prune"], 1, "did you mean cache.prune?"),
        (["rollback"], 3, "MODELSHELF_ENV"),
        (["rollback", "--env", "local"], 4, "Run: ./dev invoke local.up"),
        (["rollback", "--env", "stagging"], 3, "did you mean staging?"),
        (["rollback", "--env", "local", "--to", "latest"], 3, "expected an earlier revision"),
        (["toggle", "--env", "local"], 3, "expected one of them"),
        (["toggle", "--env", "local", "--off", "--service", "nosuch"], 3, "available: tabular"),
        (["promote", "--from", "staging"], 3, "--to: found nothing, expected an environment; there are: dev"),
        (["promote", "--from", "stagging", "--to", "prod"], 3, "did you mean staging?"),
        (["promote", "--from", "dev", "--to", "prod", "--min-age", "old"], 3, "--min-age: found 'old'"),
        (["image.build", "--env", "local", "--tool", "buildah"], 3, "expected one of docker, podman, gcloud"),
        (["lock.release", "--env", "local"], 3, "expected the name of a lease"),
        (["history", "--env", "local"], 4, "Run: ./dev invoke local.up"),
        (["health", "--env", "local"], 4, "Run: ./dev invoke local.up"),
        (["deploy", "--evn", "local"], 1, "did you mean --env?"),
        (["deploy", "staging"], 1, "there is no task 'staging'; did you mean --env staging?"),
        (["status", "local"], 1, "did you mean --env local?"),
        (["promote", "staging"], 1, "promote takes options only"),
        (["loadtest", "--env", "local", "--service", "nosuch"], 3, "available: tabular"),
        (["loadtest", "--env", "local", "--threshold", "p98<fast"], 3, "For example: --threshold"),
        (["image.build", "--env", "local", "--service", "nosuch"], 3, "available: tabular"),
        *(
            ([task, "--env", "nosuch"], 3, "environment 'nosuch' does not exist; available: dev, local, prod, staging")
            for task in ("health", "history", "image.build", "loadtest", "lock.status", "logs", "status", "toggle")
        ),
        (["deploy", "--env"], 1, "--env needs a value"),
        (["local.provision", "--env", "staging"], 4, "gcloud auth application-default login"),
    ],
)
def test_what_cannot_be_done_ends_with_its_code_and_a_remedy(
    invoke: Type, words: list[str], code: int, told: str
) -> None:
    done = invoke(*words)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert any(line.startswith("✗ ") for line in done.stderr.splitlines()[:2])
    assert told in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.process
def test_a_reset_asks_only_where_there_is_something_to_remove(invoke: Type, tmp_path: Path) -> None:
    assert invoke("local.reset").stdout == "there was nothing to remove\n"
    assert invoke("local.reset", "--dry-run").returncode == 0
    (tmp_path / "state" / "cloud").mkdir(parents=True)
    assert invoke("local.reset", "--dry-run").returncode == 2
    done = invoke("local.reset")
    assert (done.returncode, done.stdout) == (3, "")
    assert "add --yes" in done.stderr
    assert (tmp_path / "state" / "cloud").is_dir()


@pytest.mark.process
@pytest.mark.parametrize("words", [("--list",), ("--help", "deploy"), ("doctor",), ("render", "--env", "staging")])
def test_a_reader_that_leaves_ends_it_silently(tmp_path: Path, words: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "invoke", *words], cwd=ROOT, env=environ(tmp_path), stdin=subprocess.DEVNULL,
        stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    os.close(writer)
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


@pytest.mark.process
def test_a_dry_run_on_a_fresh_machine_changes_nothing(invoke: Type, tmp_path: Path) -> None:
    done = invoke("deploy", "--env", "local", "--dry-run", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["would_change"] is True
    assert not (tmp_path / "state").exists()


@pytest.mark.process
def test_results_go_to_stdout_and_talk_to_stderr(invoke: Type) -> None:
    done = invoke("doctor", "--json")
    assert {finding["name"] for finding in json.loads(done.stdout)["findings"]} >= {"packages", "stand-in"}
    assert done.stderr == ""
    assert "packages" in invoke("doctor").stdout


@pytest.mark.process
def test_render_prints_yaml_alone_or_writes_it(invoke: Type, tmp_path: Path) -> None:
    done = invoke("render", "--env", "staging")
    assert done.returncode == 0
    assert done.stdout.count("\n---\n") == 1
    assert done.stdout.lstrip("# ").startswith("Cloud Run")
    written = invoke("render", "--env", "staging", "--output", str(tmp_path / "out"))
    paths = [Path(line) for line in written.stdout.splitlines()]
    assert sorted(path.name for path in paths) == ["job.yaml", "service.yaml"]
    assert "".join([paths[0].read_text(encoding="utf-8"), "---\n", paths[1].read_text(encoding="utf-8")]) == done.stdout


@pytest.mark.process
def test_an_unexpected_error_is_one_line_and_its_details_are_in_a_file(invoke: Type, tmp_path: Path) -> None:
    text = (
        "from invoke.collection import Collection\nfrom scripts.tasks._command import command\n"
        "@command()\ndef broken(c):\n    '''Break.'''\n    raise RuntimeError('token=abc123 boom')\n"
        "namespace = Collection(broken)\n"
    )
    (tmp_path / "tasks.py").write_text(text, encoding="utf-8")
    done = invoke("broken", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "✗ unexpected RuntimeError: token=[redacted] boom"
    path = Path(done.stderr.splitlines()[1].rpartition(" ")[2])
    assert path.parent == tmp_path / "state" / "errors"
    assert "Traceback" in path.read_text(encoding="utf-8")
    assert "abc123" not in path.read_text(encoding="utf-8")


@pytest.mark.process
@pytest.mark.parametrize(("unread", "code"), [(False, 1), (True, 0)])
def test_a_broken_pipe_is_a_success_only_when_the_reader_of_the_output_has_gone(
    tmp_path: Path, unread: bool, code: int
) -> None:
    text = (
        "import time\nfrom invoke.collection import Collection\nfrom scripts.tasks._command import command\n"
        "@command()\ndef broken(c):\n    'Break.'\n    time.sleep(1)\n    raise BrokenPipeError('other')\n"
        "namespace = Collection(broken)\n"
    )
    (tmp_path / "tasks.py").write_text(text, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MODELSHELF_STATE": str(tmp_path / "state")}
    child = subprocess.Popen(
        [sys.executable, "-m", "invoke", "broken"], cwd=tmp_path, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with child:
        assert child.stdout is not None and child.stderr is not None
        if unread:
            child.stdout.close()
        told = child.stderr.read()
    assert child.returncode == code
    assert ("unexpected BrokenPipeError: other" in told) is not unread


@pytest.mark.process
@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_task_ends_with_130(tmp_path: Path, sig: signal.Signals) -> None:
    text = (
        "import time\nfrom invoke.collection import Collection\nfrom scripts.tasks._command import command\n"
        "@command()\ndef slow(c):\n    '''Wait.'''\n    print('waiting', flush=True)\n    time.sleep(60)\n"
        "namespace = Collection(slow)\n"
    )
    (tmp_path / "tasks.py").write_text(text, encoding="utf-8")
    # These tests themselves may run under nohup.
    heeds = f"signal.signal({sig}, signal.default_int_handler); runpy.run_module('invoke', alter_sys=True)"
    child = subprocess.Popen(
        [sys.executable, "-c", f"import runpy, signal; {heeds}", "slow"], text=True, cwd=tmp_path,
        env=environ(tmp_path, PYTHONPATH=str(ROOT)), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "waiting\n"
    child.send_signal(sig)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert err.startswith("✗ interrupted")
    assert "Traceback" not in err


@pytest.mark.process
def test_what_nohup_protects_outlives_its_terminal(tmp_path: Path) -> None:
    text = (
        "import os, signal\nfrom invoke.collection import Collection\nfrom scripts.tasks._command import command\n"
        "@command()\ndef hung(c):\n    '''Hang up.'''\n    os.kill(os.getpid(), signal.SIGHUP)\n    print('goes on')\n"
        "namespace = Collection(hung)\n"
    )
    (tmp_path / "tasks.py").write_text(text, encoding="utf-8")
    words = ["nohup", sys.executable, "-m", "invoke", "hung"]
    done = subprocess.run(
        words, cwd=tmp_path, env=environ(tmp_path, PYTHONPATH=str(ROOT)), capture_output=True, text=True, timeout=60,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "goes on\n"), done.stderr


@pytest.mark.process
def test_a_closed_pipe_stops_nothing_and_says_nothing(tmp_path: Path) -> None:
    text = (
        "import pathlib, time\nfrom invoke.collection import Collection\nfrom scripts.tasks._command import command\n"
        "@command()\ndef chatty(c):\n    '''Talk.'''\n    from scripts.tasks._screen import Screen\n"
        "    screen = Screen()\n    screen.line('one')\n"
        "    while not pathlib.Path('closed').exists():\n        time.sleep(0.01)\n    screen.line('two')\n"
        "    screen.line('three')\n    pathlib.Path('done').write_text(str(screen.gone))\n"
        "namespace = Collection(chatty)\n"
    )
    (tmp_path / "tasks.py").write_text(text, encoding="utf-8")
    child = subprocess.Popen(
        [sys.executable, "-m", "invoke", "chatty"], cwd=tmp_path, env=environ(tmp_path, PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stderr is not None
    assert child.stdout.readline() == b"one\n"
    child.stdout.close()
    (tmp_path / "closed").touch()
    assert child.wait(timeout=60) == 0
    assert child.stderr.read() == b""
    assert (tmp_path / "done").read_text(encoding="utf-8") == "True"


@pytest.mark.process
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_streams_that_are_closed_break_nothing(tmp_path: Path, closed: str) -> None:
    command = [sys.executable, "-m", "invoke", "render", "--env", "staging"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *command], cwd=ROOT, env=environ(tmp_path), capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.process
def test_output_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "invoke", "render", "--env", "staging"], cwd=ROOT, env=environ(tmp_path),
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "✗ the output cannot be written: No space left on device" in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.process
def test_bash_completes_tasks_and_options(tmp_path: Path) -> None:
    """The script that Invoke prints, in a real bash."""
    asked = {
        "invoke roll": "rollback",
        "invoke lock.": "lock.release lock.status",
        "invoke rollback --mod": "--models",
        "invoke deploy --envi": "--environment",
        "invoke cache.pin --": "--dry-run --env --environment --json --version",
    }
    lines = ['eval "$(invoke --print-completion-script bash)"']
    for words in asked:
        lines += [f"COMP_WORDS=({words})", f"_complete_invoke invoke '{words.rpartition(' ')[2]}'"]
        lines += ["printf '%s\\n' \"${COMPREPLY[*]}\""]
    done = subprocess.run(
        ["bash", "--norc", "-c", "\n".join(lines)], cwd=ROOT, env=environ(tmp_path), capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [" ".join(sorted(line.split())) for line in done.stdout.splitlines()]
    assert found == list(asked.values())


@pytest.mark.process
@pytest.mark.parametrize(("shell", "told"), [("zsh", "compctl -K"), ("fish", "complete --command invoke")])
def test_other_shells_get_their_script(invoke: Type, shell: str, told: str) -> None:
    done = invoke("--print-completion-script", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert told in done.stdout
    candidates = invoke("--complete", "--", "invoke", "stat")  # what the script asks
    assert "status" in candidates.stdout.splitlines()

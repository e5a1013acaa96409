"""What `local.env` prints and `local.shell` opens: the shell itself reads it, and the user's own gcloud stays alone."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.errors import BadInput, NotFound
from scripts.service import exports
from tests.conftest import ROOT, StandIn

AWKWARD = {"PLAIN": "a", "AWKWARD": 'it\'s \\ $HOME `id` "x" ünï; # no\nnext'}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELSHELF_STATE", str(tmp_path / "st ate"))
    monkeypatch.setenv("MODELSHELF_ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "st ate"


def test_the_variables_name_files_in_the_state_folder(place: Path) -> None:
    values = exports.prepare("staging")
    assert values["STORAGE_EMULATOR_HOST"] == values["MODELSHELF_ENDPOINT"] == "http://127.0.0.1:9"
    assert values["HF_ENDPOINT"] == "http://127.0.0.1:9/upstream/huggingface"
    assert (values["CLOUDSDK_PROXY_ADDRESS"], values["CLOUDSDK_PROXY_PORT"]) == ("127.0.0.1", "9")
    assert values["CLOUDSDK_CORE_PROJECT"] == exports.settings("staging").project
    assert values["CLOUDSDK_CORE_PROJECT"] != exports.prepare("")["CLOUDSDK_CORE_PROJECT"]
    assert Path(values["CLOUDSDK_CONFIG"]).parent == place
    assert Path(values["CLOUDSDK_CONFIG"]).stat().st_mode & 0o777 == 0o700
    assert "use_gcloud_storage = True" in Path(values["BOTO_CONFIG"]).read_text(encoding="utf-8")
    with pytest.raises(NotFound):
        exports.prepare("nowhere")


def test_every_host_named_to_gcloud_is_one_that_the_stand_in_answers_for(place: Path) -> None:
    from urllib.parse import urlsplit

    from scripts.localcloud.proxy import is_google

    named = [value for key, value in exports.prepare("").items() if "ENDPOINT_OVERRIDES" in key]
    assert len(named) >= 10
    assert all(is_google(urlsplit(url).hostname or "") and url.endswith("/") for url in named)


def test_the_shell_is_the_users_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for own, expected in (("/usr/bin/zsh", "zsh"), ("/bin/fish", "fish"), ("/bin/dash", "bash"), ("", "bash")):
        monkeypatch.setenv("SHELL", own)
        assert exports.choose("") == expected
    assert exports.choose("fish") == "fish"
    with pytest.raises(BadInput, match="powershell"):
        exports.choose("powershell")


def test_fish_gets_its_own_commands_and_quotes() -> None:
    text = exports.script({"A": "it's \\ $HOME"}, "fish")
    assert text.splitlines()[0] == "set -gx A 'it\\'s \\\\ $HOME'"
    assert "| source" in text


@pytest.mark.process
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_reads_back_exactly_what_was_meant(shell: str) -> None:
    """sh reads what is written for both: their quotes are those of POSIX."""
    program = 'eval "$1"; exec "$2" -c "import json, os; print(json.dumps(dict(os.environ)))"'
    told = subprocess.run(
        ["bash", "-c", program, "-", exports.script(AWKWARD, shell), sys.executable],
        capture_output=True, text=True, check=True, timeout=60, env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
    )  # fmt: skip
    found = json.loads(told.stdout)
    assert {key: found[key] for key in AWKWARD} == AWKWARD


@pytest.fixture
def invoke(tmp_path: Path, shared_standin: StandIn) -> Callable[..., subprocess.CompletedProcess[str]]:
    def typed(*words: str, typed: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        environ = {
            "PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8", "SHELL": "/bin/bash",
            "MODELSHELF_STATE": str(tmp_path / "state"), "MODELSHELF_ENDPOINT": shared_standin.url, **more,
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, "-m", "invoke", *words],
            cwd=ROOT, env=environ, input=typed, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return typed


@pytest.mark.process
def test_local_env_is_read_by_eval_and_as_json(invoke: Callable[..., Any], shared_standin: StandIn) -> None:
    printed = invoke("local.env", "--shell", "bash")
    assert printed.returncode == 0, printed.stderr
    values = dict(
        line.removeprefix("export ").split("=", 1) for line in printed.stdout.splitlines() if "export " in line
    )
    assert shlex.split(values["STORAGE_EMULATOR_HOST"]) == [shared_standin.url]
    listed = json.loads(invoke("local.env", "--json").stdout)
    assert {name: shlex.split(value)[0] for name, value in values.items()} == listed
    wrong = invoke("local.env", "--shell", "tcsh")
    assert wrong.returncode == 3, wrong.stderr
    assert "expected bash, zsh, fish" in wrong.stderr


@pytest.mark.process
def test_local_shell_has_the_variables_and_says_so_in_its_prompt(
    invoke: Callable[..., Any], shared_standin: StandIn, tmp_path: Path
) -> None:
    (tmp_path / ".bashrc").write_text("export CLOUDSDK_CORE_PROJECT=mine MY_OWN=kept; PS1='mine> '\n", encoding="utf-8")
    words = 'echo "<$STORAGE_EMULATOR_HOST|$CLOUDSDK_CORE_PROJECT|$MY_OWN|$PS1>"; exit 7\n'
    told = invoke("local.shell", typed=words)
    assert f"<{shared_standin.url}|modelshelf-local|kept|(stand-in:{shared_standin.port}) mine> >" in told.stdout
    assert told.returncode == 7, "the shell's exit code is passed on"
    plain = invoke("local.shell", typed='echo "<$STORAGE_EMULATOR_HOST>"\n', SHELL="/bin/sh")
    assert f"<{shared_standin.url}>" in plain.stdout
    missing = invoke("local.shell", SHELL="/no/such/shell")
    assert missing.returncode == 3
    assert "/no/such/shell" in missing.stderr

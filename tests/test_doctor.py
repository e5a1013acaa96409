"""The doctor tells what is there and what is missing; only what nothing works without makes it fail."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from scripts import doctor
from scripts.doctor import Finding

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with nothing on its PATH, no login, and a state folder of its own."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("MODELSHELF_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MODELSHELF_PORT", str(probe.getsockname()[1]))
    return tmp_path


def named() -> dict[str, Finding]:
    return {finding.name: finding for finding in doctor.examine()}


def test_a_bare_machine_is_enough(machine: Path) -> None:
    found = named()
    assert not any(found[name].present for name in ("uv", "gcloud", "terraform", "docker", "Google credentials"))
    assert all(finding.purpose for finding in found.values())
    assert all(finding.present for finding in found.values() if finding.required)
    assert doctor.exit_code(list(found.values())) == 0
    assert doctor.verdict(list(found.values())) == ["everything needed is here; what is missing above is optional"]
    assert list((machine / "state").iterdir()) == []


def test_a_program_is_asked_for_its_version(machine: Path) -> None:
    (machine / "bin").mkdir()
    for name, script in (("uv", "#!/bin/sh\necho uv 1.2.3"), ("docker", "#!/bin/sh\nexit 3")):
        (machine / "bin" / name).write_text(script, encoding="utf-8")
        (machine / "bin" / name).chmod(0o755)
    found = named()
    assert found["uv"].found == "uv 1.2.3"
    assert not found["docker"].present
    assert found["docker"].found == "exit 3"


def test_a_port_in_use_and_a_state_that_is_no_folder_are_needed(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("MODELSHELF_PORT", str(other.getsockname()[1]))
        (machine / "file").touch()
        monkeypatch.setenv("MODELSHELF_STATE", str(machine / "file"))
        findings = doctor.examine()
    assert doctor.exit_code(findings) == 3
    told = "\n".join(doctor.verdict(findings))
    assert "MODELSHELF_PORT" in told
    assert "MODELSHELF_STATE" in told
    assert {row[1] for row in (finding.cells() for finding in findings)} >= {"present", "missing", "MISSING"}

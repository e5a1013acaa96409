"""Look at this machine: what the project uses, whether it is there, and what does not work without it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scripts import process
from scripts.cloud import standin
from scripts.cloud.credentials import default_credentials
from scripts.errors import ExitCode, OpsError
from scripts.settings import project
from scripts.units import size

HEADERS = ("what", "state", "found", "used for")
NEEDED_BYTES = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for. required: nothing works without it. remedy: how to get it, may be empty."""

    name: str
    present: bool
    found: str
    purpose: str
    required: bool = False
    remedy: str = ""

    def cells(self) -> list[str]:
        """The row of the table."""
        state = "present" if self.present else "MISSING" if self.required else "missing"
        return [self.name, state, self.found, self.purpose]

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


def examine() -> list[Finding]:
    """Look for everything; no look takes longer than a few seconds and none changes anything that stays."""
    looks: list[Callable[[], Finding]] = [
        _python, _packages, _state, _space, _daemon,
        lambda: _tool("uv", ["--version"], "a faster set-up of the environment"),
        lambda: _tool("gcloud", ["--version"], "logging in to Google Cloud", "Install the Google Cloud CLI."),
        _credentials,
        lambda: _tool("terraform", ["version"], "making what environments are built on"),
        lambda: _tool("docker", ["--version"], "building the image"),
        _browser, _namespaces, _fuse,
    ]  # fmt: skip
    return [look() for look in looks]


def verdict(findings: Sequence[Finding]) -> list[str]:
    """The remedies of what is missing and needed, or one line that says all is well."""
    lacking = [finding for finding in findings if finding.required and not finding.present]
    if not lacking:
        return ["everything needed is here; what is missing above is optional"]
    return [f"{finding.name}: {finding.remedy or finding.found}" for finding in lacking]


def exit_code(findings: Sequence[Finding]) -> ExitCode:
    """REFUSED when something needed is missing, else OK."""
    return ExitCode.REFUSED if any(item.required and not item.present for item in findings) else ExitCode.OK


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("Python 3.11+", sys.version_info >= (3, 11), version, "everything", True, "Install Python 3.11.")


def _packages() -> Finding:
    wanted = ("invoke", "rich", "pydantic", "yaml", "jinja2", "jsonschema", "google.cloud.storage", "googleapiclient",
              "uvicorn", "starlette", "aiohttp", "hdrh", "securesystemslib", "numpy", "tokenizers",
              "huggingface_hub")  # fmt: skip
    lacking = [name for name in wanted if not _importable(name)]
    found = f"missing: {', '.join(lacking)}" if lacking else "as in requirements.lock"
    remedy = "Run commands through ./dev, or: pip install --require-hashes -r requirements.lock"
    return Finding("packages", not lacking, found, "everything", True, remedy)


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _state() -> Finding:
    folder = project.state_dir()
    remedy = "Name a folder you can write to: MODELSHELF_STATE=DIR"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / f".doctor-{os.getpid()}"
        probe.write_text("", encoding="utf-8")
        probe.unlink()
    except OSError as error:
        return Finding("state folder", False, f"{folder}: {error.strerror}", "keys, the stand-in", True, remedy)
    return Finding("state folder", True, str(folder), "keys, the stand-in", True, remedy)


def _space() -> Finding:
    folder = project.state_dir()
    while not folder.exists():
        folder = folder.parent
    free_bytes = shutil.disk_usage(folder).free
    enough = free_bytes >= NEEDED_BYTES
    return Finding("disk space", enough, f"{size(free_bytes)} free", "models in the stand-in (1 GiB)", True,
                   f"Free some space at {folder}, or name another place: MODELSHELF_STATE=DIR")  # fmt: skip


def _daemon() -> Finding:
    purpose = "the local cloud"
    running = standin.find(project.state_dir() / "cloud")
    if running is not None:
        return Finding("stand-in", True, f"runs at {running.url}", purpose)
    port = project.port()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            remedy = f"Stop what uses port {port}, or choose another: MODELSHELF_PORT=8486"
            return Finding("stand-in", False, f"port {port} is used by another program", purpose, True, remedy)
    return Finding("stand-in", True, f"not running; port {port} is free", purpose)


def _tool(name: str, arguments: list[str], purpose: str, remedy: str = "") -> Finding:
    path = shutil.which(name)
    if path is None:
        return Finding(name, False, "not on the PATH", purpose, False, remedy)
    try:
        told = process.run([path, *arguments], timeout_s=20.0, check=False)
    except OpsError as error:
        return Finding(name, False, error.message, purpose, False, remedy)
    first = (told.stdout or told.stderr).strip().splitlines()[:1]
    return Finding(name, told.code == 0, first[0][:60] if first else f"exit {told.code}", purpose, False, remedy)


def _credentials() -> Finding:
    purpose = "every environment on Google Cloud"
    try:
        credentials = default_credentials()
    except OpsError as error:
        return Finding("Google credentials", False, "none", purpose, False, error.remedy)
    return Finding("Google credentials", True, type(credentials).__module__.rpartition(".")[2], purpose)


def _browser() -> Finding:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next((path for name in names if (path := shutil.which(name))), "")
    return Finding("chromium", bool(found), found or "not on the PATH", "looking at reports in tests")


def _namespaces() -> Finding:
    purpose = "instances that see the bucket at /models (else their variables are rewritten)"
    path = shutil.which("unshare")
    if path is None:
        return Finding("user namespaces", False, "no unshare(1)", purpose)
    try:
        told = process.run([path, "--user", "--mount", "--map-root-user", "true"], timeout_s=10.0, check=False)
    except OpsError as error:
        return Finding("user namespaces", False, error.message, purpose)
    found = "allowed" if told.code == 0 else (told.stderr.strip().splitlines() or ["refused"])[-1][:60]
    return Finding("user namespaces", told.code == 0, found, purpose)


def _fuse() -> Finding:
    purpose = "mounts of the stand-in as on Cloud Run: late, slow, writable"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return Finding("/dev/fuse", False, error.strerror or "does not open", purpose)
    return Finding("/dev/fuse", True, "opens", purpose)

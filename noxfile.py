# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2025.5"]
# ///
"""What CI proves: `./dev nox` runs the default sessions, `./dev nox -t full` the costly ones.

All sessions share the environment that runs nox (made by ./dev, or by pip from requirements.lock): an
environment each would cost 27 s and 488 MB (measured 2026-11-20, see docs/decisions).
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "unit", "templates", "contract", "e2e"]
nox.options.error_on_external_run = False
# nox looks for uv even when no session gets an environment of its own, and tells that there is none (seen in 2026.10).
logging.getLogger("nox").addFilter(lambda record: record.funcName != "uv_version")

ELSEWHERE = ("tests/contract", "tests/e2e", "tests/rendering")
# Tests mostly wait for processes: on two processors four workers take 6:10 minutes for the unit session, two take 8:00
# (measured 2026-11-30). More than four only cost memory.
WORKERS = min(2 * (os.cpu_count() or 1), 4)


def python(session: nox.Session, module: str, *arguments: str) -> None:
    """Run a module of the environment that runs nox itself."""
    if importlib.util.find_spec("uvicorn") is None:
        session.error("this environment lacks the project's packages; run: ./dev nox")
    session.run(sys.executable, "-m", module, *arguments)


def pytest(session: nox.Session, folder: str, *options: str, spread: str = "") -> None:
    """Run pytest on a folder; what is given after `--` is added, and paths among it are run instead of the folder.

    spread: how pytest-xdist divides all tests among the processors: `worksteal` test by test, `loadscope` module by
    module, for modules whose tests share much that is slow to make. A few tests are not worth the workers' start.
    """
    words = session.posargs
    places = () if any(Path(word.partition("::")[0]).exists() for word in words) else (folder,)
    workers = ("-n", str(WORKERS), "--dist", spread) if spread and WORKERS > 1 and not words else ()
    python(session, "pytest", *places, *options, *workers, *words)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting and the import rules of the house."""
    python(session, "ruff", "check", ".")
    python(session, "ruff", "format", "--check", ".")
    session.run(str(Path(sys.executable).parent / "lint-imports"), "--no-cache")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict over everything that is not a test."""
    python(session, "mypy")


@nox.session
def unit(session: nox.Session) -> None:
    """Tests beside each module: values in, values out, and the container against real files."""
    pytest(session, "tests", *(f"--ignore={folder}" for folder in ELSEWHERE), "-m", "not full", spread="worksteal")


@nox.session
def templates(session: nox.Session) -> None:
    """Rendered YAML of every environment: goldens, quoting, Google's own schema."""
    pytest(session, "tests/rendering", "-m", "not full")


@nox.session
def contract(session: nox.Session) -> None:
    """The stand-in, driven by clients that were not written here."""
    pytest(session, "tests/contract", "-m", "not full", spread="loadscope")


@nox.session
def e2e(session: nox.Session) -> None:
    """The README's commands, typed as a user would."""
    pytest(session, "tests/e2e", "-m", "not full", spread="loadscope")


@nox.session(tags=["full"])
def costly(session: nox.Session) -> None:
    """Tests that are too slow for every run, with more time each before they count as hanging."""
    pytest(session, "tests", "-m", "full", "--timeout=900", spread="loadscope")


@nox.session(tags=["bench"])
def bench(session: nox.Session) -> None:
    """Measure and print ratios; never fails on a time."""
    python(session, "bench", *session.posargs)


@nox.session(tags=["tools"])
def lock(session: nox.Session) -> None:
    """Refresh requirements.lock and docker/requirements.tabular.lock: hashes, no addresses (needs uv)."""
    options = ("--universal", "--generate-hashes", "--no-emit-index-url", "--no-header", "--python-version", "3.11")
    session.run("uv", "pip", "compile", *options, "--group", "dev", "pyproject.toml", "-o", "requirements.lock")
    container = ("docker/requirements.tabular.in", "-o", "docker/requirements.tabular.lock")
    session.run("uv", "pip", "compile", *options, *container)

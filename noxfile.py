# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2025.5"]
# ///
"""What CI proves: `./dev nox` runs the default sessions, `./dev nox -t full` the costly ones as well.

All sessions share the environment that runs nox (made by ./dev, or by pip from requirements.lock): an
environment each would cost 27 s and 488 MB (measured 2026-11-20, see docs/decisions).
"""

from __future__ import annotations

import importlib.util

import nox

nox.needs_version = ">=2025.5"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "unit", "templates", "contract", "e2e"]
nox.options.error_on_external_run = False

ELSEWHERE = ("tests/contract", "tests/e2e", "tests/rendering")


def pytest(session: nox.Session, *arguments: str) -> None:
    """Run pytest with the session's own arguments, or with those given after `--`."""
    if importlib.util.find_spec("pytest") is None or importlib.util.find_spec("uvicorn") is None:
        session.error("the environment lacks the project's packages; run: ./dev nox")
    session.run("python", "-m", "pytest", *arguments, *session.posargs)


@nox.session(tags=["full"])
def lint(session: nox.Session) -> None:
    """Style, formatting and the import rules of the house."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-cache")


@nox.session(tags=["full"])
def types(session: nox.Session) -> None:
    """mypy --strict over everything that is not a test."""
    session.run("mypy")


@nox.session(tags=["full"])
def unit(session: nox.Session) -> None:
    """Tests beside each module: values in, values out, and the container against real files."""
    pytest(session, "tests", *(f"--ignore={folder}" for folder in ELSEWHERE), "-m", "not full")


@nox.session(tags=["full"])
def templates(session: nox.Session) -> None:
    """Rendered YAML of every environment: goldens, quoting, Google's own schema."""
    pytest(session, "tests/rendering", "-m", "not full")


@nox.session(tags=["full"])
def contract(session: nox.Session) -> None:
    """The stand-in, driven by clients that were not written here."""
    pytest(session, "tests/contract", "-m", "not full")


@nox.session(tags=["full"])
def e2e(session: nox.Session) -> None:
    """The README's commands, typed as a user would."""
    pytest(session, "tests/e2e", "-m", "not full")


@nox.session(tags=["full"])
def costly(session: nox.Session) -> None:
    """Tests that are too slow for every run."""
    pytest(session, "tests", "-m", "full")


@nox.session(tags=["bench"])
def bench(session: nox.Session) -> None:
    """Measure and print ratios; never fails on a time."""
    session.run("python", "-m", "bench", *session.posargs)


@nox.session(tags=["tools"])
def lock(session: nox.Session) -> None:
    """Refresh requirements.lock and docker/requirements.tabular.lock: hashes, no addresses (needs uv)."""
    options = ("--universal", "--generate-hashes", "--no-emit-index-url", "--no-header", "--python-version", "3.11")
    session.run("uv", "pip", "compile", *options, "--group", "dev", "pyproject.toml", "-o", "requirements.lock")
    container = ("docker/requirements.tabular.in", "-o", "docker/requirements.tabular.lock")
    session.run("uv", "pip", "compile", *options, *container)

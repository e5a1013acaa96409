"""Typing mistakes, told like every other error: what was found, the nearest name, and the next command to type."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit, ParseError
from invoke.parser.argument import Argument

if TYPE_CHECKING:
    from collections.abc import Iterable

    from invoke.collection import Collection


class Whole(Argument):
    """An option whose value is a whole number; Invoke's own ends in a traceback when it is none."""

    def set_value(self, value: Any, cast: bool = True) -> None:
        """Take the value. Raises Exit with code 3 after the error was told."""
        try:
            super().set_value(value, cast)
        except ValueError:
            from scripts.errors import ExitCode
            from scripts.tasks._screen import show_error

            show_error(f"--{self.name}: found {value!r}, expected a whole number", f"For example: --{self.name} 5")
            raise Exit(code=int(ExitCode.REFUSED)) from None


def install(namespace: Collection) -> None:
    """Let Invoke's parser errors say what to type next: only their text can be reached before a task runs.

    Until then a reader that left (`--list | head`) ends the program silently, as it ends other programs.
    """
    if Path(sys.argv[0]).name in ("invoke", "inv") or Path(sys.argv[0]).parent.name == "invoke":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)

    def told(error: ParseError) -> str:
        return explained(error, namespace)

    ParseError.__str__ = told  # type: ignore[method-assign,assignment]


def explained(error: ParseError, namespace: Collection) -> str:
    """The parser's words, the nearest name that exists, and where to look. Invoke gives nothing but the words."""
    words = str(error.args[0]) if error.args else "the command line cannot be understood"
    task = error.context.name if error.context is not None else None
    words = words.replace("needed value and was not given one", "needs a value").removeprefix("Flag ")
    words = re.sub(r"<Argument: ([\w-]+)[^>]*>", r"--\1", words).replace("'--", "--").rstrip("!")
    found = re.search(r"No idea what (['\"])(.+)\1 is|No idea what (--\S+?)' is", words)
    if found is None:
        return _told(words[:1].lower() + words[1:], task)
    token = found[2] or found[3]
    if token.startswith("-"):
        name = token.partition("=")[0]
        where = f"task {task!r}" if task else "invoke itself"
        return _told(f"{where} has no option {name}{_near(name, _flags(error))}", task)
    if "--env" in _flags(error) and token in _environments():
        return _told(f"there is no task {token!r}; did you mean --env {token}?", task)
    known = [str(name) for name in namespace.task_names]
    unexpected = f"; {task} takes options only, like --env NAME" if task else ""
    return _told(f"there is no task {token!r}{_near(token, known) or unexpected}", None if not unexpected else task)


def _flags(error: ParseError) -> list[str]:
    context = error.context
    return [name for name in (*context.flags, *context.inverse_flags) if name.startswith("--")] if context else []


def _environments() -> list[str]:
    from scripts.settings.load import environments

    return environments()


def _near(token: str, known: Iterable[str]) -> str:
    import difflib

    names = list(known)
    near = difflib.get_close_matches(token, names, 1, 0.6)
    near = near or [name for name in names if name.rpartition(".")[2] == token][:1]
    return f"; did you mean {near[0]}?" if near else ""


def _told(message: str, task: str | None) -> str:
    return f"✗ {message}\n  → Run: ./dev invoke {f'--help {task}' if task else '--list'}"

"""What every task shares: both spellings of --env, common help texts, and errors told without a traceback.

Nothing heavy may be imported here at module level: `invoke --list` pays for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import cleandoc
from textwrap import fill
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit
from invoke.tasks import Task
from invoke.tasks import task as invoke_task

from scripts.tasks._usage import Whole

if TYPE_CHECKING:
    from types import FrameType

    from invoke.parser.argument import Argument

    from scripts.settings.model import Settings
    from scripts.tasks._screen import Screen

HELP = {
    "env": "environment: a file in environments/ (default: $MODELSHELF_ENV)",
    "service": "service of the environment, by its short name",
    "dry_run": "print what would be done, and change nothing",
    "json": "print one JSON document on standard output, and nothing else there",
    "yes": "do not ask",
}


# The environment that the running task is about; remedies are told with its name.
_meant: list[str] = []


class Command(Task):  # type: ignore[type-arg]
    """A task whose `env` option has three spellings and whose body may return the exit code."""

    def arg_opts(self, name: str, default: Any, taken_names: set[str]) -> dict[str, Any]:
        """Invoke's options of one argument; `env` is also --environment and -e."""
        options: dict[str, Any] = super().arg_opts(name, default, taken_names)
        if name == "env":
            options["names"] = ["env", "environment", "e"]
        return options

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """Invoke's arguments; those that are whole numbers say so when they get something else."""
        texts = dict(self.help)  # Invoke takes them out: the second who asks would find none
        arguments: list[Argument] = super().get_arguments(ignore_unknown_help)
        self.help = texts
        for argument in arguments:
            if argument.kind is int:
                argument.__class__ = Whole
        return arguments

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with guarded():
            code = super().__call__(*args, **kwargs)
        _flush()
        if code:
            raise Exit(code=int(code))


def command(
    help: dict[str, str] | None = None,
    name: str | None = None,
    optional: tuple[str, ...] = (),
    exits: dict[int, str] | None = None,
    more: str = "",
) -> Callable[[Callable[..., Any]], Any]:
    """Make a function a task; help texts of common options are added, and every option must have one.

    optional: options that may stand without a value, which is then True. exits: what its own exit codes mean.
    more: a second paragraph of its help.
    """

    def make(body: Callable[..., Any]) -> Any:
        options = body.__code__.co_varnames[1 : body.__code__.co_argcount]
        codes = {0: "done"} | ({2: "--dry-run: something would change"} if "dry_run" in options else {}) | (exits or {})
        told = "; ".join(f"{code} {codes[code]}" for code in sorted(codes))
        paragraphs = [cleandoc(body.__doc__ or ""), *([more] if more else []), f"Exit codes: {told}."]
        body.__doc__ = _wrapped("\n\n".join(paragraphs))
        texts = {option: (help or {}).get(option) or HELP[option] for option in options}
        made = invoke_task(
            klass=Command, help=texts, name=name, positional=[], optional=optional, auto_shortflags=False
        )
        return made(body)

    return make


def _wrapped(text: str) -> str:
    """A help text whose paragraphs fit a terminal of 80 columns: Invoke indents it by two and wraps nothing."""
    return "\n\n".join(fill(" ".join(part.split()), 77) for part in text.split("\n\n"))


def settings_for(env: str | None, otherwise: str = "") -> Settings:
    """The settings of the environment that was named, of MODELSHELF_ENV, or otherwise of that one.

    Raises BadInput listing the environments when none was named.
    """
    from scripts.errors import BadInput
    from scripts.settings.load import default_environment, environments, load

    chosen = env or default_environment() or otherwise
    if not chosen:
        known = ", ".join(environments())
        raise BadInput(f"which environment? there are: {known}", "Add --env NAME, or set MODELSHELF_ENV=NAME.")
    settings = load(chosen)
    _meant[:] = [chosen]
    return settings


def begin(env: str | None, json: bool, otherwise: str = "") -> tuple[Screen, Settings]:
    """The screen and the settings of a task; a rehearsal is announced. otherwise: see settings_for."""
    from scripts.tasks._screen import Screen

    screen, settings = Screen(json=json), settings_for(env, otherwise)
    if settings.rehearsal:
        screen.note(f"rehearsal of {settings.environment} on {settings.endpoint}: models and keys are local.yaml's")
    return screen, settings


@contextmanager
def guarded() -> Iterator[None]:
    """Turn errors into a message, a remedy and the exit code; SIGTERM and SIGHUP unwind like Ctrl-C, unless
    whoever started this has them ignored."""
    from scripts.errors import BadInput, ExitCode, OpsError

    _catch_signals()
    _open_streams()
    try:
        yield
    except OpsError as error:
        from scripts.process import redact
        from scripts.tasks._screen import show_error

        # What is wrong with a file is told word for word: `secret_env: found nothing` hides no secret.
        message = redact(error.message, names=not isinstance(error, BadInput))
        show_error(message, error.remedy.replace("ENVIRONMENT", _meant[0]) if _meant else error.remedy)
        raise Exit(code=int(error.exit_code)) from None
    except KeyboardInterrupt:
        from scripts.tasks._screen import show_error

        show_error("interrupted", "Type the same command again: it continues where it stopped.")
        raise Exit(code=int(ExitCode.INTERRUPTED)) from None
    except (Exit, SystemExit):
        raise
    except ModuleNotFoundError as error:
        from scripts.tasks._screen import show_error

        remedy = "Type the command through ./dev, or: pip install --require-hashes -r requirements.lock"
        show_error(f"the package {error.name!r} is missing in {sys.executable}", remedy)
        raise Exit(code=int(ExitCode.REFUSED)) from None
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _unread():
            raise Exit(code=0) from None  # whoever read our output has seen enough (`| head`)
        from scripts.process import redact
        from scripts.tasks._screen import show_error
        from scripts.tasks._trouble import record

        show_error(f"unexpected {type(error).__name__}: {redact(_first_line(error))}", record(error))
        raise Exit(code=int(ExitCode.FAILED)) from None


def _catch_signals() -> None:
    import signal

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a task goes on when its reader left
    for name in ("SIGTERM", "SIGHUP"):
        if signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:  # nohup wants it to go on
            signal.signal(getattr(signal, name), interrupt)


def _open_streams() -> None:
    """Let everything be written somewhere: streams that the caller closed go nowhere, strange letters become `?`."""
    import os
    from pathlib import Path

    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors="replace")


def _unread() -> bool:
    """Whether the reader of stdout has gone: any other broken pipe is a failure like every other."""
    import select

    asked = select.poll()
    asked.register(sys.stdout, 0)
    return any(events & select.POLLERR for _, events in asked.poll(0))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:300]


def _flush() -> None:
    """Flush, and let no broken pipe speak up while Python shuts down."""
    import os

    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

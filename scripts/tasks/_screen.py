"""What people see: on a terminal a spinner, colours and tables (rich, loaded on demand), in a pipe plain lines.

NO_COLOR and TERM=dumb are respected by rich itself. Texts are never read as mark-up.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TextIO

from scripts.errors import OpsError, Refused

if TYPE_CHECKING:
    from scripts.plan import Plan
    from scripts.service.upkeep import Work

Row = tuple[str, str]
_IN_ONE_PIECE = 32  # letters: a version, an operation, a bucket
_NUMBER = re.compile(r"-?[0-9.]*( (B|KiB|MiB|GiB|ms|s))?")
Table = tuple[Sequence[str], Sequence[Sequence[str]]]


class Screen:
    """Talk (steps, notes) goes to standard error, results to standard output; with json the document is the result."""

    def __init__(self, *, json: bool = False) -> None:
        self._json = json
        # As they are now: while a spinner turns, rich puts proxies in their place in sys.
        self._stream, self._talk = sys.stdout, sys.stderr
        self._consoles = {stream: _console(stream) for stream in (self._talk, self._stream)}
        self._spinner: Any = None
        self._collected: list[Any] | None = None
        self.gone = False

    def begin(self, title: str) -> None:
        """A step starts: a spinner on a terminal, nothing in a pipe."""
        console = self._consoles[self._talk]
        if console is not None:
            self._spinner = console.status(_escaped(title))
            self._spinner.start()

    def progress(self, text: str) -> None:
        """What the step is at; only a terminal shows it."""
        if self._spinner is not None:
            self._spinner.update(_escaped(text))

    def end(self, title: str, outcome: str, seconds: float) -> None:
        """A step is done."""
        self._ended(title, outcome or "done", seconds)

    def failed(self, title: str, seconds: float) -> None:
        """A step failed; the error follows on standard error."""
        self._ended(title, "failed", seconds, mark=("✗", "red"))

    def note(self, text: str, *, warning: bool = False) -> None:
        """Something that stays on the screen."""
        self._styled(self._talk, f"! {text}" if warning else text, "yellow" if warning else "")

    def line(self, text: str = "") -> None:
        """One plain line."""
        self.lines([text])

    def text(self, text: str) -> None:
        """Text exactly as it is, for other programs to read."""
        self._write(self._stream, text)

    def lines(self, lines: Iterable[str]) -> None:
        """Plain lines; those of a plan are coloured by their sign."""
        if self._json:
            return
        for text in lines:
            self._styled(self._stream, text, _SIGNS.get(text.lstrip()[:1], ""))

    def rows(self, title: str, rows: Sequence[Row], table: Table = ((), ())) -> None:
        """Names and values: a frame on a terminal, `name: value` lines in a pipe; then a table."""
        if self._json:
            return
        self._rows(title, rows)
        self.table(*table)

    def _rows(self, title: str, rows: Sequence[Row]) -> None:
        if self._consoles[self._stream] is None:
            self.lines([*([title] if title else []), *(f"{name}: {value}" for name, value in rows)])
            return
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in rows:
            grid.add_row(Text(name), Text(value, style=_CELLS.get(value) or _CELLS.get(name, "")))
        framed = Panel(grid, title=Text(title, style="bold"), title_align="left", border_style="dim", expand=False)
        self._put(self._stream, framed)

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table, numbers to the right; in a pipe aligned columns without frames; of no rows nothing is shown."""
        if self._json or not rows:
            return
        numbers = {
            column
            for column in range(len(headers))
            if any(row[column] for row in rows) and all(_NUMBER.fullmatch(row[column]) for row in rows)
        }
        if self._consoles[self._stream] is not None:
            from rich import box
            from rich.table import Table
            from rich.text import Text

            compact: Any = {"show_edge": False, "pad_edge": False, "padding": (0, 1, 0, 0)}
            table = Table(box=box.SIMPLE_HEAD, header_style="dim", **compact)
            shown = [number for number in range(len(headers)) if any(row[number] for row in rows)]
            for number in shown:
                # What identifies a row and what is a number stays in one piece; the rest is folded, nothing is cut off.
                widest = max(len(row[number]) for row in rows)
                fixed = number in numbers or (number == 0 and widest <= _IN_ONE_PIECE)
                side: Any = "right" if number in numbers else "left"
                table.add_column(headers[number], justify=side, no_wrap=fixed, overflow="fold")
            for row in rows:
                table.add_row(*(Text(row[number], style=_CELLS.get(row[number], "")) for number in shown))
            for thing in ("", table, ""):
                self._put(self._stream, thing)
            return
        every = [headers, *rows]
        widths = [max(len(row[column]) for row in every) for column in range(len(headers))]
        for row in every:
            cells = [
                cell.rjust(widths[column]) if column in numbers else cell.ljust(widths[column])
                for column, cell in enumerate(row)
            ]
            self.line("  ".join(cells).rstrip())

    def result(self, value: Any) -> None:
        """The result of a command asked for with --json."""
        if self._json:
            self._write(self._stream, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def confirm(self, question: str, yes: bool) -> None:
        """Ask before something that cannot be undone. Raises Refused without consent, or nobody to ask."""
        if yes:
            return
        if not (sys.stdin.isatty() and self._talk.isatty()):
            text = f"{question} needs a yes, and there is no terminal to ask on"
            raise Refused(text, "Look first: add --dry-run. Then add --yes")
        self._talk.write(f"{question}? Type yes: ")
        self._talk.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Refused("nothing was done: it was not confirmed", "Add --yes, or answer yes")

    def confirm_name(self, plan: Plan, name: str, yes: bool) -> None:
        """Show a plan and ask for a name to be typed; nothing is asked for the name "". Raises Refused without it."""
        if not name or yes:
            return
        if not (sys.stdin.isatty() and self._talk.isatty()):
            text = f"{plan.title} needs a yes ({plan.count}), and there is no terminal to ask on"
            raise Refused(text, "Look first: add --dry-run. Then add --yes")
        for line in _group_lines(plan):
            self._styled(self._talk, line, _SIGNS.get(line.lstrip()[:1], ""))
        self._talk.write(f"{plan.title}? Type {name} to go on: ")
        self._talk.flush()
        if sys.stdin.readline().strip() != name:
            raise Refused("nothing was done: the name was not typed", f"Type {name} when asked, or add --yes")

    def confirm_plan(self, plan: Plan, yes: bool) -> None:
        """Show what is about to be done, and ask. Nothing is asked where nothing is to be done."""
        if plan.empty:
            self.note(f"{plan.title}: nothing to change")
            return
        self.note(plan.title)
        for line in plan.lines():
            self.note(f"  {line}")
        self.confirm(plan.title, yes)

    def _ended(self, title: str, outcome: str, seconds: float, mark: tuple[str, str] = ("✓", "green")) -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None
        if self._consoles[self._talk] is None:
            self._write(self._talk, f"{title}: {outcome} ({seconds:.1f} s)\n")
            return
        from rich.table import Table
        from rich.text import Text

        row = Table.grid(padding=(0, 1))
        for width in (1, 7, 6):
            row.add_column(width=width)
        row.add_column(overflow="fold")
        took = Text(f"{seconds:.1f} s", "dim", justify="right")
        row.add_row(Text(*mark), Text(title, style="bold"), took, Text(outcome))
        self._put(self._talk, row)

    def _styled(self, stream: TextIO, text: str, style: str) -> None:
        if self._consoles[stream] is None:
            self._write(stream, text + "\n")
            return
        from rich.text import Text

        self._put(stream, Text(text, style=style))

    @contextlib.contextmanager
    def changing(self) -> Iterator[Callable[[], AbstractContextManager[None]]]:
        """What is shown within one picture() replaces what the one before showed; in a pipe it follows it."""
        console = self._consoles[self._stream]
        if console is None or self._json:
            yield contextlib.nullcontext
            return
        from rich.console import Group
        from rich.live import Live

        with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:

            @contextlib.contextmanager
            def picture() -> Iterator[None]:
                self._collected = []
                yield
                live.update(Group(*self._collected), refresh=True)
                self._collected = None

            yield picture

    def _put(self, stream: TextIO, thing: Any) -> None:
        if self._collected is not None and stream is self._stream:
            self._collected.append(thing)
        else:
            self._consoles[stream].print(thing)

    def _write(self, stream: TextIO, text: str) -> None:
        """Write and flush; when the reader went away (`| head`) the work goes on unseen, and `gone` says so."""
        try:
            stream.write(text)
            stream.flush()
        except BrokenPipeError:
            self.gone = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # or Python tries again while it shuts down
            raise OpsError(f"the output cannot be written: {error.strerror}", "Make room where it goes.") from error


def show_plan(screen: Screen, plan: Plan) -> int:
    """Print what a command would do; the exit code of --dry-run: 2 when it would change something, else 0."""
    _told(screen, plan)
    screen.result({**plan.as_json(), "would_change": not plan.empty})
    return 0 if plan.empty else 2


def carry_out(screen: Screen, work: Work, dry_run: bool, yes: bool) -> int:
    """Show a command's plan, or have it confirmed and carried out; the exit code."""
    if dry_run:
        return show_plan(screen, work.plan)
    if work.asks_for and not work.plan.empty:
        screen.confirm_name(work.plan, work.asks_for, yes)
    else:
        screen.confirm_plan(work.plan, yes)
    done = work.carry_out(screen)
    screen.rows(done.title, done.rows())
    screen.result(done.as_json())
    return work.exit_code


def show_groups(screen: Screen, plan: Plan) -> int:
    """Like show_plan, for a plan with many changes: in groups, whose names the document has too."""
    from scripts.service.groups import group_of

    screen.lines(_group_lines(plan))
    listed = [{**change.as_json(), "group": group_of(change)} for change in plan.changes]
    screen.result({"title": plan.title, "changes": listed, "would_change": not plan.empty})
    return 0 if plan.empty else 2


def _group_lines(plan: Plan) -> list[str]:
    from scripts.service.groups import grouped

    if plan.empty:
        return [f"{plan.title}: nothing to change"]
    lines = [plan.title]
    for name, changes in grouped(plan.changes):
        lines += [name, *(f"  {change.line()}" for change in changes)]
    return lines


def show_done(screen: Screen, plan: Plan) -> int:
    """Print what a command did, in the words of its plan; the exit code is 0."""
    _told(screen, plan)
    screen.result({**plan.as_json(), "changed": not plan.empty})
    return 0


def _told(screen: Screen, plan: Plan) -> None:
    screen.lines([f"{plan.title}: nothing to change"] if plan.empty else plan.lines())


def show_error(message: str, remedy: str) -> None:
    """An error on standard error: what happened in red, then what to do about it."""
    told = [f"{'  ' if number else '✗ '}{line}" for number, line in enumerate(message.splitlines())]
    advice = [f"  {'  ' if number else '→ '}{line}" for number, line in enumerate(remedy.splitlines())]
    console = _console(sys.stderr)
    if console is None:
        with contextlib.suppress(BrokenPipeError):
            sys.stderr.write("\n".join([*told, *advice]) + "\n")
            sys.stderr.flush()
        return
    from rich.text import Text

    for number, line in enumerate(told):
        console.print(Text(line, style="red" if number else "bold red"), soft_wrap=True)
    for line in advice:
        console.print(Text(line), soft_wrap=True)


_SIGNS = {"+": "green", "~": "yellow", "-": "red", "»": "cyan"}
_CELLS = {
    "present": "green", "missing": "yellow", "MISSING": "bold red", "healthy": "green", "degraded": "yellow",
    "down": "bold red", "active": "green", "problem": "yellow", "hit": "green", "miss": "yellow",
}  # fmt: skip


def _console(stream: TextIO) -> Any:
    if not stream.isatty():
        return None
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    return None if console.is_dumb_terminal else console


def _escaped(text: str) -> Any:
    from rich.text import Text

    return Text(text)

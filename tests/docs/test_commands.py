"""docs/commands.md is what the tasks say, and every command that an error, the README or a page tells can be typed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from invoke.collection import Collection
from invoke.exceptions import Exit, ParseError
from invoke.parser import Parser

import tasks
from docs import commands
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = sorted((ROOT / "scripts").rglob("*.py"))
COMMAND = re.compile(r"(?:\./dev |`)invoke ([^\n`\")(|#;&,…]+)")
CORE = {"--list", "--version", "--help"}


def told(path: Path) -> Iterator[str]:
    """The words after `./dev invoke` in a file; in code those of its texts, with 7 where a value is filled in."""
    if path.suffix == ".md":
        yield from COMMAND.findall(path.read_text(encoding="utf-8"))
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "7" for part in node.values]
            yield from COMMAND.findall("".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield from COMMAND.findall(node.value)


def refusal(words: str, namespace: Collection) -> str:
    """Why a command cannot be typed, or empty; words of the sentence around it end it."""
    typed = re.sub("[][']", "", words).split()
    typed = [word.rstrip(".:") for word in typed if word != "--7"]
    if not typed or typed[0] in CORE:
        typed = [word for word in typed[1:] if not word.startswith("7")]
    if not typed or typed[0] in ("TASK", "7"):
        return ""
    try:
        Parser(contexts=namespace.to_contexts()).parse_argv(typed)
    except (ParseError, Exit) as error:
        return f"./dev invoke {words}: {error}"
    return ""


def test_the_page_is_what_the_tasks_say() -> None:
    assert commands.PAGE.read_text(encoding="utf-8") == commands.page(), "Run: ./dev python -m docs.commands"


def test_every_document_is_described() -> None:
    contexts = {str(context.name): context for context in tasks.namespace.to_contexts()}
    assert set(commands.DOCUMENTS) == {name for name, context in contexts.items() if "json" in context.args}


def test_every_task_fits_a_line_of_the_list() -> None:
    names = [str(context.name) for context in tasks.namespace.to_contexts()]
    width = 80 - len("  ") - max(map(len, names)) - len("   ")
    for name in names:
        first = (tasks.namespace[name].__doc__ or "").splitlines()[0]
        assert len(first) <= width, f"{name}: {len(first)} letters, {width} fit"


@pytest.mark.parametrize("path", [*PAGES, *MODULES], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_is_told_can_be_typed(path: Path) -> None:
    assert [text for words in told(path) if (text := refusal(words, tasks.namespace))] == []


def test_the_readme_names_every_task() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for context in tasks.namespace.to_contexts():
        last = str(context.name).rpartition(".")[2]
        assert f"`{context.name}" in text or f"`.{last}" in text, context.name


def test_the_check_finds_commands_and_mistakes() -> None:
    assert sum(len(list(told(path))) for path in PAGES) > 20
    assert sum(len(list(told(path))) for path in MODULES) > 30
    assert refusal("deploy --env staging", tasks.namespace) == ""
    assert "no task" in refusal("cache.role --env staging", tasks.namespace)
    assert "no option" in refusal("deploy --evn staging", tasks.namespace)
    assert "needs a value" in refusal("deploy --env", tasks.namespace)

"""YAML text → plain data with the line of every key, and every doubt about the text as a problem with its line.

Python, Jinja and Terraform read the same files with different YAML versions: whatever they would read differently
(`yes`, `0123`, `1:30`, `1e3`, dates, merge keys, tags) is refused here, and so are anchors and aliases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Place = tuple[str | int, ...]
MAX_BYTES = 1 << 20

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,17})\.[0-9]{1,17}")
# What YAML 1.2 takes for a number though YAML 1.1 reads text.
_OTHER_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+|[-+]?\.(inf|nan)", re.I)
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a file: its line (from 1), where in the data, what was found and what was expected."""

    line: int
    path: Place
    found: str
    expected: str

    def text(self, file: str) -> str:
        """The problem on one line: `file:LINE: key.path: found …, expected …`."""
        where = f"{dotted(self.path)}: " if self.path else ""
        return f"{file}:{self.line}: {where}found {self.found}, expected {self.expected}"


@dataclass
class Document:
    """A file's data (dicts, tuples, scalars), the line of each path, and the problems of its text."""

    data: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Place) -> int:
        """The line of a path, or of its nearest parent that is written in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


@dataclass(frozen=True)
class Unclear:
    """A scalar whose meaning depends on the reader; fits no type, so that it is always refused with its own text."""

    text: str

    @property
    def shown(self) -> str:
        """The text as an error tells it."""
        return f"{shortened(self.text)}, on which YAML readers disagree"


def shortened(text: str, limit: int = 80) -> str:
    """A text as an error shows it: its beginning, when it is long."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def dotted(path: Place) -> str:
    """A path as people write it: services.tabular.cpu, models[0].name."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def read(content: bytes) -> Document:
    """Read a file's content; never raises for what is in it."""
    document = Document()
    text = _decoded(content, document)
    if text is None:
        return document
    document.problems.extend(_tabs(text))
    if document.problems:
        return document
    loader = _Loader(text, document)
    try:
        node = loader.get_single_node()
        if node is not None:
            document.data = _Builder(document).value(node, ())
    except yaml.MarkedYAMLError as error:
        document.problems.append(_syntax(error, text))
    except RecursionError:
        document.problems.append(Problem(1, (), "values nested too deeply", "at most a few levels"))
    finally:
        loader.dispose()
    return document


def _decoded(content: bytes, document: Document) -> str | None:
    if len(content) > MAX_BYTES:
        document.problems.append(Problem(1, (), f"{len(content)} bytes", f"at most {MAX_BYTES} bytes"))
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        document.problems.append(Problem(line, (), f"byte 0x{content[error.start]:02x}", "text in UTF-8"))
        return None
    strange = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if strange is not None:
        line = text.count("\n", 0, strange.start()) + 1
        document.problems.append(Problem(line, (), f"the character {strange.group()!a}", "printable text"))
        return None
    return text


def _tabs(text: str) -> Iterator[Problem]:
    for number, line in enumerate(text.split("\n"), 1):
        indentation = line[: len(line) - len(line.lstrip(" \t"))]
        if "\t" in indentation and line.strip():
            yield Problem(number, (), "a tab in the indentation", "spaces")


def _syntax(error: yaml.MarkedYAMLError, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else 1
    if mark is not None and text[mark.index : mark.index + 1] == "\t":
        return Problem(line, (), "a tab", "spaces")
    words = ", ".join(part for part in (error.context, error.problem) if part)
    return Problem(line, (), f"text that is not YAML ({words})", "valid YAML")


class _Loader(yaml.SafeLoader):
    """Composes nodes and notes anchors and aliases, which could make a small file a huge value."""

    def __init__(self, text: str, document: Document) -> None:
        super().__init__(text)
        self._document = document

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        name = getattr(event, "anchor", None)
        if name is not None:
            what = f"the alias *{name}" if isinstance(event, yaml.AliasEvent) else f"the anchor &{name}"
            self._document.problems.append(Problem(event.start_mark.line + 1, (), what, "the value itself"))
        if isinstance(event, yaml.AliasEvent):
            self.get_event()  # type: ignore[no-untyped-call]
            return yaml.ScalarNode(_TAG + "null", "", event.start_mark, event.end_mark)  # type: ignore[arg-type]
        return super().compose_node(parent, index)


class _Builder:
    """Turns nodes into data, noting lines and problems on the way."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def value(self, node: yaml.Node, path: Place) -> Any:
        self._document.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            self._known_tag(node, path, "map")
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            self._known_tag(node, path, "seq")
            return tuple(self.value(item, (*path, place)) for place, item in enumerate(node.value))
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Place) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TAG + "str":
                found = repr(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "a list or mapping"
                self._note(line, path, f"{found} as a key", "text, in quotes where it reads as something else")
                continue
            key = key_node.value
            if key in made:
                first = self._document.lines[(*path, key)]
                self._note(line, (*path, key), f"the key a second time (first on line {first})", "each key once")
                continue
            self._document.lines[(*path, key)] = line
            made[key] = self.value(value_node, (*path, key))
        return made

    def _scalar(self, node: yaml.Node, path: Place) -> Any:
        text = str(node.value)
        plain = getattr(node, "style", None) is None
        if not plain and node.tag == _TAG + "str":
            return text
        if plain and node.tag == _TAG + "null" and text in ("", "null", "~"):
            return None
        if plain and node.tag == _TAG + "bool" and text in ("true", "false"):
            return text == "true"
        if plain and node.tag == _TAG + "int" and _WHOLE.fullmatch(text):
            return int(text)
        if plain and node.tag == _TAG + "float" and _DECIMAL.fullmatch(text):
            return float(text)
        if plain and node.tag == _TAG + "str" and not _OTHER_NUMBER.fullmatch(text):
            return text
        self._known_tag(node, path, "str", "int", "float", "bool", "null", "timestamp", "merge", "value")
        return Unclear(text)

    def _known_tag(self, node: yaml.Node, path: Place, *names: str) -> None:
        if node.tag not in {_TAG + name for name in names}:
            shown = node.tag.replace(_TAG, "!!")
            self._note(node.start_mark.line + 1, path, f"the tag {shown}", "a plain value")

    def _note(self, line: int, path: Place, found: str, expected: str) -> None:
        self._document.problems.append(Problem(line, path, found, expected))

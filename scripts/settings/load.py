"""environments/<name>.yaml → Settings, or one BadInput that lists everything wrong with the file, line by line."""

from __future__ import annotations

import difflib
import os
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace, UnionType
from typing import Any

from pydantic import ValidationError

from scripts.errors import BadInput, NotFound
from scripts.settings import document, project
from scripts.settings.checks import findings
from scripts.settings.document import Document, Place, Problem, Unclear
from scripts.settings.model import EnvironmentFile, Section, Settings

FOLDER = project.ROOT / "environments"
# Where a rehearsal takes models and keys from: small ones that the stand-in's upstreams really have.
REHEARSAL_SOURCE = "local"
MAX_TOLD = 20


def environments(folder: Path = FOLDER) -> list[str]:
    """The names of all environments, sorted."""
    return sorted(file.stem for file in folder.glob("*.yaml"))


def default_environment() -> str | None:
    """MODELSHELF_ENV, or None when it is not set."""
    return os.environ.get("MODELSHELF_ENV") or None


def load(environment: str, folder: Path = FOLDER) -> Settings:
    """The settings of an environment; with MODELSHELF_ENDPOINT set, for a stand-in at that address.

    In a rehearsal (an environment that Terraform provisions, on a stand-in) models and signing are local.yaml's.
    Raises NotFound for an unknown name and BadInput with file, line, found and expected for all problems of a file.
    """
    described = read(environment, folder)
    values: dict[str, Any] = {name: getattr(described, name) for name in type(described).model_fields}
    endpoint = rehearsal_endpoint()
    rehearsal = endpoint is not None and described.provision != "self"
    if rehearsal:
        source = read(REHEARSAL_SOURCE, folder)
        values |= {"models": source.models, "signing": source.signing}
    return Settings.model_construct(**values, endpoint=endpoint, rehearsal=rehearsal)


def read(environment: str, folder: Path = FOLDER) -> EnvironmentFile:
    """An environment file as it is written. Raises as load does."""
    available = environments(folder)
    if environment not in available:
        close = difflib.get_close_matches(environment, available, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise NotFound(
            f"environment {environment!r} does not exist; available: {', '.join(available) or 'none'}{hint}",
            f"Run the command again with --env {close[0] if close else '|'.join(available) or 'NAME'}",
        )
    file = folder / f"{environment}.yaml"
    shown = f"{folder.name}/{file.name}"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BadInput(f"{shown}: cannot be read: {error.strerror}", f"Run: ls -l {shown}") from error
    parsed, problems = parse(content, environment)
    if problems or parsed is None:
        told = sorted(problems, key=lambda each: (each.line, each.path == ()))
        lines = list(dict.fromkeys(problem.text(shown) for problem in told))
        if len(lines) > MAX_TOLD:
            lines[MAX_TOLD:] = [f"{shown}: and {len(lines) - MAX_TOLD} more problems"]
        raise BadInput("\n".join(lines), f"Correct {shown}, then run: ./dev invoke render --env {environment}")
    return parsed


def parse(content: bytes, name: str) -> tuple[EnvironmentFile | None, list[Problem]]:
    """The content of `<name>.yaml` as values, or None and its problems."""
    written = document.read(content)
    if written.data is None and not written.problems:
        written.problems.append(Problem(1, (), "an empty file", "keys like environment, project, region"))
    elif not isinstance(written.data, dict) and not written.problems:
        written.problems.append(Problem(1, (), _shown(written.data), "a mapping with keys like environment, project"))
    if not isinstance(written.data, dict):
        return None, written.problems
    parsed, wrong = _validated(written)
    tree = _partial(EnvironmentFile, written.data, (), {problem.path for problem in wrong})
    wrong += [Problem(written.line(place), place, *words) for place, *words in findings(tree, name)]
    # A value that the text already refused (an alias, a tag) is not reported again for its type.
    doubted = {problem.path for problem in written.problems}
    doubted_lines = {problem.line for problem in written.problems if not problem.path}
    wrong = [each for each in wrong if each.path not in doubted and each.line not in doubted_lines]
    return parsed, written.problems + wrong


def rehearsal_endpoint() -> str | None:
    """MODELSHELF_ENDPOINT as project.endpoint takes it, None when it is not set."""
    return project.endpoint(os.environ.get("MODELSHELF_ENDPOINT"))


def _validated(written: Document) -> tuple[EnvironmentFile | None, list[Problem]]:
    try:
        return EnvironmentFile.model_validate(written.data), []
    except ValidationError as error:
        missing = [found["loc"] for found in error.errors() if found["type"] == "missing"]
    # With None in the place of what is missing, pydantic says what it expected there.
    filled = written.data
    for place in missing:
        filled = _with_none(filled, place)
    try:
        EnvironmentFile.model_validate(filled)
    except ValidationError as error:
        return None, [_problem(written, dict(found)) for found in error.errors()]
    raise AssertionError("a file with problems became valid without its missing values")  # pragma: no cover


def _with_none(data: Any, place: Place) -> Any:
    if not place:
        return None
    head, rest = place[0], place[1:]
    if isinstance(data, tuple) and isinstance(head, int):
        return (*data[:head], _with_none(data[head], rest), *data[head + 1 :])
    return data | {head: _with_none(data.get(head), rest)}


def _problem(written: Document, found: Mapping[str, Any]) -> Problem:
    place: Place = found["loc"]
    if place[-1:] == ("[key]",):
        place = place[:-1]
        return Problem(written.line(place), place, f"the key {place[-1]!r}", _expected(found, place))
    if found["type"] == "extra_forbidden":
        return Problem(written.line(place), place, "an unknown key", _known_keys(place))
    return Problem(written.line(place), place, _shown(found["input"]), _expected(found, place))


def _expected(found: Mapping[str, Any], place: Place) -> str:
    if found["type"] == "expected":
        return str(found["ctx"]["expected"])
    if found["type"] in ("tuple_type", "list_type"):
        return "a list (lines that begin with -)"
    if found["type"] in ("model_type", "model_attributes_type", "mapping_type", "dict_type"):
        section = _section(place)
        return "a mapping" + (f" with the keys {', '.join(section.model_fields)}" if section else "")
    return str(found["msg"])


def _known_keys(place: Place) -> str:
    section = _section(place[:-1])
    known = sorted(section.model_fields) if section else []
    close = difflib.get_close_matches(str(place[-1]), known, 1, 0.6)
    return f"one of {', '.join(known)}" + (f"; did you mean {close[0]}?" if close else "")


def _section(place: Place) -> type[Section] | None:
    """The kind of section that stands at a place."""
    kind: Any = EnvironmentFile
    for part in place:
        if isinstance(kind, type) and issubclass(kind, Section):
            field = kind.model_fields.get(str(part))
            kind = _bare(field.annotation) if field is not None else None
        else:
            kind = _inner(kind)
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _bare(annotation: Any) -> Any:
    """An annotation without its `| None`."""
    if isinstance(annotation, UnionType) or typing.get_origin(annotation) is typing.Union:
        return next(kind for kind in typing.get_args(annotation) if kind is not type(None))
    return annotation


def _inner(annotation: Any) -> Any:
    """What a mapping or a tuple holds."""
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is tuple:
        return arguments[0]
    return arguments[1] if isinstance(origin, type) and issubclass(origin, Mapping) else None


def _partial(kind: Any, value: Any, place: Place, wrong: set[Place]) -> Any:
    """A value with None wherever it is wrong, and the defaults where it says nothing; sections become namespaces."""
    if place in wrong:
        return None
    kind = _bare(kind)
    if isinstance(kind, type) and issubclass(kind, Section) and isinstance(value, dict):
        return SimpleNamespace(**dict(_partial_fields(kind, value, place, wrong)))
    inner = _inner(kind)
    if isinstance(value, tuple):
        return tuple(_partial(inner, item, (*place, number), wrong) for number, item in enumerate(value))
    if isinstance(value, dict):
        return {key: _partial(inner, item, (*place, key), wrong) for key, item in value.items()}
    return value


def _partial_fields(
    kind: type[Section], value: Mapping[str, Any], place: Place, wrong: set[Place]
) -> Iterator[tuple[str, Any]]:
    for name, field in kind.model_fields.items():
        if name in value:
            yield name, _partial(field.annotation, value[name], (*place, name), wrong)
        else:
            yield name, None if field.is_required() else field.get_default()


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Unclear):
        return value.shown
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return repr(document.shortened(value))
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, Iterable):
        return "a list"
    return str(value)

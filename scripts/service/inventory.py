"""What the bucket holds, for people: versions with their statements, and the active one in full. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from scripts.errors import SYNC, BadInput, NotFound
from scripts.models import copies, holds, layout, statements
from scripts.models import manifest as manifests
from scripts.models.gate import Look
from scripts.models.manifest import Manifest
from scripts.models.statements import Problem, Trusted
from scripts.service import observe, ownership
from scripts.service.target import Target
from scripts.units import age, size

# Every statement costs a request; older ones are summed up in one line.
READ_STATEMENTS = 50


@dataclass(frozen=True)
class Version:
    """A version folder. serials: of the believed statements that name it. problem: why it could not serve, or ""."""

    name: str
    active: bool
    held: bool
    serials: tuple[int, ...]
    created_at: str
    size_bytes: int
    models: tuple[str, ...]
    problem: str
    pinned: bool = False

    def cells(self) -> list[str]:
        """The row of `cache.list`."""
        marks = [word for word in ("active", "held", "pinned") if getattr(self, word)]
        state = self.problem or ", ".join(marks) or "complete"
        serials = str(self.serials[0]) if self.serials else "none"
        if len(self.serials) > 1:
            serials += f" (+{len(self.serials) - 1})"
        when = f"{age(self.created_at)} ago" if self.created_at else ""
        return [self.name, state, serials, when, size(self.size_bytes), ", ".join(self.models)]


MODEL_HEADERS = ("model", "kind", "source", "revision", "files", "size")
FILE_HEADERS = ("model", "object", "size", "sha256")
HEADERS = ("version", "state", "serial", "made", "size", "models")


@dataclass(frozen=True)
class Inventory:
    """All versions, newest first, and what in the bucket was not believed."""

    bucket: str
    versions: tuple[Version, ...]
    problems: tuple[Problem, ...]

    def as_json(self) -> dict[str, Any]:
        """The document of `cache.list --json`."""
        listed = [{**vars(version), "serials": list(version.serials)} for version in self.versions]
        return {"bucket": self.bucket, "versions": listed, "problems": [vars(problem) for problem in self.problems]}


def survey(target: Target) -> Inventory:
    """Every version that the bucket knows. Raises NotFound when the bucket does not exist."""
    look = checked(target)
    named, problems = _statements(target)
    listed = {info.name.removeprefix(layout.MANIFESTS) for info in target.bucket.list(layout.MANIFESTS)}
    names = sorted({name.rpartition(".")[0] for name in listed}, reverse=True)
    held = look.hold.version if look.hold else ""
    active = look.reading.trusted.version if look.reading.trusted else ""
    damaged = [problem.object for problem in look.problems]
    pins = _pins(target)
    versions = [
        _version(target, name, name == active, name == held, named.get(name, ()), f"{name}.done" in listed)
        for name in names
        if layout.is_version(name)
    ]
    versions = [
        replace(
            item,
            pinned=item.name in pins,
            problem=item.problem or ("damaged" if any(item.name in name for name in damaged) else ""),
        )
        for item in versions
    ]
    told = dict.fromkeys((*look.problems, *problems))
    advised = tuple(replace(problem, remedy=target.advice(problem.remedy)) for problem in told)
    return Inventory(target.bucket.name, tuple(versions), advised)


def _pins(target: Target) -> tuple[str, ...]:
    """The pinned versions; that holds.json cannot be read is told with the problems of the active version."""
    try:
        return holds.read(target.bucket).pins
    except BadInput:
        return ()


def checked(target: Target) -> Look:
    """What is active. Raises NotFound when the bucket does not exist."""
    if not target.bucket.exists():
        text = f"bucket {target.bucket.name} does not exist on {target.cloud.name}"
        raise NotFound(text, f"Run: ./dev invoke deploy --env {target.environment}")
    return observe.models(target)


@dataclass(frozen=True)
class Shown:
    """The active version with what is wrong with its readable copies."""

    bucket: str
    trusted: Trusted
    look: Look
    problems: tuple[Problem, ...]

    def rows(self) -> list[tuple[str, str]]:
        """Names and values of `cache.show`."""
        statement, content = self.trusted.statement, self.trusted.manifest
        hold = self.look.hold
        return [
            ("bucket", self.bucket),
            ("active version", f"{content.version}, serial {statement.serial}"),
            ("signed", f"by {self.trusted.envelope['signatures'][0]['keyid'][:12]}, {age(statement.created_at)} ago"),
            ("because", statement.reason or "no reason given"),
            ("manifest", f"sha256 {self.trusted.manifest_sha256}"),
            ("size", f"{size(content.total_size_bytes)} in {len(content.objects())} files"),
            *([("hold", f"{hold.version} since {hold.since} by {hold.by}: {hold.reason}")] if hold else []),
            *(("problem", problem.line()) for problem in self.problems),
            *(("to do", remedy) for remedy in dict.fromkeys(problem.remedy for problem in self.problems)),
        ]

    def models(self) -> list[list[str]]:
        """The rows of the table of models."""
        return [
            [model.name, model.kind, model.source, model.revision[:19], str(len(model.files)),
             size(sum(file.size_bytes for file in model.files))]
            for model in self.trusted.manifest.models
        ]  # fmt: skip

    def files(self) -> list[list[str]]:
        """The rows of the table of files."""
        return [
            [model.name, f"{model.prefix}/{file.path}", size(file.size_bytes), file.sha256[:12]]
            for model in self.trusted.manifest.models
            for file in model.files
        ]

    def as_json(self) -> dict[str, Any]:
        """The document of `cache.show --json`: the manifest's own fields, as in manifest.json, and what was found."""
        return {
            **manifests.as_json(self.trusted.manifest),
            "serial": self.trusted.serial,
            "manifest_sha256": self.trusted.manifest_sha256,
            "statement": vars(self.trusted.statement),
            "bucket": self.bucket,
            "hit": self.look.decision.hit,
            "reason": self.look.decision.reason,
            "hold": vars(self.look.hold) if self.look.hold else None,
            "problems": [vars(problem) for problem in self.problems],
        }


def show(target: Target) -> Shown:
    """The active version. Raises NotFound when there is none, naming what was not believed."""
    look = checked(target)
    trusted = look.reading.trusted
    if trusted is None:
        found = "".join(f"\n  {problem.line()}" for problem in look.problems)
        text = f"bucket {target.bucket.name} has no version that may serve{found}"
        raise NotFound(text, f"Run: ./dev invoke sync --env {target.environment}")
    problems = [*look.problems, *copies.check(target.bucket, trusted, ownership.trusted_keys(target))]
    floor = observe.floor(target, target.run.get_service(target.name))
    if trusted.serial < floor:
        what = f"serial {trusted.serial} is below the {floor} that {target.name} accepts: its new instances miss"
        problems.append(Problem(layout.statement_name(trusted.serial), what, SYNC, "serial"))
    advised = tuple(replace(problem, remedy=target.advice(problem.remedy)) for problem in problems)
    return Shown(target.bucket.name, trusted, look, advised)


def _statements(target: Target) -> tuple[dict[str, tuple[int, ...]], tuple[Problem, ...]]:
    """Serials by version, of the newest statements that verify, and those that do not."""
    keys = ownership.trusted_keys(target)
    found: dict[str, tuple[int, ...]] = {}
    problems: list[Problem] = []
    serials, _ = statements.serials(target.bucket)
    for serial in serials[:READ_STATEMENTS]:
        opened = statements.open_statement(target.bucket, serial, keys)
        if isinstance(opened, Problem):
            problems.append(opened)
        else:
            version = opened[0].version
            found[version] = (*found.get(version, ()), serial)
    return found, tuple(problems)


def _version(target: Target, name: str, active: bool, held: bool, serials: tuple[int, ...], done: bool) -> Version:
    problem = "" if done else "incomplete (no .done)"
    content: Manifest | None = None
    try:
        read = target.bucket.read(layout.manifest_name(name), limit_bytes=manifests.MAX_BYTES)
        content = manifests.parse(read[0]) if read is not None else None
    except BadInput as error:
        problem = error.message
    if content is None:
        return Version(name, active, held, serials, "", 0, (), problem or "its manifest is missing")
    if not serials:
        problem = problem or "no believed statement names it"
    models = tuple(model.name for model in content.models)
    return Version(name, active, held, serials, content.created_at, content.total_size_bytes, models, problem)

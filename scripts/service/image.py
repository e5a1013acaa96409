"""`image.build`: build a service's image with the tool that is there, push it, and keep its digest.

docker and podman build here; Cloud Build (gcloud) builds on Google Cloud, from what is sent there, and always pushes. A
tag can move, so what is kept is REPOSITORY@sha256:…: in the state folder (images.json, for a deploy from this checkout)
and in the environment's audit.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from scripts import audit, process
from scripts.errors import BadInput, NotFound, OpsError, Refused
from scripts.plan import Action, Change, Plan
from scripts.service.steps import Steps, Talk
from scripts.service.upkeep import Done, Work
from scripts.settings import project
from scripts.settings.model import Settings

TOOLS = ("docker", "podman", "gcloud")
TIMEOUT_S = 3600.0
RECORD = "images.json"
_FOLDER = "docker"


@dataclass(frozen=True)
class Build:
    """What is built: reference is REPOSITORY:TAG, dockerfile a path below the checkout, tool one of TOOLS."""

    tool: str
    reference: str
    dockerfile: str
    commit: str
    project: str

    @property
    def repository(self) -> str:
        return self.reference.rpartition(":")[0]

    def build_argv(self) -> list[str]:
        """The command that builds (Cloud Build's also pushes)."""
        if self.tool == "gcloud":
            given = {"_IMAGE": self.reference, "_DOCKERFILE": self.dockerfile, "_COMMIT": self.commit or "unknown"}
            values = ",".join(f"{name}={value}" for name, value in given.items())
            config = f"--config={_FOLDER}/cloudbuild.yaml"
            return ["gcloud", "builds", "submit", f"--project={self.project}", config, f"--substitutions={values}", "."]
        label = f"org.opencontainers.image.revision={self.commit or 'unknown'}"
        return [self.tool, "build", "--file", self.dockerfile, "--tag", self.reference, "--label", label, "."]

    def push_argv(self, digest_file: Path) -> list[str]:
        """The command that pushes; podman writes the digest to a file. Empty for Cloud Build."""
        extra = ["--digestfile", str(digest_file)] if self.tool == "podman" else []
        return [] if self.tool == "gcloud" else [self.tool, "push", *extra, self.reference]

    def digest_argv(self) -> list[str]:
        """The command that tells the pushed image's digest; empty where the push has told it (podman)."""
        if self.tool == "podman":
            return []
        if self.tool == "gcloud":
            what = ["artifacts", "docker", "images", "describe", self.reference, f"--project={self.project}"]
            return ["gcloud", *what, "--format=value(image_summary.digest)"]
        return [self.tool, "inspect", "--format", "{{json .RepoDigests}}", self.reference]


def choose(wanted: str, which: Callable[[str], str | None] = shutil.which) -> str:
    """The tool that was asked for, or the first that is there. Raises BadInput, Refused when none is."""
    if wanted and wanted not in TOOLS:
        raise BadInput(f"--tool: found {wanted!r}, expected one of {', '.join(TOOLS)}", "For example: --tool podman")
    found = next((tool for tool in ([wanted] if wanted else TOOLS) if which(tool) is not None), "")
    if found:
        return found
    text = f"nothing here builds images: looked for {wanted or ', '.join(TOOLS)} on PATH"
    remedy = "Install Docker or Podman, or the Google Cloud CLI (Cloud Build then builds). Look: ./dev invoke doctor"
    raise Refused(text, remedy)


def check_tag(tag: str) -> str:
    """The tag itself, or empty. Raises BadInput for what no registry takes: it becomes a part of commands."""
    if tag and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", tag):
        expected = "at most 128 letters, digits and _ . -, none of the last two first"
        raise BadInput(f"--tag: found {tag!r}, expected {expected}", "For example: --tag v1.2")
    return tag


class Image(Work):
    """`invoke image.build`."""

    def __init__(self, settings: Settings, service: str, *, tag: str, tool: str, push: bool) -> None:
        super().__init__(settings, service)
        self._described = settings.service(service)
        self._tag, self._tool, self._push = check_tag(tag), tool, push

    @cached_property
    def build(self) -> Build:
        """What is to be built, and with what. Raises BadInput, NotFound, Refused."""
        dockerfile = f"{_FOLDER}/Dockerfile.{self._service}"
        if not (project.ROOT / dockerfile).is_file():
            known = ", ".join(sorted(path.suffix[1:] for path in (project.ROOT / _FOLDER).glob("Dockerfile.*")))
            text = f"there is no {dockerfile} to build {self._service} from; there is one for: {known or 'none'}"
            raise NotFound(text, "Run the command again with --service NAME")
        commit = audit.commit()
        repository = _repository(self._described.image)
        if self._push and "." not in repository.partition("/")[0]:
            text = f"--push: {repository} names no registry"
            raise BadInput(text, f"Write HOST/PATH:TAG into services.{self._service}.image, or leave --push out.")
        tool = choose(self._tool)
        if tool == "gcloud" and not self._push:
            raise Refused("Cloud Build always pushes what it builds", "Add --push, or install Docker or Podman.")
        tag = self._tag or commit[:12] or "latest"
        return Build(tool, f"{repository}:{tag}", dockerfile, commit, self._settings.project)

    @property
    def plan(self) -> Plan:
        found = [Change(Action.RUN, shlex.join(self.build.build_argv()))]
        if self._push and self.build.tool != "gcloud":
            found.append(Change(Action.RUN, f"{self.build.tool} push {self.build.reference}"))
        return Plan(f"build {self.build.reference} with {self.build.tool}", tuple(found))

    def carry_out(self, talk: Talk) -> Done:
        """Build, push, and keep the digest. Raises OpsError with the tool's last lines."""
        steps, build, began = Steps(talk), self.build, datetime.now(UTC)
        with steps.step("build") as step:
            _run(build.build_argv(), talk)
            step.outcome = f"{build.reference} with {build.tool}"
        digest = ""
        if self._push:
            with steps.step("push") as step:
                digest = step.outcome = _pushed(build, talk)
            self._record(build, digest, began, talk)
        image = f"{build.repository}@{digest}" if digest else ""
        fields = (
            ("built", build.reference),
            ("digest", digest or "not pushed, so it has none yet: add --push"),
            *([("deploy it with", f"--image {image}")] if image else []),
        )
        result = {
            "reference": build.reference, "digest": digest, "image": image, "tool": build.tool, "commit": build.commit,
            "steps": steps.as_json(),
        }  # fmt: skip
        return Done(f"built {build.reference}", fields, result)

    def _record(self, build: Build, digest: str, began: datetime, talk: Talk) -> None:
        details = {"image": f"{build.repository}@{digest}", "reference": build.reference, "tool": build.tool}
        try:
            keep(self._settings.environment, self._service, {**details, "commit": build.commit})
        except OSError as error:
            place = project.state_dir() / RECORD
            talk.note(f"the image is pushed, but its digest is not kept in {place}: {error.strerror}", warning=True)
        try:
            audit.record(
                self.target.bucket, command="image.build", environment=self._settings.environment, plan=self.plan,
                outcome="changed", started_at=began, details=details,
            )  # fmt: skip
        except OpsError as error:
            talk.note(f"the image is pushed, but no audit record could be written: {error.message}", warning=True)


def keep(environment: str, service: str, details: dict[str, Any]) -> None:
    """Note the newest image of a service of an environment in the state folder."""
    path = project.state_dir() / RECORD
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = kept()
    noted = {**details, "built_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    known[environment] = {**known.get(environment, {}), service: noted}
    fresh = path.with_name(f".{RECORD}.{datetime.now(UTC).timestamp()}")
    fresh.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)


def kept() -> dict[str, Any]:
    """The images that this checkout built and pushed: {environment: {service: {image, reference, …}}}."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((project.state_dir() / RECORD).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _repository(image: str) -> str:
    head, slash, last = image.partition("@")[0].rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _pushed(build: Build, talk: Talk) -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "digest"
        if argv := build.push_argv(file):
            _run(argv, talk)
        text = _run(build.digest_argv(), talk) if build.digest_argv() else file.read_text(encoding="utf-8")
    digest = _digest(text, build.repository)
    if not digest:
        told = f"{build.tool} pushed {build.reference}, but told no digest: {text.strip()[:200] or 'nothing'}"
        raise OpsError(told, "Look into the registry, then type the same command again.")
    return digest


def _digest(text: str, repository: str) -> str:
    """sha256:… from what a tool told: a bare digest, or a JSON list of REPOSITORY@digest."""
    bare = text.strip()
    if bare.startswith("["):
        with contextlib.suppress(ValueError):
            listed = [str(item) for item in json.loads(bare)]
            bare = next((item.rpartition("@")[2] for item in listed if item.rpartition("@")[0] == repository), "")
    return bare if bare.startswith("sha256:") and len(bare) == len("sha256:") + 64 else ""


def _run(argv: Sequence[str], talk: Talk) -> str:
    try:
        return process.run(argv, cwd=project.ROOT, timeout_s=TIMEOUT_S, on_line=talk.progress).stdout
    except Refused:
        raise
    except OpsError as error:
        raise OpsError(error.message, f"To see all of it, run it by hand: {shlex.join(argv)}") from error

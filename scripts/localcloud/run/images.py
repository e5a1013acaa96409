"""Which program an image reference stands for. The table is documented in docs/local-cloud.md.

| last path component | program                                | default arguments |
|---------------------|----------------------------------------|-------------------|
| tabular             | python -m scripts.container            | start             |
| hello               | python -m scripts.localcloud.run.hello | port and names    |

`command` and `args` of the container override entry point and arguments exactly as on Cloud Run: a command without
args drops the image's own arguments.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_REFERENCE = re.compile(
    r"(?P<repository>[a-z0-9][a-z0-9._-]*(:\d+(?=/))?(/[a-z0-9][a-z0-9._-]*)*)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_HOSTS = re.compile(r"([a-z]+\.)?gcr\.io|([a-z0-9-]+-)?docker\.pkg\.dev|(index\.|registry-1\.)?docker\.io", re.ASCII)
_VARIABLE = re.compile(r"\$\((\w+)\)")


@dataclass(frozen=True)
class Image:
    """Entry point and default arguments, as a Dockerfile's ENTRYPOINT and CMD; $(NAME) stands for a variable."""

    entry_point: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()  # what its digest is made of: files and folders below the checkout


_TABULAR = tuple(f"scripts/{each}" for each in ("container", "models", "cloud", "settings", "errors.py", "process.py"))
IMAGES: dict[str, Image] = {
    "tabular": Image((sys.executable, "-m", "scripts.container"), ("start",), _TABULAR),
    "hello": Image(
        (sys.executable, "-m", "scripts.localcloud.run.hello", "$(PORT)", "$(K_SERVICE)", "$(K_REVISION)"),
        sources=("scripts/localcloud/run/hello.py",),
    ),
}


@dataclass(frozen=True)
class Reference:
    """A parsed image reference: the host is docker.io where none is written, the tag `latest` where nothing is."""

    host: str
    path: str
    tag: str
    digest: str

    @property
    def repository(self) -> str:
        """Host and path: what tags and digests belong to."""
        return f"{self.host}/{self.path}"


def parse(reference: str) -> Reference | None:
    """The parts of an image reference; None when it is none, or of a registry that Cloud Run does not pull from."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        return None
    host, slash, path = match["repository"].partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, path = "docker.io", match["repository"]
    if not is_registry(host) or (not host.endswith("docker.io") and "/" not in path):
        return None
    if host.endswith("docker.io"):
        host, path = "docker.io", path if "/" in path else f"library/{path}"
    digest = match["digest"] or ""
    return Reference(host, path, match["tag"] or ("" if digest else "latest"), digest)


def is_registry(host: str) -> bool:
    """Whether Cloud Run pulls images from a host."""
    return _HOSTS.fullmatch(host) is not None


def image_name(reference: str) -> str:
    """The last path component without tag and digest: `europe-docker.pkg.dev/p/r/tabular:v1` → `tabular`."""
    return reference.split("@", 1)[0].rsplit("/", 1)[-1].split(":", 1)[0]


def is_reference(reference: str) -> bool:
    """Whether a text is a reference to an image in a registry that Cloud Run pulls from."""
    return parse(reference) is not None


def not_found(reference: str) -> str:
    """Google's words for an image that does not exist, and what to do about it here."""
    known = ", ".join(sorted(IMAGES))
    return (
        f"Image '{reference}' not found: the stand-in runs images whose last path component is one of: {known}, unless"
        " the tag was taken away. Use one of them or add it to scripts/localcloud/run/images.py."
    )


def argv(reference: str, command: Sequence[str] = (), args: Sequence[str] = ()) -> tuple[str, ...] | None:
    """What to run for a container, or None when the table has no such image."""
    image = IMAGES.get(image_name(reference))
    if image is None:
        return None
    if command:
        return (*_program(command), *args)
    return (*image.entry_point, *(args or image.arguments))


def expand(words: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """Words with $(NAME) replaced by the variable (left alone when there is none), as Kubernetes does."""
    return [_VARIABLE.sub(lambda found: env.get(found[1], found[0]), word) for word in words]


def _program(command: Sequence[str]) -> tuple[str, ...]:
    if command[0] in ("python", "python3"):  # the project's own interpreter, as in the image
        return (sys.executable, *command[1:])
    return tuple(command)

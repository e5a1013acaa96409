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
    """Entry point and default arguments, as in a Dockerfile's ENTRYPOINT and CMD; $(NAME) stands for a variable."""

    entry_point: tuple[str, ...]
    arguments: tuple[str, ...] = ()


IMAGES: dict[str, Image] = {
    "tabular": Image((sys.executable, "-m", "scripts.container"), ("start",)),
    "hello": Image((sys.executable, "-m", "scripts.localcloud.run.hello", "$(PORT)", "$(K_SERVICE)", "$(K_REVISION)")),
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
    if _HOSTS.fullmatch(host) is None or (host != "docker.io" and path.count("/") < 1):
        return None
    digest = match["digest"] or ""
    return Reference(host, path, match["tag"] or ("" if digest else "latest"), digest)


def image_name(reference: str) -> str:
    """The last path component without tag and digest: `europe-docker.pkg.dev/p/r/tabular:v1` → `tabular`."""
    return reference.split("@", 1)[0].rsplit("/", 1)[-1].split(":", 1)[0]


def is_reference(reference: str) -> bool:
    """Whether a text is a reference to an image in a registry that Cloud Run pulls from."""
    return parse(reference) is not None


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

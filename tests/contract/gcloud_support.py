"""A terminal with the exports of a stand-in, and how commands are taken out of a page of shell."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GCLOUD, GSUTIL = shutil.which("gcloud"), shutil.which("gsutil")


@dataclass
class Terminal:
    """A folder in which commands are typed with the exports of a stand-in; HOME is there too."""

    folder: Path
    values: dict[str, str]

    def run(self, command: str, **environ: str) -> tuple[int, str]:
        """Exit code of a command and what it prints."""
        known = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8", "TERM": "dumb",
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "true", "CLOUDSDK_PYTHON": os.environ.get("CLOUDSDK_PYTHON", ""),
            **self.values, **environ,
        }  # fmt: skip
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], cwd=self.folder, timeout=240, check=False,
            env={key: text for key, text in known.items() if text}, capture_output=True, text=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)

    def type(self, command: str, code: int = 0, **environ: str) -> str:
        """What a command prints; assert its exit code."""
        found, shown = self.run(command, **environ)
        assert found == code, f"{command} -> {found}\n{shown}"
        return shown


def statements(page: str) -> Iterator[str]:
    """The shell statements of a page: comments left out, continued and quoted lines joined."""
    pending = ""
    for line in page.splitlines():
        if not pending and (not line.strip() or line.lstrip().startswith("#")):
            continue
        pending += f"{line}\n"
        if line.endswith("\\"):
            continue
        try:
            shlex.split(pending)
        except ValueError:  # a quotation that goes on in the next line
            continue
        yield pending.strip()
        pending = ""
    assert not pending, f"a quotation has no end: {pending}"


def of_google(page: str) -> list[str]:
    """The statements that call gcloud or gsutil; without jq, where the machine has none."""
    found = [each for each in statements(page) if re.search(r"\b(gcloud|gsutil)\b", each)]
    return found if shutil.which("jq") else [re.sub(r"\s*\|\s*jq '[^']*'", "", each) for each in found]

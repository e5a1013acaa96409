"""The Dockerfile copies every module that the container imports, and its lock brings every package they need."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile.tabular").read_text(encoding="utf-8")
LOCK = (ROOT / "docker" / "requirements.tabular.lock").read_text(encoding="utf-8")
# Modules that scripts.cloud.connect offers to commands and that no container asks it for: proven below.
NOT_IN_CONTAINERS = {
    "scripts.cloud.scheduler",
    "scripts.cloud.logs",
    "scripts.cloud.discovery",
    "scripts.settings.load",
}

# google.api_core takes gRPC when it is there and does without (tests/container/test_start.py runs the lock alone).
OPTIONAL = {"grpcio", "grpcio-status", "setuptools"}


def module_path(name: str) -> Path | None:
    """The file of a module of this repository; None for anything else."""
    base = ROOT / Path(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, inside functions too; not what only a type checker sees."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unseen = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for part in node.body
        for inner in ast.walk(part)
    }
    for node in ast.walk(tree):
        if node in unseen:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def closure() -> tuple[set[str], set[str]]:
    """Modules of this repository that the container can reach, and the other top-level names they import."""
    waiting = [f"scripts.container.{path.stem}" for path in (ROOT / "scripts" / "container").glob("*.py")]
    ours: set[str] = set()
    others: set[str] = set()
    while waiting:
        name = waiting.pop()
        path = module_path(name)
        if name in ours or name in NOT_IN_CONTAINERS or path is None:
            continue
        ours.add(name)
        parents = [name.rsplit(".", count)[0] for count in range(1, name.count(".") + 1)]
        for found in [*imports(path), *parents]:
            if found.split(".")[0] == "scripts":
                waiting.append(found)
            else:
                others.add(found)
    return ours, others


def copied() -> list[str]:
    """The paths of scripts/ that the Dockerfile copies into the image."""
    found = re.findall(r"^COPY ((?:scripts/\S+ )+)scripts/", DOCKERFILE, re.MULTILINE)
    return [path for group in found for path in group.split()]


def test_every_module_that_a_container_can_import_is_copied() -> None:
    ours, _ = closure()
    assert "scripts.models.sync" in ours
    paths = {str(path.relative_to(ROOT)) for name in ours if (path := module_path(name))}
    places = copied()
    assert len(places) > 5
    missing = [path for path in paths if not any(path == place or path.startswith(place) for place in places)]
    assert missing == []


def test_nothing_is_copied_that_a_container_cannot_import() -> None:
    ours, _ = closure()
    packages = {name.replace(".", "/") + "/" for name in ours} | {f"{name.replace('.', '/')}.py" for name in ours}
    strange = [place for place in copied() if place not in packages and place != "scripts/__init__.py"]
    assert strange == []
    for room in ("service", "rendering", "tasks", "localcloud"):
        assert not any(name.startswith(f"scripts.{room}") for name in ours)


def locked() -> set[str]:
    """Names of the distributions in the image's lock, normalised."""
    return {re.sub(r"[-_.]+", "-", name).lower() for name in re.findall(r"^([A-Za-z0-9._-]+)==", LOCK, re.MULTILINE)}


def distributions(modules: set[str]) -> set[str]:
    """Which distributions bring these modules; the standard library brings none."""
    known = packages_distributions()
    found: set[str] = set()
    for module in modules:
        top = module.split(".")[0]
        if top == "google":  # a namespace of many distributions: find the one that has the very module
            found |= google_distribution(module)
        elif top not in sys.stdlib_module_names:
            found |= {re.sub(r"[-_.]+", "-", name).lower() for name in known.get(top, [f"nothing that has {top}"])}
    return found


def google_distribution(module: str) -> set[str]:
    owners = {"google.cloud.storage": "google-cloud-storage", "google.auth": "google-auth",
              "google.oauth2": "google-auth", "google.api_core": "google-api-core", "google.cloud": ""}  # fmt: skip
    parts = module.split(".")
    for end in range(len(parts), 1, -1):
        owner = owners.get(".".join(parts[:end]))
        if owner is not None:
            return {owner} - {""}
    return set() if module == "google" else {f"nothing known that has {module}"}


def test_every_package_that_a_container_can_import_is_locked() -> None:
    _, others = closure()
    needed = distributions(others)
    assert {"numpy", "starlette", "uvicorn", "google-cloud-storage", "securesystemslib", "huggingface-hub"} <= needed
    assert needed - locked() == set()


SEEN = (
    "import json, sys\n"
    "sys.argv = ['x']\n"
    "from scripts.container import __main__, miss, private, start, sync\n"
    "from scripts.cloud.connect import connect_runtime\n"
    "cloud = connect_runtime('p', 'r', 'http://127.0.0.1:9')\n"
    "cloud.run(); cloud.bucket('some-bucket')._clients(); cloud.upstreams()\n"
    "from scripts.models import signing, sync as publishing\n"
    "from scripts.models.sources.base import open_sources\n"
    "sources = open_sources(cloud.upstreams())\n"
    "import huggingface_hub.hf_api, uvicorn, securesystemslib.signer, securesystemslib.dsse, httptools, uvloop\n"
    "files = {n: getattr(m, '__file__', None) or '' for n, m in list(sys.modules.items())}\n"
    "print(json.dumps(files))"
)


@pytest.mark.process
def test_what_is_really_imported_is_locked_too() -> None:
    argv = [sys.executable, "-c", SEEN]
    child = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert child.returncode == 0, child.stderr
    loaded: dict[str, str] = json.loads(child.stdout)
    third = {name for name, place in loaded.items() if "site-packages" in place and not re.match(r"google(\.|$)", name)}
    known = packages_distributions()
    found = {re.sub(r"[-_.]+", "-", each).lower() for name in third for each in known.get(name.split(".")[0], [])}
    assert {"numpy", "tokenizers", "starlette", "uvicorn", "googleapiclient"} <= {name.split(".")[0] for name in third}
    assert found - locked() - OPTIONAL == set()
    assert not {"invoke", "rich", "jinja2", "pydantic", "torch"} & {name.split(".")[0] for name in loaded}
    strange = [name for name in loaded if name in NOT_IN_CONTAINERS]
    assert strange == []


def test_no_container_asks_for_what_the_image_lacks() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "scripts" / "container").glob("*.py"))
    assert re.findall(r"\.(?:scheduler|headers_for|ensure)\(|cloud\.logs\(|settings\.load", text) == []


def test_the_image_is_small_unprivileged_and_starts_the_container() -> None:
    assert re.search(r"^USER (?!0\b|root\b)\d+:\d+$", DOCKERFILE, re.MULTILINE)
    assert '\nENTRYPOINT ["python", "-m", "scripts.container"]\nCMD ["start"]\n' in DOCKERFILE
    assert "--require-hashes" in DOCKERFILE
    for name, value in (("OLLAMA_MODELS", "/models/ollama"), ("MODEL_CACHE_PATH", "/models"),
                        ("SENTENCE_TRANSFORMERS_HOME", "/models/sbert"), ("HUGGINGFACE_HUB_CACHE", "/models/sbert"),
                        ("SHARED_MODEL_VOLUME_ENABLED", "true"), ("PYTHONUNBUFFERED", "1")):  # fmt: skip
        assert re.search(rf"^    {name}={value}( \\)?$", DOCKERFILE, re.MULTILINE)
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert set(stages) == {"python:3.11-slim"}
    ignored = (ROOT / "docker" / "Dockerfile.tabular.dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*"
    assert not any(line.startswith("!.local") for line in ignored)

"""An image is built with the tool that is there; what is kept of a pushed one is its digest."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import audit
from scripts.errors import BadInput, OpsError, Refused
from scripts.service import image, target
from scripts.service.image import Build, Image
from tests.service.conftest import Checkout, Listener, Make

DIGEST = "sha256:" + "0a" * 32
BUILD = Build("docker", "h.example/p/tabular:1", "docker/Dockerfile.tabular", "abc", "my-project")
# Behaves as the tool does for build, push and inspect, and writes down what it was asked.
TOOL = f"""#!{sys.executable}
import json, os, sys
with open(os.path.join(os.path.dirname(__file__), "asked.jsonl"), "a") as file:
    file.write(json.dumps({{"argv": sys.argv[1:], "cwd": os.getcwd()}}) + "\\n")
verb = sys.argv[1]
if verb == "build" and not os.path.isfile(sys.argv[sys.argv.index("--file") + 1]):
    sys.exit("no such Dockerfile")
if verb == "push":
    if "denied" in sys.argv[-1]:
        sys.exit("denied: requested access to the resource is denied")
    if "--digestfile" in sys.argv:
        open(sys.argv[sys.argv.index("--digestfile") + 1], "w").write("{DIGEST}")
if verb == "inspect":
    print(json.dumps(["other.example/x@sha256:1", sys.argv[-1].rpartition(":")[0] + "@{DIGEST}"]))
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def install(tools: Path, name: str) -> None:
    (tools / name).write_text(TOOL, encoding="utf-8")
    (tools / name).chmod(0o755)


def asked(tools: Path) -> list[list[str]]:
    return [json.loads(line)["argv"] for line in (tools / "asked.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_arguments_of_each_tool() -> None:
    assert BUILD.build_argv() == [
        "docker", "build", "--file", "docker/Dockerfile.tabular", "--tag", "h.example/p/tabular:1", "--label",
        "org.opencontainers.image.revision=abc", ".",
    ]  # fmt: skip
    assert BUILD.push_argv(Path("f")) == ["docker", "push", "h.example/p/tabular:1"]
    assert BUILD.digest_argv()[:2] == ["docker", "inspect"]
    cloud = Build("gcloud", BUILD.reference, BUILD.dockerfile, "", "my-project")
    assert cloud.build_argv()[:3] == ["gcloud", "builds", "submit"]
    assert "--config=docker/cloudbuild.yaml" in cloud.build_argv()
    assert "_COMMIT=unknown" in " ".join(cloud.build_argv())
    assert cloud.push_argv(Path("f")) == []
    assert cloud.digest_argv()[-1] == "--format=value(image_summary.digest)"


def test_the_first_tool_that_is_there_is_taken() -> None:
    def only(*names: str) -> Callable[[str], str | None]:
        return lambda tool: f"/bin/{tool}" if tool in names else None

    assert image.choose("", only("podman", "docker", "gcloud")) == "docker"
    assert image.choose("", only("gcloud", "podman")) == "podman"
    assert image.choose("gcloud", only("docker", "gcloud")) == "gcloud"
    for wanted in ("", "docker"):
        with pytest.raises(Refused, match="nothing here builds images: looked for docker") as refused:
            image.choose(wanted, only())
        assert (refused.value.exit_code, "invoke doctor" in refused.value.remedy) == (3, True)
    with pytest.raises(BadInput, match="expected one of docker, podman, gcloud"):
        image.choose("buildah", only())


@pytest.mark.process
@pytest.mark.parametrize("tool", ["podman", "docker"])
def test_a_pushed_image_is_kept_by_its_digest(make: Make, tools: Path, tool: str) -> None:
    settings = make(service={"image": "europe-docker.pkg.dev/p/services/tabular:latest"})
    target.reach(settings).bucket.create("europe-west1", {})
    install(tools, tool)
    work = Image(settings, "tabular", tag="v1", tool="", push=True)
    assert [change.target.split()[:2] for change in work.plan.changes] == [[tool, "build"], [tool, "push"]]
    assert not (tools / "asked.jsonl").exists()  # deciding runs nothing
    told = Listener()
    done = work.carry_out(told).as_json()
    wanted = f"europe-docker.pkg.dev/p/services/tabular@{DIGEST}"
    assert (done["reference"], done["image"]) == ("europe-docker.pkg.dev/p/services/tabular:v1", wanted)
    verbs = [argv[0] for argv in asked(tools)]
    assert verbs == ["build", "push"] + ([] if tool == "podman" else ["inspect"])
    assert image.kept()["local"]["tabular"]["image"] == wanted
    (record,) = audit.recent(target.reach(settings).bucket, 0)
    assert (record["command"], record["details"]["image"]) == ("image.build", wanted)
    assert told.notes == []


@pytest.mark.process
def test_a_state_folder_that_takes_nothing_loses_no_pushed_digest(
    make: Make, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listener: Listener
) -> None:
    settings = make(service={"image": "europe-docker.pkg.dev/p/services/tabular:latest"})
    target.reach(settings).bucket.create("europe-west1", {})
    install(tools, "podman")
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("MODELSHELF_STATE", str(tmp_path / "file" / "state"))
    done = Image(settings, "tabular", tag="v1", tool="", push=True).carry_out(listener).as_json()
    assert done["image"] == f"europe-docker.pkg.dev/p/services/tabular@{DIGEST}"
    assert any(note.startswith("the image is pushed, but its digest is not kept in") for note in listener.notes)
    (record,) = audit.recent(target.reach(settings).bucket, 0)
    assert record["details"]["image"] == done["image"]


@pytest.mark.process
def test_what_cannot_be_built_or_pushed_says_why(make: Make, tools: Path, checkout: Checkout) -> None:
    settings = make()
    missing = checkout.typed("image.build", "--env", "local", code=3)
    assert "nothing here builds images" in missing.stderr
    install(tools, "podman")
    local = Image(settings, "tabular", tag="", tool="", push=False).carry_out(Listener()).as_json()
    assert (local["digest"], local["image"]) == ("", "")
    assert image.kept() == {}
    with pytest.raises(BadInput, match="--push: hello names no registry"):
        _ = Image(make(service={"image": "hello:1"}), "tabular", tag="", tool="", push=True).plan
    denied = make(service={"image": "europe-docker.pkg.dev/denied/services/tabular:1"})
    with pytest.raises(OpsError, match="denied: requested access") as failed:
        Image(denied, "tabular", tag="x", tool="", push=True).carry_out(Listener())
    assert failed.value.remedy.startswith("To see all of it, run it by hand: podman push")
    assert image.kept() == {}
    install(tools, "gcloud")
    with pytest.raises(Refused, match="always pushes"):
        _ = Image(settings, "tabular", tag="", tool="gcloud", push=False).plan
    shown = checkout.typed("image.build", "--env", "local", "--dry-run", code=2).stdout
    assert shown.startswith("» podman build --file docker/Dockerfile.tabular --tag ")


@pytest.mark.process
def test_a_dry_run_shows_the_whole_command(make: Make, tools: Path, checkout: Checkout) -> None:
    """Cloud Build's is the longest; what is shown can be typed by hand."""
    make(service={"image": "europe-west1-docker.pkg.dev/a-project-with-a-long-name/services/tabular:latest"})
    install(tools, "gcloud")
    words = ("image.build", "--env", "local", "--push", "--dry-run", "--tag")
    told = shlex.split(checkout.typed(*words, "v1", code=2).stdout.removeprefix("» "))
    assert told[:3] == ["gcloud", "builds", "submit"]
    assert "/services/tabular:v1,_DOCKERFILE=docker/Dockerfile.tabular,_COMMIT=" in told[-2] and told[-1] == "."
    for wrong in ("A B", "a,_X=y", "-x", "x" * 129):
        refused = checkout.typed(*words[:-1], f"--tag={wrong}", code=3).stderr
        assert f"✗ --tag: found '{wrong}', expected" in refused and "→ For example: --tag v1.2" in refused

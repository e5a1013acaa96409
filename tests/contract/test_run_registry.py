"""The image registry as container tools ask it, and revisions that keep the digest of their tag."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.contract.run_support import PARENT, Cloud, condition, fetch, service

pytestmark = pytest.mark.process
HOST = "europe-west1-docker.pkg.dev"
REPOSITORY = "modelshelf-dev/services/hello"
Ask = Callable[..., tuple[int, dict[str, str], bytes]]


@pytest.fixture(scope="module")
def cloud(shared_standin: Any) -> Cloud:
    return Cloud(shared_standin.url)


@pytest.fixture
def ask(shared_standin: Any) -> Ask:
    """Status, headers and body of a request to a registry's host through the proxy, or ("") to the port itself."""

    def send(method: str, path: str, host: str = HOST, accept: str = "*/*") -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", shared_standin.port, timeout=60)
        connection.request(method, f"http://{host}{path}" if host else path, headers={"Accept": accept})
        answer = connection.getresponse()
        told = {key.lower(): value for key, value in answer.getheaders()}
        body = answer.read()
        connection.close()
        return answer.status, told, body

    return send


def move(cloud: Cloud, reference: str, digest: str = "") -> str:
    body = {"reference": reference} | ({"digest": digest} if digest else {})
    status, told = fetch(f"{cloud.url}/_local/images", json.dumps(body).encode())
    assert status == 200, told
    moved: str = told["digest"]
    return moved


def deploy(cloud: Cloud, name: str, image: str, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The service and its newest revision, with the image's own entry point."""
    body = service(name, **options)
    body["spec"]["template"]["spec"]["containers"][0] |= {"image": image, "command": []}
    exists = fetch(f"{cloud.url}/apis/serving.knative.dev/v1/{PARENT}/services/{name}")[0] == 200
    made = cloud.replace(body) if exists else cloud.create(body)
    return made, cloud.revision(made["status"]["latestCreatedRevisionName"])


def test_a_manifest_its_configuration_and_layer_are_what_their_digests_say(ask: Ask) -> None:
    status, told, _ = ask("GET", "/v2/")
    assert (status, told["docker-distribution-api-version"]) == (200, "registry/2.0")
    accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
    status, head, empty = ask("HEAD", f"/v2/{REPOSITORY}/manifests/v1", accept=accept)
    assert (status, empty) == (200, b"")
    digest = head["docker-content-digest"]
    status, told, body = ask("GET", f"/v2/{REPOSITORY}/manifests/{digest}", accept=accept)
    assert status == 200 and told["content-type"] == "application/vnd.oci.image.manifest.v1+json"
    assert f"sha256:{hashlib.sha256(body).hexdigest()}" == digest == told["docker-content-digest"]
    assert head["content-length"] == str(len(body))
    manifest = json.loads(body)
    for part in (manifest["config"], *manifest["layers"]):
        status, _, content = ask("GET", f"/v2/{REPOSITORY}/blobs/{part['digest']}")
        assert status == 200 and len(content) == part["size"]
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == part["digest"]
    configuration = json.loads(ask("GET", f"/v2/{REPOSITORY}/blobs/{manifest['config']['digest']}")[2])
    assert configuration["config"]["Entrypoint"][0] == "python"
    assert json.loads(ask("GET", f"/v2/{REPOSITORY}/tags/list")[2])["tags"] == ["latest"]
    for place in ((f"/v2/{REPOSITORY}/manifests/v1", ""), (f"/v2/{HOST}/{REPOSITORY}/manifests/v1", "")):
        assert ask("HEAD", *place)[1]["docker-content-digest"] == digest, "the port itself answers too"
    assert ask("HEAD", f"/v2/{REPOSITORY}/manifests/v1", "gcr.io")[1]["docker-content-digest"] == digest
    other = ask("HEAD", "/v2/modelshelf-prod/services/hello/manifests/v1")[1]["docker-content-digest"]
    assert other != digest, "each repository has an image of its own"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v2/p/r/unknown/manifests/latest", "NAME_UNKNOWN"),
        ("/v2/p/r/unknown/tags/list", "NAME_UNKNOWN"),
        (f"/v2/{REPOSITORY}/manifests/sha256:{'0' * 64}", "MANIFEST_UNKNOWN"),
        (f"/v2/{REPOSITORY}/blobs/sha256:{'0' * 64}", "BLOB_UNKNOWN"),
        (f"/v2/{REPOSITORY}/blobs/x", "BLOB_UNKNOWN"),
    ],
)
def test_what_is_not_there_is_told_as_registries_do(ask: Ask, path: str, code: str) -> None:
    status, _, body = ask("GET", path)
    assert (status, json.loads(body)["errors"][0]["code"]) == (404, code)


def test_the_apis_below_v2_are_still_reached(cloud: Cloud) -> None:
    assert cloud.entries("severity>=DEFAULT") == []
    assert fetch(f"{cloud.url}/v2/projects/demo/locations/europe-west1/services/none")[0] == 404
    assert cloud.logging.projects().metrics().list(parent="projects/demo").execute()["metrics"] == []


def test_a_revision_keeps_the_digest_that_its_tag_had(cloud: Cloud) -> None:
    image = f"{HOST}/{REPOSITORY}"
    first = move(cloud, f"{image}:stable")
    made, before = deploy(cloud, "pinned", f"{image}:stable")
    assert condition(made, "Ready")["status"] == "True"
    assert before["status"]["imageDigest"] == f"{image}@{first}"
    assert before["status"]["containerStatuses"] == [{"name": "", "imageDigest": f"{image}@{first}"}]
    second = move(cloud, f"{image}:stable")
    assert second != first
    assert cloud.revision(before["metadata"]["name"])["status"]["imageDigest"] == f"{image}@{first}"
    _, after = deploy(cloud, "pinned", f"{image}:stable", env={"A": "1"})
    assert after["status"]["imageDigest"] == f"{image}@{second}"
    assert move(cloud, f"{image}:stable", first) == first, "back again"
    _, by_digest = deploy(cloud, "pinned", f"{image}@{second}")
    assert by_digest["status"]["imageDigest"] == f"{image}@{second}"


def test_an_image_that_does_not_exist_is_said_by_name(cloud: Cloud) -> None:
    image = f"{HOST}/modelshelf-dev/services/hello"
    good, _ = deploy(cloud, "absent", f"{image}:v1")
    reference = quote(f"{image}:gone", safe="")
    assert fetch(f"{cloud.url}/_local/images?reference={reference}", method="DELETE")[0] == 200
    for missing in (f"{image}:gone", f"{image}@sha256:{'0' * 64}", "gcr.io/p/other:v1"):
        bad, revision = deploy(cloud, "absent", missing)
        ready = condition(bad, "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "ContainerMissing")
        assert f"Image '{missing}' not found" in ready["message"]
        assert revision["status"]["imageDigest"] == ""
        assert bad["status"]["traffic"][0]["revisionName"] == good["status"]["latestReadyRevisionName"]
    deploy(cloud, "absent", f"{image}:gone")
    move(cloud, f"{image}:gone")
    back, _ = deploy(cloud, "absent", f"{image}:gone")
    assert condition(back, "Ready")["status"] == "True", "the same command again, once the image was pushed"
    listed = fetch(f"{cloud.url}/_local/images")[1]["images"]
    assert [each["exists"] for each in listed if each["reference"] == f"{image}:gone"] == [True]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reference": "ghcr.io/me/hello:v1"},
        {"reference": f"{HOST}/p/r/other:v1"},
        {"reference": f"{HOST}/p/r/hello:v1", "digest": "sha256:0"},
        {"reference": f"{HOST}/p/r/hello@sha256:{'0' * 64}"},
    ],
)
def test_a_move_that_makes_no_sense_is_refused(cloud: Cloud, body: dict[str, Any]) -> None:
    status, told = fetch(f"{cloud.url}/_local/images", json.dumps(body).encode())
    assert (status, told["error"]["status"]) == (400, "INVALID_ARGUMENT")

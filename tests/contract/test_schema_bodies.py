"""No body that Google's descriptions do not admit is taken: the daemon's own reading against that of the judge."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from scripts.localcloud import schema
from scripts.localcloud.web import ApiError
from tests.conftest import StandIn
from tests.contract import exchanges
from tests.contract.exchanges import Exchange
from tests.contract.fuzz_support import value
from tests.contract.fuzz_world import routes
from tests.contract.run_support import fetch
from tests.contract.schema import Method, document, methods

pytestmark = pytest.mark.process
BODIES = 100


@pytest.fixture(scope="module")
def imitated() -> list[Method]:
    """Google's methods that the stand-in has, without the other paths of their media."""
    operations = {route.operation for route in routes()}
    return [each for each in methods() if each.id in operations and not each.media]


def _taken(method: Method, body: Any) -> bool:
    path = f"/storage/{method.version}/b" if method.api == "storage" else f"/{method.version}/x"
    try:
        schema.accepted(method.id, path, body)
    except ApiError as error:
        assert error.code == 400
        return False
    return True


def test_what_is_taken_is_what_google_describes(imitated: list[Method]) -> None:
    rnd, taken, wrong = Random(7), 0, []
    for method in imitated:
        schemas = document(method.api, method.version)["schemas"]
        for _ in range(BODIES if method.asked else 0):
            body = value(rnd, schemas, schemas[method.asked])
            if not isinstance(body, dict) or not _taken(method, body):
                continue
            taken += 1
            raw = json.dumps(body).replace("NaN", "0").replace("Infinity", "0").encode()
            judged = exchanges.asked(method, Exchange(method.verb, method.path, 200, asked=raw))
            wrong += [f"{method.id}: {judged}: {raw!r}"] if judged else []
    assert not wrong, "\n".join(wrong)
    assert taken > 10 * len(imitated)


def test_a_method_without_a_body_takes_none(imitated: list[Method]) -> None:
    without = [method for method in imitated if not method.asked]
    assert [method.id for method in without if not _taken(method, {})] == []
    assert [method.id for method in without if _taken(method, {"x": None})] == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/storage/v1/b/bodies/o/made/compose", {"sourceObjects": [None, {"name": "part"}]}),
        ("/storage/v1/b/bodies/o/part/restore?generation={generation}", {"unheard": "of"}),
        ("/storage/v1/projects/demo/hmacKeys?serviceAccountEmail=a@b.example", {"unheard": "of"}),
    ],
)
def test_a_body_that_is_not_described_is_refused(shared_standin: StandIn, path: str, body: dict[str, Any]) -> None:
    url, kind = shared_standin.url, {"content_type": "application/json"}
    fetch(f"{url}/storage/v1/b?project=demo", b'{"name": "bodies"}', **kind)
    made = [fetch(f"{url}/upload/storage/v1/b/bodies/o?uploadType=media&name=part", b"x")[1] for _ in range(2)]
    target = url + path.format(generation=made[0]["generation"])
    right = {"sourceObjects": [{"name": "part"}]} if "compose" in path else {}
    assert fetch(target, json.dumps(body).encode(), "POST", **kind)[0] == 400
    assert fetch(target, json.dumps(right).encode(), "POST", **kind)[0] == 200


@pytest.mark.parametrize(
    "metadata",
    [b'{"name": "x", "size": "many"}', b'{"name": "x", "acl": [null]}', b'{"name": "x", "size": NaN}', b"[]"],
)
def test_the_metadata_of_an_upload_in_two_parts_is_checked(shared_standin: StandIn, metadata: bytes) -> None:
    fetch(f"{shared_standin.url}/storage/v1/b?project=demo", b'{"name": "parts"}', content_type="application/json")

    def upload(told: bytes) -> int:
        part = b"--b\r\nContent-Type: application/json\r\n\r\n%b\r\n--b\r\n\r\nmedia\r\n--b--"
        url = f"{shared_standin.url}/upload/storage/v1/b/parts/o?uploadType=multipart"
        return fetch(url, part % told, content_type="multipart/related; boundary=b")[0]

    assert upload(metadata) == 400
    assert upload(b'{"name": "x", "size": "5", "acl": [], "unheard": null}') == 200

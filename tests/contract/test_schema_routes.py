"""Each of Google's methods that the stand-in has answers a plain call, and its answer is as Google describes it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scripts.localcloud.web import Route
from tests.conftest import StandIn, exchanges_of
from tests.contract import exchanges, schema_calls
from tests.contract.fuzz_support import described
from tests.contract.fuzz_world import routes
from tests.contract.run_support import Cloud, fetch, until

pytestmark = pytest.mark.process
RUN = "/apis/run.googleapis.com/v1/namespaces/demo"
# A resumable upload's own requests have the name of the upload.
PIECES = {("PUT", "storage.objects.insert"), ("DELETE", "storage.objects.insert")}


class Caller:
    """Calls one route after the other; learns names from the answers."""

    def __init__(self, standin: StandIn) -> None:
        self._url = standin.url
        self._cloud = Cloud(standin.url)
        self._learnt: dict[str, str] = {}
        for each in schema_calls.BUCKETS:
            self._do("POST", "/storage/v1/b?project=demo", each)
        gone = self._do("POST", "/upload/storage/v1/b/soft/o?uploadType=media&name=gone", {})
        fetch(f"{standin.url}/storage/v1/b/soft/o/gone", method="DELETE")
        locked = self._do("GET", "/storage/v1/b/locked")
        self._told = {"generation": gone["generation"], "metageneration": locked["metageneration"]}

    def _do(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        status, answer = fetch(self._url + path, data, method, content_type="application/json")
        assert status == 200, answer
        return answer

    def call(self, route: Route) -> str:
        """Call a route; what went wrong."""
        data, kind = b"", "application/json"
        if route.method not in ("GET", "DELETE"):
            data, kind = schema_calls.body(route.operation)
        if route.operation.endswith("revisions.delete"):
            self._oldest_revision()
        query = schema_calls.QUERIES.get(route.operation, "").format(**self._told)
        target = schema_calls.path(route, self._learnt) + (f"?{query}" if query else "")
        status, answer = fetch(self._url + target, data or None, route.method, content_type=kind)
        if status >= 300:
            return f"{route.operation}: {route.method} {target} -> {status} {str(answer)[:300]}"
        schema_calls.learn(route, answer, self._learnt)
        self._settle(route)
        return ""

    def _settle(self, route: Route) -> None:
        if route.operation.endswith(("services.create", "services.replaceService")):
            self._cloud.settled("schema")
        elif route.operation.startswith("run.") and route.operation.endswith("jobs.run"):
            until(
                lambda: all(
                    "completionTime" in each["status"] for each in self._do("GET", f"{RUN}/executions")["items"]
                )
            )
        elif route.operation.endswith("keyRings.create"):
            ring = "/v1/projects/demo/locations/europe-west1/keyRings/schema/cryptoKeys?cryptoKeyId=symmetric"
            self._do("POST", ring, {"purpose": "ENCRYPT_DECRYPT"})

    def _oldest_revision(self) -> None:
        found = self._do("GET", "/apis/serving.knative.dev/v1/namespaces/demo/revisions")["items"]
        names = sorted(each["metadata"]["name"] for each in found)
        self._learnt["run.revisions"] = next(name for name in names if name.startswith("schema-0"))


def test_every_method_that_there_is_answers_as_google_describes(standin: StandIn) -> None:
    caller = Caller(standin)
    known = [route for route in routes() if route.operation in described()]
    wanted = {route.operation for route in known} - schema_calls.DECLINED - schema_calls.ELSEWHERE
    plain = [route for route in known if (route.method, route.operation) not in PIECES and route.operation in wanted]
    refused = [problem for route in sorted(plain, key=schema_calls.order) if (problem := caller.call(route))]
    assert not refused, "\n".join(refused)
    seen = exchanges.read(exchanges_of(standin.state))[0]
    missed = wanted - {name for each in seen for name in exchanges.proven(each)}
    assert not missed, f"no answer that Google describes was seen of {sorted(missed)}"

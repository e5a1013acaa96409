"""A change whose answer was lost is looked for once, and never sent a second time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from scripts.errors import AccessDenied, Conflict, Unreachable
from scripts.service import deploy, target
from scripts.service.preflight import Options
from scripts.service.target import Target
from tests.cloud.proxy import Proxy, Trouble, troubled
from tests.conftest import StandIn
from tests.service.conftest import Listener, Make

pytestmark = pytest.mark.process
NEVER = Options(sync="never")
CHANGED = "/services/tabular-service?alt="  # and not ?dryRun=all


def sent(proxy: Proxy) -> list[str]:
    """The changes of services and jobs that passed."""
    changes = [line for line in proxy.seen if line.startswith(("PUT", "POST")) and "/namespaces/" in line]
    return [line for line in changes if "dryRun=all" not in line]


def almost_over(reached: Target) -> None:
    """Let the lease that a failed command left behind lapse in a second, not in a dozen."""
    name = f"leases/{reached.lease_name}.json"
    while True:
        found = reached.bucket.read(name, limit_bytes=1 << 16)
        assert found is not None
        left = json.loads(found[0])
        assert left["owner"], "it was given back, though the cloud did not answer"
        left["expires_at"] = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        try:
            reached.bucket.replace(name, json.dumps(left).encode(), found[1].generation)
            return
        except Conflict:  # the last renewal was still on its way
            continue


def test_one_that_arrived_counts(make: Make, shared_standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make()
    with troubled(shared_standin.url) as proxy, monkeypatch.context() as patch:
        patch.setenv("MODELSHELF_ENDPOINT", proxy.url)
        for method, place, service in (
            ("POST", "/services?alt=", {}), ("PUT", CHANGED, {"env": {"COLOUR": "red"}}),
        ):  # fmt: skip
            proxy.seen.clear()
            proxy.troubles = [Trouble(method, place, "lost", 2), Trouble(method, "/jobs", "lost")]
            assert deploy.deploy(make(service=service), NEVER, Listener()).changed
            # the job, the service and, where a revision had served already, its traffic
            assert {line.split()[-1] for line in sent(proxy)} == {"lost"}
            assert len(sent(proxy)) == (2 if method == "POST" else 3)
    assert len(target.reach(first).run.list_revisions("tabular-service")) == 2


@pytest.mark.parametrize(("how", "error"), [("busy", Unreachable), ("forbidden", AccessDenied)])
def test_one_that_did_not_arrive_fails(
    make: Make,
    shared_standin: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    error: type[Exception],
) -> None:
    deploy.deploy(make(), NEVER, Listener())
    with troubled(shared_standin.url) as proxy, monkeypatch.context() as patch:
        patch.setenv("MODELSHELF_ENDPOINT", proxy.url)
        proxy.troubles = [Trouble("PUT", CHANGED, how)]
        with pytest.raises(error):
            deploy.deploy(make(service={"env": {"COLOUR": "red"}}), NEVER, Listener())
    reached = target.reach(make())
    if error is Unreachable:  # who was refused was heard: that lease was given back
        almost_over(reached)
    assert deploy.deploy(make(), NEVER, Listener()).changed

"""What is looked at before a deploy: by whoever may deploy, and by those who may only look."""

from __future__ import annotations

import pytest

from scripts.errors import AccessDenied, BadInput
from scripts.service import deploy
from scripts.service.preflight import Options, check_image
from tests.cloud.proxy import Trouble, troubled
from tests.conftest import StandIn
from tests.service.conftest import Listener, Make

pytestmark = pytest.mark.process
NEVER = Options(sync="never")


def test_who_may_only_look_sees_the_plan_and_is_told(
    make: Make, shared_standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy.deploy(make(), NEVER, Listener())
    with troubled(shared_standin.url) as proxy:
        monkeypatch.setenv("MODELSHELF_ENDPOINT", proxy.url)
        changed = make(service={"env": {"COLOUR": "red"}})
        proxy.troubles = [Trouble("PUT", "dryRun=all", "forbidden", 2)]
        told = Listener()
        assert len(deploy.plan_deploy(changed, NEVER, told).changes) == 2
        assert any("Cloud Run did not check this plan: cannot check service" in note for note in told.notes)
        with pytest.raises(AccessDenied):
            deploy.deploy(changed, NEVER, Listener())
        changes = [line for line in proxy.seen if line.startswith(("PUT", "POST")) and "/namespaces/" in line]
        assert all("dryRun=all" in line for line in changes)


def test_what_cannot_be_meant_is_refused_before_anything_is_asked(make: Make) -> None:
    settings = make()
    for options in (Options(canary="100"), Options(image="No Such"), Options(sync="maybe")):
        with pytest.raises(BadInput):
            deploy.plan_deploy(settings, options)


def test_what_is_typed_is_checked() -> None:
    check_image("us-docker.pkg.dev/cloudrun/container/hello:1", "--image")
    with pytest.raises(BadInput, match="--image: found 'No Such', expected an image reference"):
        check_image("No Such", "--image")

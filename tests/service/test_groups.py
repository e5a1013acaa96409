"""A plan is read in groups."""

from __future__ import annotations

import pytest

from scripts.plan import Action, Change
from scripts.service import groups

TEMPLATE = "spec.template.metadata.annotations"
POD = "spec.template.spec"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"{POD}.containers[tabular].image", "image"),
        (f"{POD}.containers[tabular].env[COLOUR]", "env"),
        (f"{TEMPLATE}[autoscaling.knative.dev/maxScale]", "scaling"),
        (f"{POD}.containerConcurrency", "scaling"),
        (f"{POD}.containers[tabular].resources.limits.cpu", "scaling"),
        ("spec.traffic", "traffic"),
        ("metadata.labels.team", "other"),
        (f"{TEMPLATE}[modelshelf.dev/model-version]", "other"),
    ],
)
def test_each_change_has_its_group(path: str, expected: str) -> None:
    assert groups.group_of(Change(Action.UPDATE, "service x", path, "a", "b")) == expected


def test_groups_come_in_a_fixed_order_and_empty_ones_do_not() -> None:
    steps = Change(Action.RUN, "service x", after="traffic in steps of 10 %, 100 %, each watched for 5 s")
    image = Change(Action.UPDATE, "service x", f"{POD}.containers[x].image", "a", "b")
    bucket = Change(Action.CREATE, "bucket b")
    found = groups.grouped([bucket, steps, image])
    assert found == [("image", [image]), ("traffic", [steps]), ("other", [bucket])]

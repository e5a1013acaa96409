"""What a live service's next document says: one variable changes and the others stay."""

from __future__ import annotations

from scripts.service import successor


def test_one_variable_is_merged_and_the_others_stay() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "x", "key": "1"}}}]
    body = {"spec": {"template": {"spec": {"containers": [{"env": env}]}}}}
    successor.merge_env(body, "A", "2")
    successor.merge_env(body, "C", "3")
    (container,) = body["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "A", "value": "2"}, env[1], {"name": "C", "value": "3"}]

from __future__ import annotations

from typing import Any

from scripts.localcloud.console import calls

AT = "2026-11-20T14:37:00Z"


def minute(api: int = 0, errors: int = 0, services: Any = None, apis: Any = None) -> dict[str, Any]:
    return {"at_s": 0, "api": api, "errors": errors, "services": services or {}, "apis": apis or {}}


def test_rates_have_a_line_for_each_service_and_api_and_all() -> None:
    busy = minute(5, 2, {"web": {"requests": 7, "errors": 1}}, {"run": {"requests": 5, "errors": 2}})
    found = calls.rates([minute(), busy, minute(1, 0, None, {"storage": {"requests": 1, "errors": 0}})])
    assert [(each["name"], each["kind"], each["requests"], each["errors"], each["latest"]) for each in found] == [
        ("web", "service", 7, 1, 0), ("run", "API", 5, 2, 0), ("storage", "API", 1, 0, 1),
        ("all APIs", "total", 6, 2, 1)
    ]  # fmt: skip
    assert found[0]["per_minute"] == [0, 7, 0] and found[0]["errors_per_minute"] == [0, 1, 0]


def test_only_the_last_minutes_are_lately() -> None:
    failed = minute(1, 1, {"web": {"requests": 1, "errors": 1}})
    assert calls.rates([failed, *[minute()] * 4])[0]["errors_lately"] == 1
    assert calls.rates([failed, *[minute()] * 5])[0]["errors_lately"] == 0


def test_many_services_are_cut_off_and_the_sum_stays() -> None:
    many = {f"s{number}": {"requests": number, "errors": 0} for number in range(40)}
    found = calls.rates([minute(3, 0, many)])
    assert len(found) == 12 and found[0]["name"] == "s39" and found[-1]["name"] == "all APIs"


def test_a_log_that_has_not_been_read_is_not_an_empty_one() -> None:
    assert calls.requests([], None, 0.0)["failing"] is None
    told = {"calls": 0, "failed": 0, "failing": [], "operations": []}
    assert calls.requests([], told, 0.0)["failing"] == []


def test_faults_say_where_and_when_they_happen() -> None:
    fault = {"id": "f1", "on": "storage.*", "kind": "slow", "nth": 3, "every": 2, "bucket": "b", "object": "a*",
             "rate_bytes_s": 100, "delay_s": 0.5, "left": None, "set_at": AT}  # fmt: skip
    (found,) = calls.faults([fault], {}, 0.0)["faults"]
    assert (found["left"], found["where"]) == ("forever", "bucket b, object a*")
    assert found["how"] == "from call 3, every 2 calls, 0.5 s, 100 bytes/s"
    plain = {"id": "f2", "on": "run.*", "kind": "503", "nth": 1, "left": 1, "set_at": AT}
    assert calls.faults([plain], {}, 0.0)["faults"][0]["how"] == ""

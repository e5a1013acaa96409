from __future__ import annotations

import pytest

from scripts.localcloud.console import values


@pytest.mark.parametrize(
    ("given", "shown"),
    [(None, "–"), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (158_678_110, "151.3 MiB"), (1 << 60, "1024.0 PiB")],
)
def test_sizes(given: int | None, shown: str) -> None:
    assert values.size(given) == shown


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (None, "–"), (-3, "0.0 s"), (0.44, "0.4 s"), (12.9, "12 s"), (60, "1 min"), (200, "3 min 20 s"), (3600, "1 h"),
        (7500, "2 h 5 min"), (86400, "1 d"), (273_600, "3 d 4 h"),
    ],
)  # fmt: skip
def test_durations(given: float | None, shown: str) -> None:
    assert values.duration(given) == shown


@pytest.mark.parametrize(
    ("given", "shown"),
    [(None, "–"), (-1, "just now"), (3, "just now"), (59, "55 s"), (119, "1 min"), (7500, "2 h 5 min")],
)
def test_ages_change_seldom(given: float | None, shown: str) -> None:
    assert values.age(given) == shown


def test_times_of_any_precision_and_what_is_no_time() -> None:
    assert values.moment("2026-11-20T14:37:00.123456789Z") == values.moment("2026-11-20T14:37:00.123456Z")
    assert values.moment("2026-11-20T14:37:00") == values.moment("2026-11-20T15:37:00+01:00")
    assert values.moment("soon") is None
    assert values.moment(7) is None
    assert values.clock_time("2026-11-20T15:37:00.5+01:00") == "14:37:00.500"
    for odd in ("soon", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"):
        assert values.clock_time(odd) == values.day_time(odd) == odd
    assert values.day_time("2026-11-20T14:37:00Z") == "2026-11-20 14:37 UTC"
    assert values.day_time(None) == "–"
    assert values.between("2026-11-20T14:37:00Z", "2026-11-20T14:38:30Z") == 90
    assert values.between(None, "2026-11-20T14:38:30Z") is None


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("DB_PASSWORD", "hunter2", "[redacted]"),
        ("HF_TOKEN", "x", "[redacted]"),
        ("API_KEY", "x", "[redacted]"),
        ("APIKEY", "x", "[redacted]"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/x.json", "[redacted]"),
        ("URL", "https://h/?token=abc", "https://h/?token=[redacted]"),
        ("PLAIN", "hf_abcdefghijklmnopqrst", "[redacted]"),
        ("MODEL_TRUSTED_KEYS", "[]", "[]"),
        ("EMPTY", None, ""),
    ],
)
def test_what_looks_like_a_secret_is_not_shown(name: str, value: str | None, shown: str) -> None:
    assert values.variable({"name": name, "value": value}) == {"name": name, "value": shown}


def test_the_reference_of_a_secret_is_shown() -> None:
    given = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "3"}}}
    assert values.variable(given) == {"name": "HF_TOKEN", "value": "secret hub:3"}


def test_labels_are_redacted_too() -> None:
    assert values.pairs({"b": 1, "a-token": "x"}) == {"a-token": "[redacted]", "b": "1"}
    assert values.pairs(None) == {}


def test_badges_of_a_bucket() -> None:
    assert values.badges({}) == []
    settings = {
        "versioning": {"enabled": True}, "softDeletePolicy": {"retentionDurationSeconds": "604800"},
        "lifecycle": {"rule": [{}, {}]}, "retentionPolicy": {"retentionPeriod": 86400, "isLocked": True},
        "objectRetention": {"mode": "Enabled"}, "defaultEventBasedHold": True,
    }  # fmt: skip
    assert values.badges(settings) == [
        "versions", "soft delete 7 d", "2 lifecycle rules", "retention 1 d, locked", "object retention",
        "event-based holds",
    ]  # fmt: skip
    assert values.badges({"softDeletePolicy": {"retentionDurationSeconds": "odd"}, "lifecycle": {}}) == []


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("See https://example.com/a?b=1#c.", "https://example.com/a?b=1#c"), ("[x](http://example.com/r)", "http://example.com/r"),
        ("javascript:alert(1)", ""), ("data:text/html,x", ""), ('https://e.example/"><script>', "https://e.example/"),
        ("", ""), (None, ""), ("**https://example.com/bold**", "https://example.com/bold"),
    ],
)  # fmt: skip
def test_links_are_of_web_pages_alone(text: object, link: str) -> None:
    assert values.web_link(text) == link


def test_latencies_and_numbers() -> None:
    assert [values.latency(each) for each in (None, 0.04, 12.4, 999, 3100)] == [
        "–",
        "0.0 ms",
        "12 ms",
        "999 ms",
        "3.1 s",
    ]
    assert [values.number(each) for each in (None, 0, 12345)] == ["…", "0", "12,345"]

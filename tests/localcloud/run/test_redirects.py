"""Redirects of instances, as clients of a service below a prefix must see them."""

from __future__ import annotations

import pytest

from scripts.localcloud.run.redirects import seen

HOST = "127.0.0.1:8085"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/x?a=1#b", "/run/shop/x?a=1#b"),
        ("/", "/run/shop/"),
        (f"http://{HOST}/x", f"http://{HOST}/run/shop/x"),
        (f"https://{HOST}", f"https://{HOST}/run/shop/"),
        (f"http://{HOST}?a", f"http://{HOST}/run/shop/?a"),
        ("/run/shopping", "/run/shop/run/shopping"),
        # who heeds X-Forwarded-Prefix has written it already
        ("/run/shop/x", "/run/shop/x"),
        ("/run/shop", "/run/shop"),
        (f"http://{HOST}/run/shop?a", f"http://{HOST}/run/shop?a"),
        # no path of the service, or one relative to the request
        ("x", "x"),
        ("../x", "../x"),
        ("?a=/x", "?a=/x"),
        ("", ""),
        ("//example.org/x", "//example.org/x"),
        ("http://example.org/x", "http://example.org/x"),
        (f"http://{HOST}0/x", f"http://{HOST}0/x"),
        (f"http://{HOST}.example.org/x", f"http://{HOST}.example.org/x"),
    ],
)
def test_a_redirect_stays_with_its_service(given: str, expected: str) -> None:
    assert seen(given, "/run/shop", HOST) == expected

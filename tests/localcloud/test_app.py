"""How the application reads the head of a request."""

from __future__ import annotations

from scripts.localcloud.app import _joined


def test_repeated_headers_are_one_list_and_cookies_one_string() -> None:
    pairs = [(b"Accept", b"a"), (b"cookie", b"x=1"), (b"accept", b"b, c"), (b"cookie", b"y=2"), (b"host", b"h")]
    assert _joined(pairs) == {"accept": "a, b, c", "cookie": "x=1; y=2", "host": "h"}

"""Where a redirect of an instance leads when its service answers below a prefix, /run/NAME."""

from __future__ import annotations

_SCHEMES = ("http://", "https://")


def seen(location: str, prefix: str, host: str) -> str:
    """A Location header as the client must get it: paths of the service get the prefix, unless they have it.

    host is the request's Host header: a redirect to it is one to the service itself. Relative references (RFC 3986,
    section 4.2) and those to other hosts stay as they are.
    """
    own = (f"{scheme}{host}" for scheme in _SCHEMES)
    base = next((each for each in own if location.lower().startswith(each.lower())), "")
    path = location[len(base) :]
    if not base and (not path.startswith("/") or path.startswith("//")):
        return location
    if path and path[0] not in "/?#":  # another host, whose name or port only begins like this one
        return location
    if path == prefix or path.startswith((f"{prefix}/", f"{prefix}?", f"{prefix}#")):
        return location
    return f"{location[: len(base)]}{prefix}{path if path.startswith('/') else f'/{path}'}"

"""What the XML API's answers and bodies look like: elements, errors, and the body of a client read with care."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from html import escape
from typing import TYPE_CHECKING, Any

from scripts.localcloud.storage.bodies import Discarded
from scripts.localcloud.storage.records import Record
from scripts.localcloud.web import ApiError, Headers, Request, Response

if TYPE_CHECKING:
    from xml.etree import ElementTree

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
CONTENT_TYPE = "application/xml; charset=UTF-8"
_HEAD = "<?xml version='1.0' encoding='UTF-8'?>"
# HTTP status → code, where the reason of the JSON API does not say more (cloud.google.com/storage/docs/xml-api/
# reference-status).
_CODES = {
    400: "InvalidArgument", 403: "AccessDenied", 404: "NoSuchKey", 405: "MethodNotAllowed", 409: "Conflict",
    411: "MissingContentLength", 412: "PreconditionFailed", 413: "EntityTooLarge", 416: "InvalidRange",
    429: "SlowDown", 503: "ServiceUnavailable",
}  # fmt: skip
_MESSAGES = {
    "NoSuchBucket": "The specified bucket does not exist.",
    "NoSuchKey": "The specified key does not exist.",
    "PreconditionFailed": "At least one of the pre-conditions you specified did not hold.",
}
# A control character can stand in an object's name but not in XML 1.0; Google writes it as a reference all the same.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
Handler = Callable[..., Awaitable[Response]]


def element(name: str, value: object) -> str:
    """<name>text</name>; true and false are written as XML does."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    safe = _CONTROL.sub(lambda found: f"&#{ord(found[0])};", escape(text, quote=False))
    return f"<{name}>{safe}</{name}>"


def group(name: str, *children: str) -> str:
    """<name>children</name>; the children are XML already."""
    return f"<{name}>{''.join(children)}</{name}>"


def document(root: str, children: Iterable[str], status: int = 200, headers: Headers = ()) -> Response:
    """An answer with one root element."""
    text = f"{_HEAD}<{root} xmlns='{NAMESPACE}'>{''.join(children)}</{root}>"
    return Response(status, text.encode(), headers, CONTENT_TYPE)


def trouble(code: int, name: str, message: str) -> ApiError:
    """An error with a code of the XML API's own."""
    return ApiError(code, message, reason=f"xml:{name}")


def answering(handler: Handler) -> Handler:
    """Errors of a handler are told as XML; that the daemon stops while a body is on its way to disk, too."""

    @wraps(handler)
    async def told(self: Any, request: Request) -> Response:
        try:
            return await handler(self, request)
        except ApiError as error:
            return _error(error)
        except Discarded:
            return _error(ApiError(503, "The stand-in is stopping."))

    return told


def _error(error: ApiError) -> Response:
    if error.code == 304:
        return Response(304, headers=error.headers)
    name = error.reason.removeprefix("xml:") if error.reason.startswith("xml:") else _CODES.get(error.code, "")
    name = name or ("InvalidArgument" if error.code < 500 else "InternalError")
    children = [element("Code", name), element("Message", _MESSAGES.get(name, error.message))]
    if name in _MESSAGES and error.message != _MESSAGES[name]:
        children.append(element("Details", error.message))
    body = f"{_HEAD}<Error>{''.join(children)}</Error>"
    return Response(error.code, body.encode(), error.headers, CONTENT_TYPE)


async def parsed(request: Request, limit_bytes: int = 2 << 20) -> ElementTree.Element:
    """The body as XML. Raises ApiError 400; declarations of entities are refused, as they can grow without end."""
    from xml.etree import ElementTree

    raw = await request.read(limit_bytes)
    try:
        text = raw.decode("utf-8-sig")
        if "<!" in re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL):
            raise ValueError
        return ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))
    except (ValueError, ElementTree.ParseError):
        text = "The XML you provided was not well-formed or did not validate against our published schema."
        raise trouble(400, "MalformedXML", text) from None


def local_name(node: ElementTree.Element) -> str:
    """An element's name without its namespace, which clients may leave out."""
    return node.tag.rpartition("}")[2]


def etag(record: Record) -> str:
    """The XML API's tag of a generation: its MD5 in hexadecimal, else the JSON API's tag."""
    return b64decode(record.md5).hex() if record.md5 else record.etag


def time(text: str) -> str:
    """A time as lists show it: milliseconds."""
    return re.sub(r"(\.\d{3})\d*Z$", r"\1Z", text)

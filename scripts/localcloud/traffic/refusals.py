"""Refusals as the API of an operation writes them: JSON with or without reasons, XML, or a registry's own."""

from __future__ import annotations

from html import escape

from scripts.localcloud.traffic.faults import Fault
from scripts.localcloud.web import ApiError, Headers, Response

_RATE = (
    "The object exceeded the rate limit for object mutation operations (create, update, and delete). "
    "Please reduce your request rate. See https://cloud.google.com/storage/docs/gcs429."
)
_DENIED = "The caller does not have permission, or the resource does not exist."
_QUOTA = "The quota of the project for Cloud Storage is exceeded."
_STORAGE = {
    403: (_DENIED, "forbidden"),
    503: ("We encountered an internal error. Please try again.", "backendError"),
    429: (_RATE, "rateLimitExceeded"),
    412: ("At least one of the pre-conditions you specified did not hold.", "conditionNotMet"),
}
_OTHER = {
    403: "The caller does not have permission",
    503: "The service is currently unavailable.",
    429: "Quota exceeded for quota metric 'Requests' and limit 'Requests per minute'.",
    412: "Precondition check failed.",
}
_XML = {403: "AccessDenied", 503: "ServiceUnavailable", 429: "SlowDown", 412: "PreconditionFailed"}
_REGISTRY = {403: "DENIED", 503: "UNAVAILABLE", 429: "TOOMANYREQUESTS", 412: "DENIED"}


def refusal(code: int, operation: str, fault: Fault) -> Response:
    """The answer with this status that the operation's API would give."""
    headers: Headers = () if fault.retry_after_s is None else (("retry-after", str(fault.retry_after_s)),)
    quota = fault.kind == "403-quota"
    text = _QUOTA if quota else _OTHER[code]
    message, reason = (_QUOTA, "quotaExceeded") if quota else _STORAGE[code]
    if operation.startswith(("storage.xml.", "upstream.blobs.")):
        named = "QuotaExceeded" if quota else _XML[code]
        error = f"<Error><Code>{named}</Code><Message>{escape(message, quote=False)}</Message></Error>"
        body = f"<?xml version='1.0' encoding='UTF-8'?>{error}".encode()
        return Response(code, body, headers, "application/xml; charset=UTF-8")
    if operation.startswith("upstream.ollama."):
        return Response.of_json({"errors": [{"code": _REGISTRY[code], "message": text}]}, code, headers)
    if operation.startswith("upstream."):
        return Response.of_json({"error": text}, code, headers)
    if not operation.startswith("storage."):
        return Response.of_json(ApiError(code, text).body(), code, headers)
    told = ApiError(code, message, reason).body()
    if code == 429 or quota:
        told["error"]["errors"][0]["domain"] = "usageLimits"
    return Response.of_json(told, code, headers)

"""Notification configurations of buckets: kept and given back. Nothing is sent, as there is no Pub/Sub here."""

from __future__ import annotations

from typing import Any

from scripts.localcloud.storage.kept import Kept
from scripts.localcloud.storage.store import Store
from scripts.localcloud.web import ApiError, Request, Response, Route

_ALL = "/storage/v1/b/{bucket}/notificationConfigs"
_ONE = _ALL + "/{notification}"
_EVENTS = ("OBJECT_FINALIZE", "OBJECT_METADATA_UPDATE", "OBJECT_DELETE", "OBJECT_ARCHIVE")
_TOPIC = "//pubsub.googleapis.com/projects/"
_CHOSEN = ("topic", "payload_format", "event_types", "custom_attributes", "object_name_prefix")


class Notifications:
    """The notification routes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept = Kept(store.context.db, "notification")

    def routes(self) -> list[Route]:
        return [
            Route("GET", _ALL, self._list, "storage.notifications.list"),
            Route("POST", _ALL, self._create, "storage.notifications.insert"),
            Route("GET", _ONE, self._get, "storage.notifications.get"),
            Route("DELETE", _ONE, self._delete, "storage.notifications.delete"),
        ]

    async def _list(self, request: Request) -> Response:
        bucket = self._store.bucket(request.params["bucket"]).name
        items = [_shown(each, request) for each in self._kept.all(bucket)]
        return Response.of_json({"kind": "storage#notifications", **({"items": items} if items else {})})

    async def _create(self, request: Request) -> Response:
        body = await request.json_object()
        bucket = self._store.bucket(request.params["bucket"]).name
        chosen = {key: body[key] for key in _CHOSEN if body.get(key) is not None}
        topic = chosen.get("topic")
        if not isinstance(topic, str) or not topic.startswith(_TOPIC) or "/topics/" not in topic:
            text = f"Invalid Google Cloud Pub/Sub topic: {str(topic)[:200]!r}; expected {_TOPIC}PROJECT/topics/TOPIC"
            raise ApiError(400, text, "invalid")
        if chosen.get("payload_format") not in ("JSON_API_V1", "NONE"):
            raise ApiError(400, "Invalid payload_format; expected JSON_API_V1 or NONE", "invalid")
        strange = [each for each in chosen.get("event_types") or [] if each not in _EVENTS]
        if strange:
            raise ApiError(400, f"Invalid event_types: {strange[:3]}; expected {', '.join(_EVENTS)}", "invalid")
        with self._store.context.db.transaction():
            taken = [int(each["id"]) for each in self._kept.all(bucket)]
            number = str(max(taken, default=0) + 1)
            document = {"kind": "storage#notification", "id": number, "bucket": bucket, "etag": number, **chosen}
            self._kept.put(bucket, number, document)
        return Response.of_json(_shown(document, request))

    async def _get(self, request: Request) -> Response:
        return Response.of_json(_shown(self._found(request), request))

    async def _delete(self, request: Request) -> Response:
        found = self._found(request)
        self._kept.drop(found["bucket"], found["id"])
        return Response(204)

    def _found(self, request: Request) -> dict[str, Any]:
        bucket, key = self._store.bucket(request.params["bucket"]).name, request.params["notification"]
        found = self._kept.find(bucket, key)
        if found is None:
            raise ApiError(404, f"Notification config {key[:100]!r} not found in bucket {bucket}", "notFound")
        return found


def _shown(document: dict[str, Any], request: Request) -> dict[str, Any]:
    bucket, key = document["bucket"], document["id"]
    link = f"{request.base_url}/storage/v1/b/{bucket}/notificationConfigs/{key}"
    return {**{name: value for name, value in document.items() if name != "bucket"}, "selfLink": link}

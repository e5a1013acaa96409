"""Large objects made of parts: each part an object of its own, sent as it lies in memory, then composed server-side.

Cloud Storage composes up to 32 objects into one without moving a byte ("Composite objects"); more become a tree.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from scripts.cloud.storage_calls import TIMEOUT_S
from scripts.cloud.storage_objects import FIELDS, WRITER, Crc32c, ObjectInfo, Pieces, of_blob, of_json
from scripts.errors import Conflict

if TYPE_CHECKING:
    from scripts.cloud.storage import Bucket

MAX_SOURCES = 32
_BYTES = "application/octet-stream"


def create_part(bucket: Bucket, name: str, data: Pieces) -> ObjectInfo:
    """Write bytes under a name that nothing has yet, without copying them; the very same bytes there count as written.

    Raises Conflict when other bytes are there.
    """

    def post(client: Any, http: Any) -> ObjectInfo:
        from google.api_core.exceptions import from_http_response

        base = client._connection.get_api_base_url_for_mtls()
        query = f"uploadType=media&ifGenerationMatch=0&fields={FIELDS}&name={quote(name, safe='')}"
        url = f"{base}/upload/storage/v1/b/{quote(bucket.name, safe='')}/o?{query}"
        headers = {"content-type": _BYTES, "content-length": str(len(data))}
        answer = http.post(url, data=data or b"", headers=headers, timeout=TIMEOUT_S, allow_redirects=False)
        if answer.status_code != 200:
            raise from_http_response(answer)  # type: ignore[no-untyped-call]
        return of_json(answer.json())

    try:
        return bucket.send("write", name, post)
    except Conflict:
        found = bucket.stat(name)
        checksum = Crc32c()
        for piece in data:
            checksum.update(piece)
        if found is None or (found.size_bytes, found.crc32c) != (len(data), checksum.text()):
            raise
        return found


def compose(bucket: Bucket, name: str, parts: Sequence[ObjectInfo], *, generation: int = 0) -> ObjectInfo:
    """One object of up to 32 parts, of exactly these generations, if the name's live generation is this one (0: none).

    Raises Conflict when it is another, NotFound when a part is gone.
    """
    writer = secrets.token_hex(12)

    def make(of: Any) -> ObjectInfo:
        blob = of.blob(name)
        blob.content_type, blob.metadata = _BYTES, {WRITER: writer}
        sources = [of.blob(part.name, generation=part.generation) for part in parts]
        blob.compose(sources, if_generation_match=generation, timeout=TIMEOUT_S, retry=None)
        return of_blob(blob)

    try:
        return bucket.call("compose", name, make)
    except Conflict as error:
        return bucket.own(name, writer, "", error)


def compose_all(
    bucket: Bucket, name: str, parts: Sequence[ObjectInfo], between: Callable[[int, int], str]
) -> ObjectInfo:
    """One object of any number of parts, through a tree of objects of 32 each; the name must not exist yet.

    between: the name of an object of the tree from its first and after its last byte. What an interrupted tree left
    under such a name is replaced. Raises Conflict when `name` exists.
    """
    level = list(parts)
    while len(level) > MAX_SOURCES:
        start, following = 0, []
        for first in range(0, len(level), MAX_SOURCES):
            group = level[first : first + MAX_SOURCES]
            end = start + sum(part.size_bytes for part in group)
            following.append(group[0] if len(group) == 1 else _replaced(bucket, between(start, end), group))
            start = end
        level = following
    return compose(bucket, name, level)


def _replaced(bucket: Bucket, name: str, parts: Sequence[ObjectInfo]) -> ObjectInfo:
    try:
        return compose(bucket, name, parts)
    except Conflict:
        found = bucket.stat(name)
        return compose(bucket, name, parts, generation=found.generation if found is not None else 0)

"""The request log on its own: how much it keeps, and what it reads out of a call."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from scripts.localcloud.traffic.calls import COLUMNS, Call, Names, account_of, instance_of, row
from scripts.localcloud.traffic.log import RequestLog
from scripts.localcloud.traffic.queries import Query
from scripts.localcloud.web import Request, Response


async def _nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}


def _request(query: dict[str, str] | None = None, **headers: str) -> Request:
    fields = {key.replace("_", "-"): value for key, value in headers.items()}
    return Request("POST", "/x", query or {}, {}, fields, "test", _nothing)


def _call(number: int) -> Call:
    call = Call("storage.objects.get", _request(), float(number), 0.0)
    call.status = 200
    return call


def test_the_newest_are_kept(tmp_path: Path) -> None:
    async def run() -> None:
        log = RequestLog(tmp_path / "requests.db", Names(), kept=5)
        for number in range(12):
            log.add(_call(number))
            if number % 4 == 0:
                await log.find(Query.of({}, 0))
        found = await log.find(Query.of({"order": "oldest"}, 0))
        assert [call["time"][17:19] for call in found["requests"]] == ["07", "08", "09", "10", "11"]
        assert len(log) == 5
        await log.close()
        again = RequestLog(tmp_path / "requests.db", Names(), kept=5)
        assert len(again) == 5
        await again.close()

    asyncio.run(run())


def test_what_was_added_is_written_without_being_asked_for(tmp_path: Path) -> None:
    async def run() -> None:
        log = RequestLog(tmp_path / "requests.db", Names())
        log.add(_call(1))
        for _ in range(3000):
            await asyncio.sleep(0.01)
            if log._last == 1:
                break
        assert log._last == 1
        await log.close()

    asyncio.run(run())


def test_what_an_answer_tells_of_its_object() -> None:
    call = Call("storage.objects.insert", _request({"name": "a"}), 1.5, 0.0)
    call.status = 200
    call.answered(Response.of_json({"bucket": "b", "name": "a", "generation": "7", "metadata": {"generation": "8"}}))
    told = dict(zip(COLUMNS, row(call, Names()), strict=True))
    assert (told["at"], told["bucket"], told["object"], told["generation"]) == (1_500_000, "b", "a", "7")
    call.status = 404
    assert dict(zip(COLUMNS, row(call, Names()), strict=True))["generation"] == ""


def test_who_calls() -> None:
    assert account_of(_request()) == "anonymous"
    assert account_of(_request({"X-Goog-Credential": "a@b.c/20260101/auto/storage/goog4_request"})) == "a@b.c"
    assert account_of(_request(authorization="Bearer stand-in.a@b.c")) == "a@b.c"
    assert account_of(_request(authorization="Bearer x.!.y")) == "unreadable"
    assert account_of(_request(authorization="Basic")) == "unreadable"
    assert instance_of(_request(user_agent="modelshelf/0.1 instance/svc-00001-abc gcloud-python/3")) == "svc-00001-abc"
    assert instance_of(_request(user_agent="gcloud-python/3")) == ""


def test_a_call_that_the_end_cut_off_is_dropped(tmp_path: Path) -> None:
    async def run() -> None:
        log = RequestLog(tmp_path / "requests.db", Names())
        await log.close()
        log.add(_call(1))
        assert (log.dropped, log._waiting, log._timer) == (1, [], None)

    asyncio.run(run())

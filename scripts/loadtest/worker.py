"""One process of the driver: sends its share of the requests when they are due, and tells what came of them.

Reads a Job as one line of JSON on stdin, says that it is ready, reads when to begin (seconds since the epoch), and ends
when stdin does: a driver that was killed leaves no load behind. Writes one line of JSON for each second of the test,
once all its requests are answered, and a last one with the sums.
Latency counts from the moment at which a request was due, not from when it was sent: a server that stalls cannot hide
behind requests that waited for it (coordinated omission).
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from scripts.loadtest.histogram import Histogram
from scripts.loadtest.schedule import Schedule, Stage
from scripts.settings.runtime import INSTANCE_HEADER

if TYPE_CHECKING:
    import aiohttp

GIVE_UP_S = 1.0  # a generator that is so late at the end leaves the rest unsent
_BURST = 32
_SPARE_FILES = 64
_MOST_CONNECTIONS = 8192

Tell = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Job:
    """What a process does; first and step are its share of the schedule's requests."""

    url: str
    method: str
    headers: Mapping[str, str]
    body: str
    stages: tuple[Stage, ...]
    warm_up_s: float
    first: int
    step: int
    timeout_s: float

    def as_json(self) -> str:
        """The job as one line."""
        return json.dumps(asdict(self))

    @staticmethod
    def of_json(text: str) -> Job:
        """The inverse of as_json."""
        fields = json.loads(text)
        return Job(**{**fields, "stages": tuple(Stage(**stage) for stage in fields["stages"])})


@dataclass
class Answers:
    """What came of some of the requests: latencies of all of them, and the kinds of those that failed."""

    latency: Histogram = field(default_factory=Histogram)
    errors: Counter[str] = field(default_factory=Counter)

    def count(self, latency_s: float, problem: str) -> None:
        """One more was answered, or failed."""
        self.latency.record(latency_s)
        if problem:
            self.errors[problem] += 1

    def as_json(self) -> dict[str, Any]:
        return {"latency": self.latency.coded(), "errors": dict(self.errors)}


class Second:
    """The requests that were due within one second of the measurement; open until the last of them is answered."""

    def __init__(self) -> None:
        self.answers = Answers()
        self.due = 0
        self.open = 0
        self.complete = False


class Worker:
    """Sends one job's requests from a moment on (seconds since the epoch); tell is given the lines, one at a time."""

    def __init__(self, job: Job, start_at_s: float, tell: Tell) -> None:
        self._job = job
        self._start_at_s = start_at_s
        self._tell = tell
        self._clock = time.monotonic
        self._schedule = Schedule(job.stages, job.warm_up_s)
        self._seconds: dict[int, Second] = {}
        self._instances: dict[str, Answers] = {}
        self._lag = Histogram()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sent_in_time = 0
        self._unsent = 0
        self._peak = 0
        self._began = 0.0

    async def run(self) -> None:
        """Send everything, wait for the answers, tell the sums."""
        import aiohttp

        limit = connections()
        timeout = aiohttp.ClientTimeout(total=self._job.timeout_s)
        connector = aiohttp.TCPConnector(limit=limit, keepalive_timeout=60.0)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False,
            trust_env=not self._job.url.startswith("http://"), headers=self._job.headers,
        ) as session:  # fmt: skip
            self._began = self._clock() + self._start_at_s - time.time()
            await self._send_all(session)
            if self._tasks:
                await asyncio.wait(self._tasks)
        self._tell({
            "end": True, "lag": self._lag.coded(), "sent_in_time": self._sent_in_time, "unsent": self._unsent,
            "peak_in_flight": self._peak, "connections": limit,
            "instances": {name: answers.as_json() for name, answers in self._instances.items()},
        })  # fmt: skip

    async def _send_all(self, session: aiohttp.ClientSession) -> None:
        end = self._began + self._schedule.duration_s
        current, burst = -1, 0
        second: Second | None = None
        for due_s in self._schedule.due_s(self._job.first, self._job.step):
            due = self._began + due_s
            wait_s = due - self._clock()
            burst = 0 if wait_s > 0 else burst + 1
            if wait_s > 0 or burst % _BURST == 0:
                await asyncio.sleep(max(wait_s, 0.0))
            number = int(due_s - self._job.warm_up_s) if due_s >= self._job.warm_up_s else -1
            if number != current:
                self._turn(current)
                current, second = number, Second() if number >= 0 else None
                if second is not None:
                    self._seconds[number] = second
            if second is not None:
                second.due += 1
                if self._clock() > end + GIVE_UP_S:
                    self._unsent += 1
                    continue
                second.open += 1
            self._begin(session, due, number, second)
        self._turn(current)

    def _begin(self, session: aiohttp.ClientSession, due: float, number: int, second: Second | None) -> None:
        task = asyncio.create_task(self._send(session, due, number, second))
        self._tasks.add(task)
        self._peak = max(self._peak, len(self._tasks))
        task.add_done_callback(self._tasks.discard)

    async def _send(self, session: aiohttp.ClientSession, due: float, number: int, second: Second | None) -> None:
        began = self._clock()
        problem, instance = await _exchange(session, self._job)
        ended = self._clock()
        if second is None:
            return
        self._lag.record(began - due)
        self._sent_in_time += began < self._began + self._schedule.duration_s
        second.answers.count(ended - due, problem)
        second.open -= 1
        if instance:
            if instance not in self._instances:
                self._instances[instance] = Answers()
            self._instances[instance].count(ended - due, problem)
        self._close(number)

    def _turn(self, number: int) -> None:
        """No further requests fall due in this second."""
        if number in self._seconds:
            self._seconds[number].complete = True
            self._close(number)

    def _close(self, number: int) -> None:
        second = self._seconds[number]
        if second.complete and second.open == 0:
            self._tell({"second": number, "due": second.due, **second.answers.as_json()})
            del self._seconds[number]


async def _exchange(session: aiohttp.ClientSession, job: Job) -> tuple[str, str]:
    """One request: what was wrong with it ("" = nothing), and the instance that answered ("" = it did not say)."""
    import aiohttp

    try:
        async with session.request(job.method, job.url, data=job.body or None, allow_redirects=False) as answer:
            await answer.read()
            return ("" if 200 <= answer.status < 300 else f"HTTP {answer.status}"), answer.headers.get(
                INSTANCE_HEADER, ""
            )
    except TimeoutError:
        return f"no answer within {job.timeout_s:g} s", ""
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return getattr(error, "strerror", None) or type(error).__name__, ""


def connections() -> int:
    """How many connections a process may hold open; the limit of open files is raised as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_CONNECTIONS + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return _MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, soft - _SPARE_FILES)


def main() -> None:
    """Be one process of the driver."""
    import aiohttp  # noqa: F401 (whoever is ready has it)

    job, loop = Job.of_json(sys.stdin.readline()), _loop()

    def tell(line: Mapping[str, Any]) -> None:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    tell({"ready": True})
    start_at_s = float(sys.stdin.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)  # requests leave hardly any cycles; looking for them cost 7 % (2026-11-30)
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(Worker(job, start_at_s, tell).run())


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(1)


def _loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    made: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return made


if __name__ == "__main__":
    main()

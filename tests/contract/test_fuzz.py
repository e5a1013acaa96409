"""Hostile requests to every route: no answer is a 5xx, a traceback or none at all, and what was stored stays intact.

It always sends the same requests, and `nox -t full` many more, so that the same code has the same verdict on every
machine. MODELSHELF_FUZZ_SEED=new has `nox -t full` send ones that there have not been, and a failure says which.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from scripts.localcloud.web import Route
from tests.contract import fuzz_protocols
from tests.contract.fuzz_support import Call, bomb, call, described, judge, pick, send
from tests.contract.fuzz_world import DANGEROUS, World, explore, open_world, root_seed, routes
from tests.contract.run_support import until

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]
VERBS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
SWEEPS = 5
# Buffers of a few large bodies; a leak of thousands of requests would be more.
MOST_RSS_KIB = 500_000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    opened = open_world(tmp_path_factory.mktemp("fuzz") / "root")
    yield opened
    opened.standin.stop()


@pytest.fixture(scope="module")
def every_route() -> list[Route]:
    found = [route for route in routes() if route.operation not in DANGEROUS]
    assert len(found) > 150
    return found


def hostile_to(world: World, route: Route, rnd: Random) -> None:
    """One hostile request to a route, at times with a method that it does not have."""
    verb = route.method if route.method != "*" else pick(rnd, VERBS)
    if not rnd.randrange(20):
        verb = pick(rnd, [*VERBS, "TRACE", "FOO"])
    world.ask(call(rnd, verb, route.pattern, route.operation))


def hostile_bytes(world: World, rnd: Random) -> None:
    """Bytes that are no request, and then silence."""
    raw = fuzz_protocols.spoiled(rnd)
    judge(world.port, raw, send(world.port, raw, end=True), whole=False)


def unknown_method(world: World, rnd: Random) -> None:
    """A call of any method that Google's APIs have, most of which are not imitated."""
    method = pick(rnd, list(described().values()))
    world.ask(call(rnd, method.verb, method.path, method.id))


def test_every_route_answers_hostile_requests(world: World, every_route: list[Route]) -> None:
    for route in every_route:
        explore(lambda rnd, route=route: hostile_to(world, route, rnd), 20, f"{route.method} {route.pattern}")
    assert world.sent >= 20 * len(every_route)


def test_methods_of_google_that_are_not_there(world: World) -> None:
    explore(lambda rnd: unknown_method(world, rnd), 800)


def test_other_protocols_of_storage(world: World) -> None:
    explore(lambda rnd: world.ask(fuzz_protocols.storage(rnd, world.sessions)), 2000)


def test_bytes_that_are_no_request(world: World) -> None:
    explore(lambda rnd: hostile_bytes(world, rnd), 2000)


@pytest.mark.parametrize("path", ["/v2/entries:list", "/apis/serving.knative.dev/v1/namespaces/fuzz/services"])
def test_a_small_body_that_unpacks_to_a_large_one(world: World, path: str) -> None:
    headers = (("content-type", "application/json"), ("content-encoding", "gzip"))
    assert world.ask(Call("POST", path, headers, bomb())).status == 413
    assert resident_kib(world) < MOST_RSS_KIB


def test_clients_that_send_half_a_request_and_wait(world: World) -> None:
    halves = (
        b"GET / HTTP/1.1\r\nHost: loc",
        b"PUT /fuzz-bucket/half HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx",
    )
    before = descriptors(world)
    with contextlib.ExitStack() as held:
        for number in range(300):
            wire = held.enter_context(socket.create_connection(("127.0.0.1", world.port), timeout=30))
            wire.sendall(halves[number % 2])
        assert world.ask(Call("GET", "/_local/health")).status == 200
        assert world.ask(Call("GET", "/run/sentinel/")).status == 200
    until(lambda: descriptors(world) <= before + 20)


def test_a_client_that_reads_nothing(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port), timeout=30) as wire:
        wire.sendall(b"GET /fuzz-bucket/big HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
        assert world.ask(Call("GET", "/_local/health")).status == 200


def descriptors(world: World) -> int:
    return len(os.listdir(f"/proc/{world.standin.process.pid}/fd"))  # noqa: PTH208 - counted, not looked at


def resident_kib(world: World) -> int:
    status = Path(f"/proc/{world.standin.process.pid}/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))


def intact(world: World) -> None:
    """Neither memory nor descriptors were lost, and the sentinels and all around are what they were."""
    assert resident_kib(world) < MOST_RSS_KIB
    until(lambda: descriptors(world) < 300)
    world.intact()


@pytest.mark.full
@pytest.mark.parametrize("sweep", range(SWEEPS))
def test_sweeps_over_all_routes(world: World, every_route: list[Route], sweep: int) -> None:
    seed = f"{root_seed()}/{sweep}"
    again = f"MODELSHELF_FUZZ_SEED={seed.partition('/')[0]} ./dev nox -s costly -- tests/contract/test_fuzz.py"
    print(f"the same again: {again}")
    for number, route in enumerate(Random(seed).sample(every_route, len(every_route))):
        each = f"{seed}/{number}"
        explore(lambda rnd, route=route: hostile_to(world, route, rnd), 40, each)
        explore(lambda rnd: unknown_method(world, rnd), 10, each)
        explore(lambda rnd: world.ask(fuzz_protocols.storage(rnd, world.sessions)), 40, each)
        explore(lambda rnd: hostile_bytes(world, rnd), 40, each)
    intact(world)


def test_what_was_stored_is_intact_after_all_of_it(world: World) -> None:
    intact(world)

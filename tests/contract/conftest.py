"""Google's own client against the stand-in."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RECORDINGS
from tests.contract import exchanges

_numbers = itertools.count(1)


_read: dict[Path, int] = {}


@pytest.fixture(autouse=True)
def _judged_by_schema(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a stand-in was asked and answered during a test must be as Google describes it (see test_schema.py)."""
    yield
    found = []
    for path in RECORDINGS:
        new, _read[path] = exchanges.read(path, _read.get(path, 0))
        found += new
    wrong = exchanges.failures(found)
    assert not wrong, "\n".join(["what the stand-in said is not what Google describes:", *wrong[:20]])


@pytest.fixture(scope="session")
def connect() -> Callable[[str], Any]:
    """Open a google-cloud-storage client on a stand-in's address."""

    def open_client(url: str, project: str = "demo") -> Any:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        return storage.Client(project=project, credentials=AnonymousCredentials(), client_options={"api_endpoint": url})

    return open_client


@pytest.fixture
def client(shared_standin: Any, connect: Callable[[str], Any]) -> Iterator[Any]:
    """A storage client on the module's stand-in."""
    opened = connect(shared_standin.url)
    yield opened
    opened.close()


@pytest.fixture
def bucket(client: Any) -> Any:
    """A fresh bucket without versioning."""
    return client.create_bucket(f"bucket-{next(_numbers)}", location="europe-west1")


@pytest.fixture
def versioned(client: Any) -> Any:
    """A fresh bucket with versioning."""
    made = client.bucket(f"versioned-{next(_numbers)}")
    made.versioning_enabled = True
    made.create(location="europe-west1")
    return made

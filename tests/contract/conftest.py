"""Google's own client against the stand-in."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

_numbers = itertools.count(1)


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

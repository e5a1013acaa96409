"""A bucket of its own for every test, on the module's stand-in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.conftest import StandIn
from tests.models.support import World, make_world


@pytest.fixture
def world(common_standin: StandIn, tmp_path: Path, request: pytest.FixtureRequest) -> World:
    """A fresh bucket, two upstream folders and a signer."""
    name = hashlib.sha256(f"{request.node.nodeid}{tmp_path}".encode()).hexdigest()[:20]
    return make_world(common_standin.url, tmp_path, f"models-{name}")

"""Staging, played against the stand-in: refused before the set-up, deployed after it; without it, the remedy."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import House

pytestmark = pytest.mark.process


def test_staging_is_rehearsed_with_the_literal_commands(fresh_house: House) -> None:
    house = fresh_house
    house.invoke("local.up")
    rehearsal = {"MODELSHELF_ENDPOINT": house.url}

    refused = house.invoke("deploy", "--env", "staging", code=3, **rehearsal)
    assert "local.provision --env staging" in refused.stderr
    assert house.request("/storage/v1/b?project=modelshelf-staging").get("items", []) == []

    house.invoke("local.provision", "--env", "staging", **rehearsal)
    house.invoke("local.provision", "--env", "staging", **rehearsal)
    first = house.invoke("deploy", "--env", "staging", **rehearsal)
    assert "rehearsal" in (first.stdout + first.stderr).lower()
    again = house.json("deploy", "--environment=staging", **rehearsal)
    assert (again["environment"], again["changed"], again["upstream_bytes"]) == ("staging", False, 0)
    assert again["instances"]
    assert all(instance["cache_hit"] for instance in again["instances"])
    house.json("status", "--env", "staging", **rehearsal)


def test_without_endpoint_and_credentials_the_remedy_is_told(house: House) -> None:
    for spelling in (("--env", "staging"), ("--environment=staging",)):
        refused = house.invoke("deploy", *spelling, code=4)
        assert "gcloud auth application-default login" in refused.stderr
        assert refused.stdout == ""


def test_an_endpoint_that_does_not_answer_is_told(house: House) -> None:
    gone = house.invoke("deploy", "--env", "staging", code=4, MODELSHELF_ENDPOINT=house.url)
    assert "local.up" in gone.stderr


def test_an_unknown_or_missing_environment_lists_the_known_ones(house: House) -> None:
    for arguments in (("deploy", "--env", "stagging"), ("deploy",)):
        refused = house.invoke(*arguments, code=3)
        assert "staging" in refused.stderr

"""Forms of single values that do not depend on a file; the others are in the table of bad files."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from scripts.settings.fields import Image, TimeZone


@pytest.fixture
def zones(tmp_path: Path) -> Iterator[Path]:
    """A folder that Python takes for the machine's zone database."""
    zoneinfo.ZoneInfo.clear_cache()
    zoneinfo.reset_tzpath([str(tmp_path / "zones")])
    yield tmp_path / "zones"
    zoneinfo.reset_tzpath()
    zoneinfo.ZoneInfo.clear_cache()


def test_without_a_zone_database_only_the_form_is_judged(zones: Path) -> None:
    adapter = TypeAdapter(TimeZone)
    assert adapter.validate_python("Europe/Paris") == "Europe/Paris"
    with pytest.raises(ValidationError, match="a time zone like UTC"):
        adapter.validate_python("../../etc/passwd")
    zones.mkdir()
    with pytest.raises(ValidationError, match="a time zone like UTC"):
        adapter.validate_python("Europe/Paris")


@pytest.mark.parametrize(
    "text",
    [
        "tabular", "tabular:local", "localhost:5000/a/tabular:v1.2_3", "us-docker.pkg.dev/cloudrun/container/hello",
        "europe-west1-docker.pkg.dev/p/r/tabular:t@sha256:" + "0" * 64, "example.com/a__b/c-d@sha256:" + "f" * 64,
    ],
)  # fmt: skip
def test_image_references(text: str) -> None:
    assert TypeAdapter(Image).validate_python(text) == text


@pytest.mark.parametrize(
    "text", ["", "a b", "a/", "/a", "a//b", "Upper", "a:", "a@sha256:12", "a:b:c", "https://x/a", "a\n"]
)
def test_what_is_no_image_reference(text: str) -> None:
    with pytest.raises(ValidationError, match="an image reference"):
        TypeAdapter(Image).validate_python(text)

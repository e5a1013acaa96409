"""The editors' schema is generated, fresh, and agrees with what loading accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from scripts.settings import schema
from scripts.settings.load import FOLDER, environments


def test_it_is_fresh() -> None:
    written = schema.FILE.read_text(encoding="utf-8")
    assert written == schema.schema(), f"environments/schema.json is out of date; run:\n  {schema.COMMAND}"


def test_it_can_be_written_anew(tmp_path: Path) -> None:
    path = schema.write(tmp_path / "schema.json")
    assert path.read_text(encoding="utf-8") == schema.schema()
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    described = json.loads(schema.schema())
    Draft202012Validator.check_schema(described)
    return Draft202012Validator(described)


@pytest.mark.parametrize("name", environments())
def test_every_environment_fits_and_names_it(validator: Draft202012Validator, name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    assert list(validator.iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        ((), "regoin", "europe-west1"),
        (("services", "tabular"), "concurrency", 0),
        (("services", "tabular"), "memory", "4GB"),
        (("cache",), "bucket", "Upper"),
        (("cache",), "on_miss", "pull"),
        (("models", 0), "kind", "onnx"),
        (("labels",), "Team", "x"),
    ],
)
def test_editors_see_what_loading_refuses(
    validator: Draft202012Validator, place: tuple[Any, ...], key: str, value: Any
) -> None:
    data = yaml.safe_load((FOLDER / "prod.yaml").read_text(encoding="utf-8"))
    section = data
    for part in place:
        section = section[part]
    section[key] = value
    assert list(validator.iter_errors(data))


def test_every_key_is_described() -> None:
    described = json.loads(schema.schema())
    sections = [described, *described["$defs"].values()]
    for section in sections:
        for name, field in section["properties"].items():
            assert field.get("description") or "$ref" in field, name

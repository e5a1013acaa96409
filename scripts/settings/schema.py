"""The JSON Schema of an environment file, for editors: `python -m scripts.settings.schema` writes it anew."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from scripts.settings import project
from scripts.settings.model import EnvironmentFile

FILE = project.ROOT / "environments" / "schema.json"
COMMAND = "./dev python -m scripts.settings.schema"


def schema() -> str:
    """The schema as JSON text (draft 2020-12), generated from the model."""
    generated = EnvironmentFile.model_json_schema()
    generated = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | _closed(generated)
    return json.dumps(generated, indent=2, ensure_ascii=False) + "\n"


def _closed(part: Any) -> Any:
    """Close mappings whose keys have a form: pydantic leaves them open for other keys."""
    if isinstance(part, list):
        return [_closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    closed = {key: _closed(each) for key, each in part.items()}
    return closed | {"additionalProperties": False} if "patternProperties" in closed else closed


def write(file: Path = FILE) -> Path:
    """Write the schema in one step (a new file moved into place); its path."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    fresh.write_text(schema(), encoding="utf-8")
    return fresh.replace(file)


if __name__ == "__main__":
    print(write().relative_to(project.ROOT))

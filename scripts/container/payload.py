"""Reads the body of POST /embed: {"texts": ["…", …]}. Every refusal names the place and what was expected."""

from __future__ import annotations

import json

from scripts.errors import BadInput

MAX_TEXTS = 256
MAX_TEXT_LENGTH = 32_768  # characters; every model here reads far fewer tokens than this gives
MAX_BODY_BYTES = 16 << 20

_EXAMPLE = 'Send JSON like {"texts": ["a cat", "a kitten"]}.'


def texts(body: bytes) -> list[str]:
    """The texts of a request's body; raises BadInput."""
    if not body.strip():
        raise BadInput("the body is empty, expected JSON", _EXAMPLE)
    try:
        found = json.loads(body)
    except RecursionError:
        raise BadInput("the body is nested too deeply", _EXAMPLE) from None
    except UnicodeDecodeError as error:
        raise BadInput(f"the body is not UTF-8 (byte {error.start})", _EXAMPLE) from None
    except json.JSONDecodeError as error:
        raise BadInput(
            f"the body is not JSON: line {error.lineno} column {error.colno}: {error.msg}", _EXAMPLE
        ) from None
    except ValueError as error:  # a number of thousands of digits
        raise BadInput(f"the body is not acceptable JSON: {error}", _EXAMPLE) from None
    if not isinstance(found, dict):
        raise BadInput(f"the body is {_kind(found)}, expected an object with texts", _EXAMPLE)
    if "texts" not in found:
        raise BadInput("texts is missing", _EXAMPLE)
    items = found["texts"]
    if not isinstance(items, list):
        raise BadInput(f"texts is {_kind(items)}, expected a list of strings", _EXAMPLE)
    if not items:
        raise BadInput("texts is empty, expected at least one text", _EXAMPLE)
    if len(items) > MAX_TEXTS:
        raise BadInput(f"texts has {len(items)} entries, at most {MAX_TEXTS} are allowed", "Send several requests.")
    return [_text(item, f"texts[{index}]") for index, item in enumerate(items)]


def _text(item: object, place: str) -> str:
    if not isinstance(item, str):
        raise BadInput(f"{place} is {_kind(item)}, expected a string", _EXAMPLE)
    if len(item) > MAX_TEXT_LENGTH:
        raise BadInput(f"{place} has {len(item)} characters, at most {MAX_TEXT_LENGTH} are allowed", "Split the text.")
    try:
        item.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"{place} has a lone surrogate at character {error.start}", "Send valid Unicode.") from None
    return item


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)

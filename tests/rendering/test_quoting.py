"""Any text survives: rendered, then read by a YAML reader, it is the same text."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.rendering.quoting import comment, quoted
from scripts.rendering.render import render_job, render_service
from scripts.settings.load import load

ANY_TEXT = st.text(st.characters(), max_size=60)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), ANY_TEXT)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(ANY_TEXT, inner, max_size=3)),
    max_leaves=6,
)
AWKWARD = [
    "", " ", "yes", "no", "on", "null", "~", "true", "0123", "1e3", "1:30", "0x1f", "-", "- a", "*alias", "&anchor",
    "!tag", "%x", "@x", "`x`", "#x", "a # b", "a: b", "{{ x }}", "{% x %}", "{a: 1}", "[a]", "'", '"', "\\", "\\n",
    "\n", "a\nb\n", "\r\n", "\t", "\0", "\x1b[0m", "\x7f", "\x85", "\u2028", "\u2029", "\ufeff", "\ufffe", "\uffff",
    "😀", "ü", "漢", "\ud800", "|", ">", "---", "...", "2026-01-01", "<<", "=", "?", ": ", "${HOME}", "$(x)", "é" * 999,
]  # fmt: skip


@pytest.mark.parametrize("text", AWKWARD, ids=ascii)
def test_awkward_texts(text: str) -> None:
    assert yaml.safe_load(f"key: {quoted(text)}\nnext: 1\n") == {"key": text, "next": 1}


@given(VALUES)
@settings(max_examples=150, deadline=None)
def test_any_value(value: Any) -> None:
    line = quoted(value)
    assert len(line.splitlines()) == 1
    read = yaml.safe_load(f"- {line}\n")[0]
    assert json.dumps(read) == json.dumps(value)


@given(st.lists(ANY_TEXT, min_size=3, max_size=3))
@settings(max_examples=25, deadline=None)
def test_any_text_survives_the_templates(texts: list[str]) -> None:
    described = load("staging")
    values = {f"V{place}": text for place, text in enumerate([*texts, *AWKWARD])}
    service = described.services["tabular"].model_copy(update={"env": values, "service_account": texts[0]})
    changed = described.model_copy(
        update={"services": {"tabular": service}, "labels": {"note": texts[1]}, "project": texts[2]}
    )
    rendered = render_service(changed)
    template = rendered["spec"]["template"]
    written = {each["name"]: each["value"] for each in template["spec"]["containers"][0]["env"]}
    assert values.items() <= written.items()
    assert template["spec"]["serviceAccountName"] == texts[0]
    assert (template["metadata"]["labels"]["note"], rendered["metadata"]["namespace"]) == (texts[1], texts[2])
    job = render_job(changed)["spec"]["template"]["spec"]["template"]["spec"]["containers"][0]
    assert values.items() <= {each["name"]: each["value"] for each in job["env"]}.items()


@given(ANY_TEXT)
@settings(max_examples=100, deadline=None)
def test_a_comment_stays_one_line(text: str) -> None:
    assert yaml.safe_load(f"# {comment(text)}\na: 1\n".encode("utf-8", "replace")) == {"a": 1}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"bytes", {1, 2}])
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        quoted(value)

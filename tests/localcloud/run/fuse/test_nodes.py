"""Nodes: one a generation, drafts by name, content that outlives its object while a name is remembered."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from scripts.localcloud.run.fuse.desk import Found
from scripts.localcloud.run.fuse.nodes import Draft, Handle, Nodes
from scripts.localcloud.run.fuse.wire import ROOT, Refusal


def found(folder: Path, generation: int, text: str) -> Found:
    body = folder / f"body-{generation}"
    body.write_text(text, encoding="utf-8")
    return Found(False, generation, len(text), str(body))


def test_a_new_generation_is_a_new_node(tmp_path: Path) -> None:
    nodes = Nodes(remember=False)
    one, two = found(tmp_path, 1, "one"), found(tmp_path, 2, "two")
    first = nodes.known("x", one)
    assert nodes.known("x", one) is first and nodes.known("x", two).id != first.id
    assert nodes.known("d", Found(True, 0, 0, "")) is nodes.known("d", Found(True, 0, 0, ""))
    assert nodes.generation("x", 2) is nodes.known("x", two) and nodes.generation("x", 3) is None


def test_what_the_kernel_forgets_is_gone(tmp_path: Path) -> None:
    nodes = Nodes(remember=False)
    node = nodes.known("x", found(tmp_path, 1, "one"))
    node.lookups = 3
    nodes.forget(node.id, 2)
    assert nodes[node.id] is node
    nodes.forget(node.id, 1)
    with pytest.raises(Refusal) as caught:
        nodes[node.id]
    assert caught.value.number == errno.ESTALE and nodes.generation("x", 1) is None
    nodes.forget(ROOT, 100)
    assert nodes[ROOT].folder


@pytest.mark.parametrize("remember", [True, False])
def test_content_is_kept_at_hand_while_names_are_remembered(tmp_path: Path, remember: bool) -> None:
    nodes = Nodes(remember)
    node = nodes.known("x", found(tmp_path, 1, "one"))
    node.content()
    nodes.rest(node)
    (tmp_path / "body-1").unlink()
    if remember:
        assert node.content() >= 0
        node.close()
    with pytest.raises(Refusal) as caught:
        node.content()
    assert caught.value.number == errno.ESTALE


def test_files_at_hand_have_an_end(tmp_path: Path) -> None:
    nodes = Nodes(remember=True)
    made = [nodes.known(f"n{number}", found(tmp_path, number, "x")) for number in range(1, 203)]
    for node in made:
        node.content()
        nodes.rest(node)
    assert [node.descriptor >= 0 for node in made] == [False] * 2 + [True] * 200
    for node in made:
        node.close()


def test_a_draft_hides_its_object_until_it_is_settled(tmp_path: Path) -> None:
    nodes = Nodes(remember=False)
    node = nodes.known("x", found(tmp_path, 1, "one"))
    draft = Draft(str(tmp_path), node.content())
    nodes.edit(node, draft)
    assert not draft.dirty and draft.size_bytes == 3 and nodes.drafts["x"] is node
    assert draft.write(memoryview(b"+"), 3) == 1 and draft.dirty and node.content() == draft.descriptor
    nodes.published(node, found(tmp_path, 2, "one+"))
    assert nodes.generation("x", 2) is node and nodes.generation("x", 1) is None
    node.handles.add(Handle(node, True))
    nodes.settled(node)
    assert nodes.drafts == {} and node.draft is None
    node.close()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["body-1", "body-2"]  # nothing staged is left

"""What old voxels mean after a change of the classes: mappings worked out by hand, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.label_changes import LabelChange, mapped, name_now
from nnactive_ext.planning.labels import change_of, read_operations

NAMES = {"background": 0, "organ": 1, "lesion": 2, "ignore": 3}
FOUR = {"background": 0, "a": 1, "b": 2, "c": 3, "d": 4, "ignore": 5}
EVERY = np.arange(6).reshape(1, 2, 3)
"""Each value of FOUR once."""


def _change(names: dict[str, int], *operations: str) -> LabelChange:
    return change_of(names, [operation.split() for operation in operations])


@pytest.mark.parametrize(
    ("operations", "after", "values"),
    [
        (["add v"], ["a", "b", "c", "d", "v"], [6, 1, 2, 3, 4, 6]),
        (["add v from b d"], ["a", "b", "c", "d", "v"], [0, 1, 6, 3, 6, 6]),
        (["add v from background a"], ["a", "b", "c", "d", "v"], [6, 6, 2, 3, 4, 6]),
        (["rename b w"], ["a", "w", "c", "d"], [0, 1, 2, 3, 4, 5]),
        (["merge b d into x"], ["a", "x", "c"], [0, 1, 2, 3, 2, 4]),
        (["merge d a into a"], ["a", "b", "c"], [0, 1, 2, 3, 1, 4]),
        (["merge a b c d into all"], ["all"], [0, 1, 1, 1, 1, 2]),
        (["split b into p q r"], ["a", "p", "c", "d", "q", "r"], [0, 1, 7, 3, 4, 7]),
        (["add v", "merge v a into w", "rename w z"], ["z", "b", "c", "d"], [5, 1, 2, 3, 4, 5]),
        (["rename a t", "rename b a", "rename t b"], ["b", "a", "c", "d"], [0, 1, 2, 3, 4, 5]),
        (["split a into p q", "merge p q into a"], ["a", "b", "c", "d"], [0, 5, 2, 3, 4, 5]),
        (["merge a b into m", "split m into a b"], ["a", "c", "d", "b"], [0, 5, 5, 2, 3, 5]),
    ],
)
def test_what_becomes_of_every_value(operations, after, values):
    change = _change(FOUR, *operations)
    assert change.after == {"background": 0, **{name: i for i, name in enumerate(after, 1)}, "ignore": len(after) + 1}
    assert mapped(EVERY, [change]).ravel().tolist() == values


@pytest.mark.parametrize(
    ("name", "operations", "now"),
    [
        ("organ", ["rename organ liver"], "liver"),
        ("lesion", ["merge organ lesion into tissue"], "tissue"),
        ("organ", ["split organ into p q"], "organ"),
        ("organ", ["add v from organ"], "organ"),
        ("random", ["rename organ liver"], "random"),
        ("background", ["add v"], "background"),
    ],
)
def test_what_a_class_is_called_afterwards(name, operations, now):
    assert name_now(name, [_change(NAMES, *operations)]) == now


@pytest.mark.parametrize(
    "operation",
    [
        "add organ",
        "add ORGAN",
        "add background",
        "add ignore",
        "add",
        "add v from",
        "add v of organ",
        "add v from nothing",
        "add v from ignore",
        "rename organ",
        "rename nothing v",
        "rename organ lesion",
        "rename background v",
        "rename organ ignore",
        "merge organ into v",
        "merge organ lesion v",
        "merge organ organ into v",
        "merge organ background into v",
        "merge organ nothing into v",
        "merge organ lesion into background",
        "split organ into v",
        "split organ v w",
        "split organ into v v",
        "split organ into v lesion",
        "split organ into organ v",
        "split background into v w",
        "delete organ",
        '"',
    ],
)
def test_what_cannot_be_done_is_refused(operation):
    with pytest.raises(NnActiveError, match="-labels"):
        change_of(NAMES, [operation.split()])


_NAMES = st.sampled_from(list("abcdefgh"))


@given(st.data())
def test_changes_done_one_by_one_are_the_same_as_together(data):
    """Also: values stay consecutive, ignore the highest, and background never becomes a class."""
    names, operations, changes = FOUR, [], []
    for _ in range(data.draw(st.integers(1, 5))):
        kind = data.draw(st.sampled_from(["add", "rename", "merge", "split"]))
        first, second, third = (data.draw(_NAMES) for _ in range(3))
        words = {
            "add": ["add", first, "from", second],
            "rename": ["rename", first, second],
            "merge": ["merge", first, second, "into", third],
            "split": ["split", first, "into", second, third],
        }[kind]
        try:
            change = change_of(names, [words])
        except NnActiveError:
            continue
        operations.append(words)
        changes.append(change)
        names = dict(change.after)
        assert sorted(names.values()) == list(range(len(names)))
        assert names["ignore"] == max(names.values())
    if not operations:
        return
    together = change_of(FOUR, operations)
    assert together.after == names
    np.testing.assert_array_equal(mapped(EVERY, changes), mapped(EVERY, [together]))
    assert together.mapping[0] in (0, names["ignore"])
    assert LabelChange.of(json.loads(json.dumps(together.content()))) == together


def test_a_value_that_never_was_is_refused():
    with pytest.raises(NnActiveError, match="7"):
        mapped(np.full((1, 1, 1), 7), [_change(NAMES, "add v")])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '["add v from organ", ["rename", "lesion", "big lesion"]]'),
        ("a.json", '{"changes": ["add v from organ", "rename lesion \\"big lesion\\""]}'),
        ("a.toml", 'changes = ["add v from organ", \'rename lesion "big lesion"\']'),
    ],
)
def test_a_file_with_several_changes(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    found = read_operations([str(tmp_path / name)])
    assert found == [["add", "v", "from", "organ"], ["rename", "lesion", "big lesion"]]
    assert list(change_of(NAMES, found).after) == ["background", "organ", "big lesion", "v", "ignore"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"changes": "add v"}', "[1]", '[["add", 1]]', '["add \\"v"]', "[", "\xff"])
def test_files_that_are_none(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(NnActiveError, match=r"a\.json"):
        read_operations([str(tmp_path / "a.json")])


def test_a_file_that_is_not_there():
    with pytest.raises(NnActiveError, match="add NAME"):
        read_operations(["nothing.json"])

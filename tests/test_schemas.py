"""Declared types and what JSON holds; every reader of the package declares what it expects."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_json, write_json
from nnactive_ext.schemas import Count, Share, Spacing, not_empty, numbered, of_text, one_of, parsed, typed

ROOT = Path(__file__).resolve().parent.parent
PIPES = {"training_server.py", "pace.py", "crops.py", "make_crop.py", "run_process.py", "slicer_app.py", "slicer_process.py"}
"""Modules that read JSON which another process of ours wrote to a pipe."""
OTHERS = {"schemas.py", "environment.py", "label_store.py", "pretrained.py", "slicer_script.py"}
"""The checker itself; installed metadata; copies of plain values; the script that runs in 3D Slicer without this package."""


class _Sized(TypedDict):
    size: tuple[Count, Count]


class Box(_Sized, total=False):
    name: str | None


@dataclass(frozen=True)
class Case:
    boxes: Mapping[str, Box]
    share: Share = 1.0
    ways: tuple[Literal["a", "b"], ...] = ()
    rows: Sequence[Annotated[list[int], not_empty]] = field(default_factory=list)


CASE = {
    "boxes": {"one": {"size": [1, 2], "name": None, "more": {"x": 1}}},
    "share": 0.5,
    "ways": ["a"],
    "rows": [[1]],
    "new": 3,
}


def test_a_value_becomes_what_is_declared():
    made = typed(Case, CASE)
    assert made == Case({"one": {"size": (1, 2), "name": None, "more": {"x": 1}}}, 0.5, ("a",), [[1]])  # type: ignore[typeddict-unknown-key]
    assert typed(Case, json.loads(json.dumps(asdict(made)))) == made


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        (Case, [], "no object"),
        (Case, {}, "boxes missing"),
        (Case, {"boxes": {"one": {}}}, "boxes: one: size missing"),
        (Case, {"boxes": {"one": {"size": [1]}}}, "boxes: one: size: [1] does not have 2 values"),
        (Case, {"boxes": {"one": {"size": [1, -2]}}}, "size: 1: -2 is not at least 0"),
        (Case, {"boxes": {"one": {"size": [1, 2], "name": 3}}}, "name: 3 is not a text"),
        (Case, {"boxes": {}, "share": 1.5}, "share: 1.5 is not between 0 and 1"),
        (Case, {"boxes": {}, "share": True}, "share: True is not a number"),
        (Case, {"boxes": {}, "ways": ["c"]}, "ways: 0: 'c' is not 'a' or 'b'"),
        (Case, {"boxes": {}, "rows": [[]]}, "rows: 0: it is empty"),
        (int, True, "whole number"),
        (int, 1.0, "whole number"),
        (int, 10**400, "more than 60 digits"),
        (float, math.nan, "finite"),
        (float, 10**400, "more than 60 digits"),
        (float, math.inf, "finite"),
        (str, "\ud800", "written"),
        (dict[str, int], {"a": None}, "a: None"),
        (Annotated[dict[str, int], numbered], {"x": 1}, "'x' is not a whole number"),
        (Annotated[str, one_of("a", "b")], "x" * 1000, "..."),
        (Spacing, [1.0, 1.0, 0.0], "2: 0.0 is not between"),
        (int | None, "x", "whole number"),
        (list[Any], {}, "no list"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(kind, value, says):
    with pytest.raises(ValueError, match=r"(?s).*") as caught:
        typed(kind, value)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 300


NO_JSON = [b"", b"  ", b"[" * 200_000, b"[" * 3000 + b"]" * 3000, b'{"a": 1, "a": 2}', b"\xff", b"{", b"9" * 5000, b"\0"]


def test_names_of_files_may_hold_bytes_that_are_no_utf8():
    assert typed(str, "Gr\udcf6\udcdfe") == "Gr\udcf6\udcdfe"


@pytest.mark.parametrize("text", NO_JSON)
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parsed(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["boxes", "size", "one", "share", "x"]), inner),
    max_leaves=8,
)


@given(json_values)
def test_any_json_is_read_or_refused(value):
    try:
        made = of_text(Case, json.dumps(value))
    except ValueError:
        return
    assert isinstance(made, Case)


def test_a_file_is_named_with_the_place_and_the_remedy(tmp_path):
    write_json(tmp_path / "a.json", {"boxes": {"one": {"size": [1, "2"]}}})
    with pytest.raises(NnActiveError, match=r"a\.json: damaged \(boxes: one: size: 1: '2' is not a whole number\)\. Do this\."):
        read_json(tmp_path / "a.json", Case, "Do this.")
    with pytest.raises(NnActiveError, match=r"b\.json: no such file\. Do that\."):
        read_json(tmp_path / "b.json", Case, lambda: "Do that.")


@cache
def _calls() -> list[tuple[str, Path, ast.Call]]:
    """All calls in files that speak of JSON: what is called, where, and the call."""
    found = []
    for folder in ("nnactive_ext", "trainers", "query_methods"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            if "read_json" in text or "json.load" in text:
                calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
                found += [
                    (ast.unparse(call.func), file, call) for call in calls if isinstance(call.func, ast.Name | ast.Attribute)
                ]
    return found


@pytest.mark.skipif(not (ROOT / "nnactive_ext").is_dir(), reason="needs the checkout")
def test_every_reader_of_json_declares_what_it_expects():
    least = {"read_json": 2, "read_json_if_any": 3}
    without = [f"{file.name}:{call.lineno}" for name, file, call in _calls() if len(call.args) < least.get(name, 0)]
    assert without == [], "give the kind of the content, as declared types (nnactive_ext.schemas)"
    by_itself = [(file, call) for name, file, call in _calls() if name in ("json.loads", "json.load")]
    others = [f"{file.name}:{call.lineno}" for file, call in by_itself if file.name not in PIPES | OTHERS]
    assert others == [], "read JSON with nnactive_ext.files.read_json, or of_text for what is no file"

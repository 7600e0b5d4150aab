"""Tables for terminals: no line is too long, no word of a cell is lost, and columns stand under their names."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import phantoms
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.pages.terminal import columns, listed_columns, paragraph, table
from nnactive_ext.planning.decisions import WARNING, Decisions, shown

BONES = ["left_posterior_cruciate_ligament_tibial_insertion", *(f"vertebra_L{i}" for i in range(1, 6)), "sacrum"]


def curve(classes) -> list[list[str]]:
    """The learning curve of four cycles: every number is another one."""
    heading = ["cycle", "patches", "voxels", "Dice", *classes]
    return [heading, *([str(cycle), *(f"{cycle}{i:02d}.5" for i in range(len(heading) - 1))] for cycle in range(4))]


@pytest.mark.parametrize("classes", [phantoms.ORGANS, BONES, [f"organ{i}" for i in range(30)]])
@pytest.mark.parametrize("width", [40, 60, 100])
def test_columns_of_numbers_that_do_not_fit_follow_below(classes, width):
    rows = curve(classes)
    text = table(rows, numbers=True, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert sorted(re.findall(r"\d\d\d\.5", text)) == sorted(cell for row in rows[1:] for cell in row[1:])
    blocks = text.split("\n\n")
    for block in blocks:
        assert any(line.startswith("cycle") for line in block.splitlines())
        assert [line.split()[0] for line in block.splitlines()[-4:]] == ["0", "1", "2", "3"]
    found = [cell for block in blocks for cell in block.splitlines()[-1].split()[1:]]
    assert found == rows[-1][1:], "in their order"


def test_a_name_stands_above_its_numbers_even_where_it_is_wrapped():
    lines = table(curve(BONES), numbers=True, width=60).split("\n\n")[0].splitlines()
    rule = next(i for i, line in enumerate(lines) if set(line) <= {"-", " "})
    ends = [found.end() for found in re.finditer("-+", lines[rule])]
    last = [found.end() for found in re.finditer(r"\S+", lines[-1])]
    assert ends[1:] == last[1:]
    long = [line[ends[3] : ends[4]].strip() for line in lines[:rule]]
    assert "".join(long) == BONES[0]
    assert lines[rule - 1].split()[:4] == ["cycle", "patches", "voxels", "Dice"]


def test_what_fits_is_one_table():
    rows = [["class", "Dice"], ["liver", "91.2"], ["aorta", "8.0"]]
    assert table(rows, numbers=True, width=60) == "class  Dice\n-----  ----\nliver  91.2\naorta   8.0"


@pytest.mark.parametrize("width", [40, 60, 100])
@pytest.mark.parametrize(
    "why",
    [
        "median of the structures given: " + ", ".join(phantoms.ORGANS),
        "read from /data/a_hospital_with_a_long_name/of_patients/imagesTr_without_any_space/and_more_of_it.nii.gz",
    ],
)
def test_cells_of_text_are_wrapped_and_nothing_is_lost(why, width):
    rows = [
        ("what", "decided", "why"),
        ("query patch (z, y, x)", "44 x 16 x 16 mm", why),
        ("", "11x8x8 voxels", "in each case"),
    ]
    lines = table(rows, width=width).splitlines()
    assert max(map(len, lines)) <= width
    starts = [found.start() for found in re.finditer("-+", next(line for line in lines if set(line) <= {"-", " "}))]
    third = "".join(line[starts[2] :].strip().replace(" ", "") for line in lines if not set(line) <= {"-", " "})
    assert third == ("why" + why + "in each case").replace(" ", "")


@given(st.lists(st.lists(st.text("ab_/ ", max_size=60), min_size=3, max_size=3), min_size=1, max_size=4), st.integers(40, 100))
def test_whatever_is_in_it(rows, width):
    text = table(rows, width=width)
    assert max(map(len, text.splitlines()), default=0) <= width
    assert sorted(re.sub(r"[\s-]", "", text)) == sorted(re.sub(r"[\s-]", "", "".join(map("".join, rows))))


@pytest.mark.parametrize("width", [40, 100])
def test_a_list_of_names_and_a_paragraph(width):
    name, text = "a_method_of_another_package_with_a_long_name", "Words that are many. " * 12
    page = listed_columns([(name, [text, "[somebody, a journal]"]), ("short", ["One."])], width)
    assert max(map(len, page.splitlines())) <= width
    assert page.count("many.") == 12
    assert max(map(len, paragraph(text, width=width).splitlines())) <= width


@pytest.mark.parametrize(
    ("given", "expected"), [({}, 100), ({"COLUMNS": "60"}, 60), ({"COLUMNS": "240"}, 100), ({"COLUMNS": "5"}, 40)]
)
def test_the_width_is_that_of_the_terminal_and_100_elsewhere(given, expected):
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | given
    code = "from nnactive_ext.pages.terminal import columns; print(columns())"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == expected
    assert 40 <= columns() <= 100


def test_every_method_is_listed_within_the_terminal(monkeypatch):
    from nnactive_ext.loop.tables import method_list

    for width in (60, 100, 160):
        monkeypatch.setenv("COLUMNS", str(width))
        assert max(map(len, method_list().splitlines())) <= min(width, 100)


def test_warnings_of_planning_come_last_and_once():
    decisions = Decisions()
    decisions.add("query patch", "11x8x8 voxels", "as asked for")
    for organ in phantoms.ORGANS:
        decisions.warn(f"coarse tolerance for {organ}", "4 mm is more than a third of its size; see -tolerance")
    decisions.warn("few cycles", "fewer than 5")
    decisions.add("seed", "12345", "of the patches")
    rows = shown(decisions)
    assert [what for what, _, _ in rows] == ["query patch", "seed", WARNING, WARNING]
    assert "spleen" in rows[2][1]
    assert "12 more" in rows[2][2]
    assert rows[3][1:] == ("few cycles", "fewer than 5")

"""The benchmark of relabelling runs, tells what it measured, and sees when a refresh is not a full preprocessing."""

from __future__ import annotations

import json
import pickle
import random

import pytest

from benchmarks import refresh
from benchmarks.relabelling import Relabelled


@pytest.mark.slow
def test_a_whole_run(tiny, quick_planning, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{refresh.BEGIN}\nreplaced\n{refresh.END}\nafter\n")
    refresh.main(["--dataset", str(tiny), "--repeats", "2", "--json", str(tmp_path / "n.json"), "--markdown", str(page)])
    answer = json.loads((tmp_path / "n.json").read_text())
    assert answer["differences"] == []
    assert answer["pool"] == 6
    measured = [(row["what"], row["cases"], len(row["seconds"])) for row in answer["rows"]]
    assert measured == [*(("refresh", k, 2) for k in (1, 2, 4, 6)), ("full", 6, 2), ("nnunet", 6, 2)]
    assert answer["fit"].keys() == {"a", "b", "r2", "largest_residual"}
    assert len(answer["load"]) in (0, 2)
    printed = capsys.readouterr().out
    assert printed.count("\n| refresh | ") == 4
    assert "equals that of a full preprocessing" in printed
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "replaced" not in text
    assert printed.strip() in text


def test_what_a_refresh_has_not_done_is_seen(planned, tmp_path):
    (tmp_path / "others").mkdir()
    relabelled = Relabelled(planned, random.Random(0), tmp_path / "others")
    first, second, *_ = relabelled.pool
    relabelled.relabel([first, second])
    forgotten = relabelled.differences()
    for case in (first, second):
        assert {f"{case}_seg.b2nd", f"{case}.pkl", f"gt_segmentations/{case}.nii.gz"} <= set(forgotten)
        assert f"{case}_seg.b2nd (nnU-Net's own)" in forgotten
        assert f"{case}.pkl, class_locations (nnU-Net's own)" in forgotten
    assert len(forgotten) == 10
    relabelled.refresh([first, second])
    assert relabelled.differences() == []

    folder = planned.preprocessed.data_folder
    properties = pickle.loads((folder / f"{first}.pkl").read_bytes())
    properties["class_locations"][-1, 0, 1, 2] = properties["class_locations"][-1, 0, 1, 2].astype("int32")
    (folder / f"{first}.pkl").write_bytes(pickle.dumps(properties))
    (folder / f"{second}.b2nd").unlink()
    found = relabelled.differences()
    assert found == [f"{first}.pkl", f"{second}.b2nd", f"{first}.pkl, class_locations (nnU-Net's own)"]


def test_the_line_through_the_medians():
    """3 + 2 k at k = 1, 2, 3 but for 1.5 more in the middle: by hand a = 3.5, b = 2, residuals -0.5, 1, -0.5."""
    rows = [{"what": "refresh", "cases": k, "seconds": [0, s, 99]} for k, s in ((1, 5), (2, 8.5), (3, 9))]
    found = refresh.fit([*rows, {"what": "full", "cases": 3, "seconds": [50]}])
    assert found == pytest.approx({"a": 3.5, "b": 2, "r2": 1 - 1.5 / 9.5, "largest_residual": 1})


def test_powers():
    assert refresh.powers(32) == [1, 2, 4, 8, 16, 32]
    assert refresh.powers(6) == [1, 2, 4, 6]
    assert refresh.powers(1) == [1]


def test_a_page_without_a_place_is_refused_before_the_work(tmp_path):
    (tmp_path / "page.md").write_text(f"{refresh.END}\n{refresh.BEGIN}\n")
    with pytest.raises(ValueError, match=r"page\.md needs the lines"):
        refresh.main(["--markdown", str(tmp_path / "page.md")])

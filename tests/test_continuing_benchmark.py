"""What the benchmark of continued members adds to nnU-Net: replay around the new patches, and intervals."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import continuing, report


class _Dataset:
    """Two cases with voxels of class 1 in a row along x; the second has been annotated before, up to x = 1."""

    def load_case(self, case):
        voxels = np.array([(0, 0, 0, x) for x in range(4)])
        return "image", "labels", None, {"class_locations": {1: voxels, (0, 1): voxels, 2: []}, "case": case}


BEFORE = {"b": np.array([[[True, True, False, False]]]), "c": np.ones((1, 1, 4), bool)}


def test_replay_leaves_voxels_of_the_new_cycle_only():
    replay = continuing.Replay(_Dataset(), ["a", "b", "c"], BEFORE, share=1)
    assert replay.cases == ["a", "b"], "nothing is new in c"
    found = [replay.load_case("c")[-1] for _ in range(50)]
    assert {properties["case"] for properties in found} == {"a", "b"}
    for properties in found:
        first = 2 if properties["case"] == "b" else 0
        for key in (1, (0, 1)):
            assert [voxel[3] for voxel in properties["class_locations"][key]] == list(range(first, 4))


@pytest.mark.parametrize(("share", "cases"), [(0, ["a", "b", "c"]), (1, ["c"])])
def test_without_a_share_or_anything_new_cases_are_as_they_were(share, cases):
    replay = continuing.Replay(_Dataset(), cases, BEFORE, share)
    properties = replay.load_case("c")[-1]
    assert properties["case"] == "c"
    assert len(properties["class_locations"][1]) == 4


def test_intervals_are_those_of_student():
    """Five differences, by hand: mean 2, SD 1.5811, t(0.975, 4) = 2.7764."""
    assert continuing.interval([0, 1, 2, 3, 4]) == pytest.approx((2, 2 - 1.9632, 2 + 1.9632), abs=1e-3)
    assert continuing.interval([1.5]) == (1.5, -float("inf"), float("inf"))


def test_the_report_pairs_arms_by_seed_and_cycle():
    rows = [
        {"arm": arm, "seed": seed, "cycle": cycle, "cpu_seconds": 1.0, "dice": dice + seed / 10 + cycle / 100}
        for arm, dice in zip(continuing.ARMS, (0.4, 0.2, 0.45, 0.35), strict=True)
        for seed in (1, 2)
        for cycle in range(3)
    ]
    settings = {
        "cycles": 3, "seeds": [1, 2], "epochs": 6, "iterations": 8, "cases": 16, "patches": 16, "patch_size": 12, "share": 0.5,
    }  # fmt: skip
    found = {"settings": settings, "rows": rows, "command": "x", "date": "2026-01-01T", "commit": "", "machine": {"cpu": "y"}}
    text = continuing.report(found)
    assert "| continued, 16 - from scratch, 48 | the last | -5.0 | -5.0 | -5.0 | -5.0 to -5.0 |" in text
    assert "| continued, 16 - from scratch, 16 | mean of 1 to 2 | +15.0 | +15.0 | +15.0 | +15.0 to +15.0 |" in text
    assert "| from scratch | 48 | 0 | 1 | 50.0 | 60.0 | 55.0 | 7.1 |" in text


def test_the_page_has_the_markers():
    report.check_markers(Path(__file__).parent.parent / "docs" / "benchmarks" / "continuing.md", continuing.MARKS)

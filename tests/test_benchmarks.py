"""The benchmark runs, writes what it promises, and compares programs that choose the same windows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import alternatives, goals, inputs, ours, report, scaling
from benchmarks.alone import Job, apart, run
from benchmarks.contenders import CONTENDERS, RIVALS
from benchmarks.design import FULL, MEMORY_POINT, Design, Point
from benchmarks.engine import benchmark, parser
from nnactive_ext.engine import box_means, select

SHAPE, SIZE, PICKS, CLASSES = (24, 32, 24), (8, 8, 8), 6, 3
TINY = Design(shapes=(SHAPE,), classes=(CLASSES,), patches=(8, 5), picks=(PICKS,), betas=(1.0, None))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    inputs.make(SHAPE, CLASSES, 0, folder)
    return folder


@pytest.fixture(scope="module")
def given(folder) -> inputs.Inputs:
    return inputs.load(folder)


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    return benchmark(TINY, repeats=1, seconds=0, folder=str(tmp_path_factory.mktemp("run")), apart=False)


def test_inputs_are_probabilities_and_their_entropy(given):
    assert given.mean.shape == (CLASSES, *SHAPE)
    assert given.mean.dtype == given.entropy.dtype == np.float32
    np.testing.assert_allclose(given.mean.sum(0), 1, atol=1e-5)
    np.testing.assert_allclose(given.entropy, -(given.mean * np.log(given.mean)).sum(0), atol=1e-5)
    assert np.median(given.entropy) < 0.1 < given.entropy.max(), "sure of most, unsure of some"
    assert set(np.unique(given.mean.argmax(0))) == set(range(CLASSES))


@pytest.mark.slow
def test_the_numbers_are_all_there(answer):
    answer = json.loads(json.dumps(answer))
    assert {"date", "command", "commit", "machine", "versions", "settings", "goals"} <= set(answer)
    assert {"cpu", "cores", "memory_bytes", "os"} == set(answer["machine"])
    assert {"python", "numpy", "numba", "scipy", "torch"} <= set(answer["versions"])
    points = {(row["contender"], row["patch"], row["beta"]) for row in answer["rows"]}
    everybody = {(name, patch, 1.0) for name in ("ours", "stages", *RIVALS) for patch in (8, 5)}
    assert points == everybody | {("ours", 8, None), ("method", 8, 1.0)}
    for row in answer["rows"]:
        if row["contender"] == "stages":
            assert min(row[name] for name in ("copy", "mean", "weighted_mean", "select")) > 0
        else:
            assert row["seconds"] > 0
            assert len(row["found"]) == CLASSES
            assert all(1 <= found <= PICKS for found in row["found"])


@pytest.mark.slow
def test_the_page_gets_the_tables_between_its_markers(answer, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    for _ in range(2):
        report.insert(page, report.markdown(answer))
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    for expected in (*(CONTENDERS[name].label for name in RIVALS), "24x32x24", answer["machine"]["cpu"]):
        assert text.count(expected) >= 1
    page.write_text("no markers", encoding="utf-8")
    with pytest.raises(ValueError, match="needs the lines"):
        report.check_markers(page)


@pytest.mark.slow
def test_what_workers_cost(tmp_path, monkeypatch):
    """Both ways to start workers are measured, and what is written does not say where on this machine."""
    pytest.importorskip("distributed")
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, "")  # which the benchmark sets
    page, numbers = tmp_path / "page.md", tmp_path / "numbers.json"
    page.write_text("\n".join(["before", *scaling.MARKS, "after"]), encoding="utf-8")
    words = "-trainings 3 -seconds 0.5 -many 3".split()
    scaling.main([*words, "--json", str(numbers), "--markdown", str(page)])
    found = json.loads(numbers.read_text())
    assert [row["how"] for row in found["rows"]] == [scaling.EMBEDDED, scaling.STARTED]
    for row in found["rows"]:
        assert row["trainings"] >= 2 * 0.5, "two rounds"
        assert min(row["start"], row["step"], row["single"]) > 0
    text = page.read_text(encoding="utf-8")
    assert f"{found['rows'][1]['trainings']:.1f}" in text
    assert str(tmp_path) not in text.replace(f"--json {numbers} --markdown {page}", "")


def test_the_page_of_the_documentation_has_the_markers():
    report.check_markers(Path(__file__).parent.parent / "docs" / "benchmarks" / "scaling.md", scaling.MARKS)
    report.check_markers(Path(__file__).parent.parent / "docs" / "benchmarks" / "engine.md")


def test_rivals_beyond_their_limit_are_left_out(tmp_path):
    rows = benchmark(TINY, ["sort"], limit=0, repeats=1, seconds=0, folder=str(tmp_path), apart=False)["rows"]
    assert [row["skipped"] for row in rows if row["contender"] == "sort"] == [True, True]
    assert not goals.find(rows, "sort")
    assert goals.find(rows, "ours")


@pytest.mark.slow
def test_a_process_of_its_own_measures_the_same(folder):
    job = Job(str(folder), "sort", (Point(SHAPE, CLASSES, 8, PICKS),), repeats=1, seconds=0)
    (alone,), (here,) = apart(job), run(job)
    assert alone["found"] == here["found"]
    assert set(alone) == set(here)


def test_without_noise_ours_and_the_full_sort_choose_the_same(given):
    for size in (SIZE, (5, 5, 5)):
        chosen = ours.engine(given, size, PICKS, None, 0)
        assert chosen == alternatives.sort(given, size, PICKS, None, 0)
        assert chosen == ours.method(given, size, PICKS, None, 0)


def test_without_noise_the_published_way_chooses_the_same_where_its_means_agree(given):
    """Its FFT is right to some 1e-17 of the largest value, ours to 5e-7 of each: windows of a very low mean may differ."""
    chosen = ours.engine(given, SIZE, PICKS, None, 0)
    published = alternatives.published(given, SIZE, PICKS, None, 0)
    compared = 0
    for stratum, weight in enumerate([None, *given.mean[1:]]):
        means = box_means(given.entropy, SIZE, weight)
        agreeing = [start for start in chosen[stratum] if means[start] > 1e-5]
        assert published[stratum][: len(agreeing)] == agreeing
        compared += len(agreeing)
    assert compared > CLASSES


def test_without_noise_pooling_chooses_what_ours_does_at_its_stride(given):
    pooled = alternatives.pool(given, SIZE, PICKS, None, 0)
    assert pooled == alternatives.pool_axes(given, SIZE, PICKS, None, 0)
    assert [starts[:3] for starts in pooled] == [s[:3] for s in alternatives.published_strided(given, SIZE, PICKS, None, 0)]
    # The image's extents are multiples of 8, so the last window is on the grid, as it is with ours anyway.
    for stratum, weight in enumerate([None, *given.mean[1:]]):
        scores = box_means(given.entropy, SIZE, weight)
        assert [p.start for p in select(scores, SIZE, PICKS, stride=alternatives.STRIDE)] == pooled[stratum]


@pytest.mark.parametrize("name", RIVALS)
def test_picks_with_noise_are_apart(given, name):
    for starts in CONTENDERS[name].run(given, SIZE, PICKS, 1.0, 0):
        assert len(starts) > 1
        for i, a in enumerate(starts):
            assert all(0 <= n <= extent - s for n, extent, s in zip(a, SHAPE, SIZE, strict=True))
            assert all(max(abs(p - q) for p, q in zip(a, b, strict=True)) >= 8 for b in starts[:i])


def row(contender: str, point: Point, **values) -> dict:
    return {"contender": contender, "threads": 2, **point.row(), **values}


def test_goals_are_judged_by_their_own_points():
    rows = [row("ours", FULL.base((n,) * 3), seconds=0.4) for n in (128, 256, 512)]
    rows += [row("published", FULL.base((128,) * 3), seconds=200.0), row("pool", FULL.base((256,) * 3), seconds=4.0)]
    means = zip(FULL.patches_of((256,) * 3), (1.0, 1.1, 1.2, 1.6), strict=True)
    rows += [row("stages", point, copy=0.01, mean=mean) for point, mean in means]
    rows.append(row("ours", MEMORY_POINT, seconds=3.0, peak_bytes=2_900_000_000))
    rows.append({**row("ours", FULL.base((128,) * 3), seconds=0.1), "threads": 1})
    judged = [(goal["value"], goal["met"]) for goal in goals.goals(rows)]
    assert judged == [(pytest.approx(500), False), (pytest.approx(10), True), (pytest.approx(10), True),
                      (pytest.approx(1.6), False), (None, None), (None, None), (pytest.approx(2.9), True)]  # fmt: skip


def test_the_design_changes_one_thing_at_a_time():
    for shape in FULL.shapes:
        base, *others = FULL.points_of(shape)
        for point in others:
            changed = [name for name in ("classes", "patch", "picks") if getattr(point, name) != getattr(base, name)]
            assert len(changed) == 1
            assert max(point.size) <= min(shape)
    assert {point.patch for point in FULL.points_of((512,) * 3)} == {8, 16, 32, 64}


def test_the_command_line():
    options = parser().parse_args(["--quick", "--shapes", "48x56x48", "128", "--rivals", "sort"])
    assert options.shapes == [(48, 56, 48), (128, 128, 128)]
    assert options.rivals == ["sort"]

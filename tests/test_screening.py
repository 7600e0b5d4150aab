"""nnactive_screen as it is typed, with members that cost nothing, and what flags a case on made-up measurements."""

from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import SimpleITK as sitk
from fake_members import FakeEnsemble, fake_tools, fake_train
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.cli import query as query_command
from nnactive_ext.cli import screen as command
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json
from nnactive_ext.geometry.windows import windows
from nnactive_ext.loop.cycles import run_cycles
from nnactive_ext.members import ensemble
from nnactive_ext.members.tools import Tools
from nnactive_ext.ood import TooFew
from nnactive_ext.screening import names
from nnactive_ext.screening.files import as_json, undecided
from nnactive_ext.screening.measuring import Measured
from nnactive_ext.screening.new_images import NewImages
from nnactive_ext.screening.page import page
from nnactive_ext.screening.ratios import Layered, ratio_scores
from nnactive_ext.screening.reference import read_reference
from nnactive_ext.screening.scoring import Options, Screening, judged
from nnactive_ext.screening.screen import of_new
from nnactive_ext.screening.why import reasons

CASES = 6


class Several(FakeEnsemble):
    """Two members; ``asked``: the cases whose logits were predicted, ``described``: how many images were described."""

    asked: ClassVar[list[str]] = []
    described: ClassVar[list[int]] = []
    device = None
    weights = "the same"

    def __init__(self, experiment, folds, device="cpu"):
        super().__init__(experiment, classes=3)

    def logits(self, image, case=""):
        self.asked.append(case)
        ((name, logits),) = super().logits(image)
        yield name, logits
        yield "fold 1", logits.roll(1, -1)

    def describe(self, image, boxes, description):
        self.described.append(len(boxes))
        return super().describe(image, boxes, description)


@pytest.fixture
def members(monkeypatch):
    for module in (command, query_command):
        monkeypatch.setattr(module, "prepare", lambda device: None)
    monkeypatch.setattr(ensemble, "NnUNetEnsemble", Several)
    Several.asked.clear()
    Several.described.clear()


def call(*words: object) -> None:
    command.main(["-device", "cpu", "--disable_progress_bar", *map(str, words)])


def rows_of(file: Path) -> dict[str, dict[str, str]]:
    with open(file, encoding="utf-8") as handle:
        return {row["case"]: row for row in csv.DictReader(handle)}


def measured(number: int, seed: int = 0, **other) -> list[Measured]:
    """Normal cases that differ a little, and after them one with ``other`` measurements."""
    rng = np.random.default_rng(seed)

    def one(name: str) -> Measured:
        lengths = [tuple(s * np.exp(rng.normal(0, 0.02, 3))) for s in (1.0, 90.0)]
        quantiles = np.linspace(-100, 200, 101)[None] + rng.normal(0, 5)
        values = {names.DISAGREEMENT: 0.1 + 0.02 * rng.random()}
        return Measured(name, *lengths, 1, quantiles, rng.normal(0, 1, (12, 4)).astype(np.float32), values)

    found = [one(f"case_{i}") for i in range(number)]
    strange = one("strange")
    return [*found, Measured(**{**vars(strange), **other})] if other else found


def screened(cases: list[Measured], reference: np.ndarray, **options) -> Screening:
    chosen = Options(**options)
    scores, notes = judged(cases, reference, names.DEFAULT, chosen)
    nothing = [None] * len(cases)
    return Screening("a", cases, nothing, np.ones(len(cases), bool), reference, scores, "them", chosen, notes)


STRANGE = {
    names.GEOMETRY: {"spacing": (7.5, 1.0, 1.0)},
    names.HISTOGRAM: {"quantiles": np.linspace(900, 1200, 101)[None]},
    names.KNN: {"windows": np.full((12, 4), 20, np.float32)},
    names.DISAGREEMENT: {"values": {names.DISAGREEMENT: 0.8}},
}
WORDS = {
    names.GEOMETRY: "spacing along z 7.5 mm",
    names.HISTOGRAM: "% of voxels are at most",
    names.KNN: "content unlike theirs",
    names.DISAGREEMENT: "members disagree (Dice 0.20",
}


@pytest.mark.parametrize("score", STRANGE)
def test_each_score_flags_what_it_is_made_for_and_says_why(score):
    cases = measured(10, **STRANGE[score])
    found = screened(cases, np.arange(11) < 10)
    assert [cases[i].name for i in found.flagged] == ["strange"]
    assert [one.name for one in found.by(10)] == [score]
    assert WORDS[score] in reasons(found, 10)
    assert found.nearest(10) in range(10)


def test_other_channels_are_flagged_without_being_read():
    unknown = {"channels": 3, "quantiles": None, "windows": None, "values": {}}
    found = screened(measured(10, **unknown), np.arange(11) < 10)
    assert [one.name for one in found.by(10)] == [names.GEOMETRY]
    assert reasons(found, 10) == "3 channels; theirs 1"


def test_a_new_image_that_no_score_can_judge_is_refused():
    """It must not pass for one that is not flagged."""
    cases = measured(10, quantiles=np.full((1, 101), np.nan))
    new = NewImages([])
    options = {"compared": "them", "options": Options(), "notes": [], "facts": {}, "title": "a"}
    found = of_new(new, [(None, cases[-1])], measured=cases[:-1], images=[None] * 10, wanted=[names.HISTOGRAM], **options)
    assert list(found.refused) == ["strange"]
    assert not found.shown.any()
    assert not found.flagged


def test_a_case_that_people_called_relevant_is_flagged_no_more():
    found = screened(measured(10, **STRANGE[names.KNN]), np.arange(11) < 10)
    assert found.flagged == [10]
    assert replace(found, relevant=frozenset(["strange"])).flagged == []


@pytest.mark.parametrize("content", [b"no zip", b"", None])
def test_something_else_than_a_reference_is_said(tmp_path, content):
    file = tmp_path / "r.npz"
    if content is None:
        with open(file, "wb") as handle:
            np.save(handle, np.zeros(3))
    else:
        file.write_bytes(content)
    with pytest.raises(NnActiveError, match="not a reference"):
        read_reference(file)


def test_a_damaged_reference_is_said(tmp_path):
    file = tmp_path / "r.npz"
    with open(file, "wb") as handle:
        np.savez_compressed(handle, facts=np.array(json.dumps({"version": 1})), spacing=np.ones((40, 3)))
    whole = file.read_bytes()
    for place in range(0, len(whole), 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        with pytest.raises(NnActiveError):
            read_reference(file)


def test_few_cases_are_scored_and_not_flagged():
    found = screened(measured(2, **STRANGE[names.HISTOGRAM]), np.arange(3) < 2)
    assert not found.flagged
    assert any("nothing is flagged" in note for note in found.notes)
    assert any("knn is not computed" in note for note in found.notes)


@pytest.mark.parametrize(("number", "warned"), [(3, True), (9, True), (10, False)])
def test_a_small_reference_is_warned_of_wherever_people_look(number, warned):
    found = screened(measured(number, **STRANGE[names.HISTOGRAM]), np.arange(number + 1) < number)
    assert any("expect false flags" in note for note in found.notes) == warned
    assert ("expect false flags" in page(found, lambda cases, word: "", "typed")) == warned
    assert any("expect false flags" in note for note in as_json(found)["notes"]) == warned


def test_what_could_not_be_screened_is_in_all_files_and_fails_a_pipeline(planned, members, strangers, tmp_path, capsys):
    (strangers / "cut_0000.nii.gz").write_bytes(b"no image")
    call("-d", 101, "-reference", "all", "-i", strangers, "-o", tmp_path / "out", "-scores", "geometry", "-limit", 1000)
    said = capsys.readouterr().out
    assert said.startswith(f"3 new images, compared with {CASES} cases of the pool.")
    assert "1 image could not be screened:" in said
    assert "None looks unlike them." in said
    content = read_json(tmp_path / "out" / "screening.json")
    assert list(content["refused"]) == ["cut"]
    assert sorted(row["case"] for row in content["cases"]) == ["new_0", "new_1", "new_2"]
    row = rows_of(tmp_path / "out" / "screening.csv")["cut"]
    assert row["flagged"] == ""
    assert row["why"].startswith("not screened")
    assert "could not be screened" in (tmp_path / "out" / "screening.html").read_text(encoding="utf-8")
    words = ("-scores", "geometry", "-limit", 1000, "--fail_if_flagged")
    with pytest.raises(SystemExit) as ended:
        call("-d", 101, "-reference", "all", "-i", strangers, "-o", tmp_path / "out", *words)
    assert ended.value.code == 3


@given(st.permutations(range(9)))
def test_the_order_of_cases_does_not_matter(order):
    cases, reference = measured(8, **STRANGE[names.KNN]), np.arange(9) < 7
    before, after = screened(cases, reference), screened([cases[i] for i in order], reference[list(order)])
    for one, other in zip(before.scores, after.scores, strict=True):
        np.testing.assert_allclose(one.z[list(order)], other.z)
    assert [cases[i].name for i in before.order] == [cases[order[i]].name for i in after.order]


@given(st.tuples(*[st.integers(1, 30)] * 3), st.tuples(*[st.integers(1, 12)] * 3), st.integers(1, 70))
def test_windows_are_apart_and_cover_an_image_unless_there_are_too_many(shape, size, most):
    found = windows("a", shape, size, most)
    covered = np.zeros(shape, int)
    for window in found:
        assert window.inside(shape)
        covered[window.slices] += 1
    needed = math.prod(-(-n // s) for n, s in zip(shape, size, strict=True))
    assert len(found) == min(most, needed)
    assert covered.max() == 1
    assert covered.all() or needed > most


def test_the_pool_before_members_are_trained(planned, members, capsys):
    call("-d", 101, "-reference", "all")
    folder = planned.results / "screening"
    said = capsys.readouterr().out
    assert said.startswith(f"{CASES} cases of the pool, compared with each other.")
    assert "knn and disagreement need members that are trained" in " ".join(said.split())
    assert len(rows_of(folder / "start.csv")) == CASES
    assert read_json(folder / "start.json")["scores"] == ["geometry", "histogram"]
    assert not Several.asked
    with pytest.raises(SystemExit):
        call("-d", 101, "-scores", "knn")
    assert "members of the current cycle are needed" in capsys.readouterr().err


@pytest.fixture
def strangers(tiny_template, tmp_path) -> Path:
    """Three images of the dataset in a folder, one of them with intensities that are no one's."""
    folder = tmp_path / "new"
    folder.mkdir()
    for number in (0, 1, 2):
        for channel in range(2):
            file = f"tiny_{number}_{channel:04d}.nii.gz"
            shutil.copy(tiny_template / "imagesTr" / file, folder / file.replace("tiny", "new"))
    image = sitk.ReadImage(str(folder / "new_1_0000.nii.gz"))
    array = sitk.GetArrayFromImage(image)
    noise = np.random.default_rng(0).exponential(100, array.shape).astype(np.float32)
    strange = sitk.GetImageFromArray(np.where(array > 0, noise, 0))
    strange.CopyInformation(image)
    sitk.WriteImage(strange, str(folder / "new_1_0000.nii.gz"))
    return folder


@pytest.mark.slow
def test_a_screening_is_kept_and_new_images_are_compared_with_it(finished, members, strangers, tmp_path, capsys):
    cycle = f"cycle_{finished.state['cycle']:03d}"
    reference = tmp_path / "reference.npz"
    call("-d", 101, "-reference", "all", "--export_reference", reference)
    folder = finished.results / "screening"
    rows, page = rows_of(folder / f"{cycle}.csv"), (folder / f"{cycle}.html").read_text(encoding="utf-8")
    assert len(rows) == CASES == len(Several.asked) == len(Several.described)
    assert all(row[f"{score}_z"] for row in rows.values() for score in names.DEFAULT)
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    call("-d", 101, "-reference", "all")
    assert len(Several.asked) == CASES, "what was measured is read from files"
    assert rows_of(folder / f"{cycle}.csv") == rows

    call("-d", 101, "-reference", "all", "-i", strangers, "-o", tmp_path / "out")
    assert capsys.readouterr().out.count("3 new images") == 1
    found = rows_of(tmp_path / "out" / "screening.csv")
    assert sorted(found) == ["new_0", "new_1", "new_2"]
    assert float(found["new_1"]["histogram"]) > max(float(found[f"new_{i}"]["histogram"]) for i in (0, 2))
    flagged = any(row["flagged"] == "1" for row in found.values())
    assert flagged
    with pytest.raises(SystemExit) as ended:
        call("-d", 101, "-reference", "all", "-i", strangers, "-o", tmp_path / "out", "--fail_if_flagged")
    assert ended.value.code == 3

    with np.load(reference, allow_pickle=False) as content:
        assert not any("tiny" in str(content[name]) for name in content.files if content[name].dtype.kind == "U")
        assert content["windows"].dtype == np.float16


@pytest.mark.slow
def test_a_model_folder_and_a_reference_are_enough(finished, members, strangers, tmp_path, monkeypatch, capsys):
    call("-d", 101, "-reference", "all", "--export_reference", tmp_path / "r.npz")
    call("-d", 101, "-reference", "all", "-i", strangers, "-o", tmp_path / "with")
    model = tmp_path / "model"
    for fold in finished.folds():
        (model / f"fold_{fold}").mkdir(parents=True)
    shutil.copy(finished.preprocessed.folder / "nnUNetPlans.json", model / "plans.json")
    shutil.copy(finished.raw / "dataset.json", model / "dataset.json")
    here = Experiment(finished.name)
    assert here.state["cycle"] == finished.state["cycle"]  # read before its folders are gone
    fake = Several(type("Gone", (), {"state": {"cycle": finished.state["cycle"]}})(), [])
    monkeypatch.setattr("nnactive_ext.screening.deployed.NnUNetEnsemble", type("Model", (), {"of_model": lambda *_: fake}))
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.delenv(f"nnUNet_{name}")
    call("-reference", tmp_path / "r.npz", "-m", model, "-i", strangers, "-o", tmp_path / "without")
    one, other = (rows_of(tmp_path / name / "screening.csv") for name in ("with", "without"))
    for case in one:
        assert one[case]["by"] == other[case]["by"]
        for score in names.DEFAULT:
            assert float(one[case][score]) == pytest.approx(float(other[case][score]), rel=5e-3, abs=1e-4)
    fake.weights = "others"
    capsys.readouterr()
    for out in ("without", "elsewhere"):  # also where all was measured before
        with pytest.raises(SystemExit):
            call("-reference", tmp_path / "r.npz", "-m", model, "-i", strangers, "-o", tmp_path / out)
        assert "not those with which the reference was made" in " ".join(capsys.readouterr().err.split())


def test_a_single_member_without_mirroring_has_no_disagreement(finished, members, capsys):
    call("-d", 101, "-f", 0, "-reference", "all")
    assert "No disagreement: there is one member" in " ".join(capsys.readouterr().out.split())
    content = read_json(finished.results / "screening" / f"cycle_{finished.state['cycle']:03d}.json")
    assert content["scores"] == ["geometry", "histogram", "knn"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-d 101 -scores colour", "there is no such score"),
        ("-d 101 -scores abet", "nnActiveTrainer_AbeT"),
        ("-d 101 -i nowhere -o out", "does not exist"),
        ("-d 101 -i nowhere", "-o FOLDER to write"),
        ("-reference r.npz -i new -o out", "-m MODEL_FOLDER"),
        ("-reference r.npz -m model -i new -o out", "no such file"),
        ("-d 101 -limit 0", "must be positive"),
    ],
)
def test_what_cannot_be_is_said(planned, members, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        call(*words.split())
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))


def test_a_query_that_reports_asks_members_once(planned, members, capsys):
    for fold in planned.folds():
        fake_train(planned, fold)
    query_command.main(["-d", "101", "-device", "cpu", "--disable_progress_bar", "--report_ood"])
    assert sorted(Several.asked) == sorted(planned.plan.pool)
    out = capsys.readouterr().out
    assert out.index("compared with") < out.index("patches chosen and annotated")
    assert set(read_json(planned.results / "screening" / "cycle_000.json")["scores"]) == set(names.DEFAULT)


def test_a_far_window_has_a_larger_ratio_than_one_at_a_boundary():
    """By Eq 6 of SISOM a far image's ratio would tend to 1, as a boundary's; measured from the neighbour it grows."""
    bank, known = np.array([[0.5, 0], [1, 0], [4, 0.5], [5, 1]], np.float32), np.array([0, 0, 1, 1])
    none, zero = np.zeros((0, 2), np.float32), np.zeros(0)

    def image(window=(0.0, 0.0), patches=False) -> Layered:
        own, classes = (bank, known) if patches else (none, zero.astype(int))
        there = np.array([window], np.float32)
        return Layered(there, own, np.array([1, 1]), np.array([0]), classes, np.zeros(1), np.zeros(len(own)))

    images = [image(patches=True), image((2.4, 0.1)), image((1000.0, 900.0)), image((0.8, 0.0))]
    scores = ratio_scores(images, np.array([True, False, False, False]))
    assert np.isnan(scores[0]), "a case is not compared with its own patches"
    assert scores[2] > scores[3]
    assert scores[1] > scores[3]
    with pytest.raises(TooFew, match="0 annotated patches"):
        ratio_scores(images, np.array([False, True, True, True]))


@pytest.mark.slow
def test_all_scores_by_name(finished, members, capsys):
    named = [score for score in names.SCORES if score not in (names.ABET, *names.FILES)]
    call("-d", 101, "-scores", *named, "-aggregation", "max")
    rows = rows_of(finished.results / "screening" / f"cycle_{finished.state['cycle']:03d}.csv")
    assert all(row[score] for row in rows.values() for score in named)
    for row in rows.values():
        assert float(row["sisom_r_ood"]) == pytest.approx(0.5 / (1 + math.exp(float(row["sisom"]))), abs=2e-6)


@pytest.mark.slow
def test_a_run_screens_each_cycle_that_queries(planned, members):
    tools = fake_tools()
    run_cycles(planned, Tools(tools.train, Several), progress=False, say=lambda line: None, report_ood=True)
    found = sorted(file.name for file in (planned.results / "screening").glob("*.json"))
    assert found == ["cycle_000.json", "cycle_001.json"]


def test_flags_without_a_verdict_are_listed_until_somebody_decides(planned, members, monkeypatch):
    call("-d", 101, "-reference", "all", "-limit", "0.01", "-scores", "geometry")
    flagged = [one.case for one in undecided(planned)]
    assert flagged
    monkeypatch.setattr("nnactive_ext.screening.files.relevant_cases", lambda experiment: frozenset(flagged[:1]))
    assert [one.case for one in undecided(planned)] == flagged[1:]

"""nnactive_uncertainty as it is typed, with members that cost nothing: what it writes, refuses, and does not look at."""

from __future__ import annotations

import csv
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from fake_members import FakeEnsemble, fake_train
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.cli import uncertainty
from nnactive_ext.compare import figures_validation
from nnactive_ext.compare.validation import Case, Line, Validation, best, sentence, worth
from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_json
from nnactive_ext.members import ensemble
from nnactive_ext.members.out_of_fold import rated, risk_of
from nnactive_ext.members.said import Said, ask, uncertainties, voxel_map
from nnactive_ext.members.validating import DEFAULT_SCORES, Asked, validate
from nnactive_ext.metrics.calibration import ace
from nnactive_ext.nnunet.dataset import Dataset, Labels
from nnactive_ext.query_methods.scores import SCORES

PE = Line("predictive_entropy", "sum")


class Several(FakeEnsemble):
    """Members of other opinions: each smooths the image in its own way. ``asked``: how many images were predicted; ``cases``:
    which ones."""

    asked = 0
    cases: ClassVar[set[str]] = set()

    def __init__(self, experiment, folds, device="cpu", members: int = 3):
        super().__init__(experiment, classes=3)
        self.device, self.members = torch.device("cpu"), members

    def logits(self, image, case=""):
        type(self).asked += 1
        self.cases.add(case)
        ((_, logits),) = super().logits(image)
        for member in range(self.members):
            yield f"member {member}", torch.roll(logits, member, dims=-1) / (1 + member)


@pytest.fixture(autouse=True)
def without_figures(request, monkeypatch):
    """Figures take longer than all else; only the test that is about them draws one."""
    if "figure" not in request.node.name:
        monkeypatch.setattr(figures_validation, "draw", lambda *_: None)


@pytest.fixture
def members(monkeypatch):
    """Three of them in every fold."""
    monkeypatch.setattr(uncertainty, "prepare", lambda device: None)
    monkeypatch.setattr(ensemble, "NnUNetEnsemble", Several)
    Several.asked = 0


def call(*words: object) -> None:
    uncertainty.main(["-d", "101", "-device", "cpu", "--disable_progress_bar", *map(str, words)])


def lines_of(folder: Path) -> dict[Line, dict[str, str]]:
    with open(folder / "tables" / "lines.csv", encoding="utf-8") as file:
        return {Line(row["score"], row["aggregation"]): row for row in csv.DictReader(file)}


def test_every_score_and_aggregation_and_the_figure(finished, members, tmp_path, capsys):
    folder = tmp_path / "found"
    call("-o", folder)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("Of 2 test cases the one with the largest ")
    assert said[-1] == str(folder / "uncertainty.md")
    rows = lines_of(folder)
    assert list(rows) == Asked().lines(DEFAULT_SCORES)
    assert len(rows) == 5 * 4 + 1
    for line, row in rows.items():
        assert 0 <= float(row["aurc"]) <= 1
        assert 0 <= float(row["e_aurc"]) <= float(row["aurc"])
        assert row["auroc_ood"] == row["ncc"] == ""
        assert bool(row["ace"]) == (line.score != "disagreement")
    for file in ("figures/uncertainty.png", "figures/uncertainty.svg", "tables/cases.csv", "tables/lines.tex"):
        assert (folder / file).stat().st_size > 100
    content = read_json(folder / "tables" / "uncertainty.json")
    assert content["sentence"] == said[0]
    assert content["members"] == 3
    page = (folder / "uncertainty.md").read_text(encoding="utf-8")
    assert "nnactive_uncertainty -d 101 -device cpu" in page
    assert "AUROC" not in page
    asked, tests = Several.asked, len(finished.plan.test)
    call("-o", folder)
    assert Several.asked == 2 * asked - tests, "test cases that were measured are read from their files"
    assert lines_of(folder) == rows
    (folder / ".nnactive_uncertainty").unlink()
    with pytest.raises(SystemExit):
        call("-o", folder)
    assert "Name another folder" in capsys.readouterr().err


def test_numbers_by_hand(finished, members):
    """Of one test case: the risk is that of the evaluation, the maps are those of a query, the error is that of its voxels."""
    asked = Asked(scores=["predictive_entropy", "energy"], aggregations=["sum", "mean", "mean_foreground"])
    found = validate(finished, lambda folds: Several(finished, folds), finished.folds(), asked, progress=False)
    assert Several.cases >= {one.name for one in found.cases}, "what members draw depends on the case"
    case, (image, properties) = found.cases[0], finished.source.image(found.cases[0].name)
    evaluated = read_json(finished.results / "cycle_002.json")["dice_per_case"][case.name]
    assert case.risk == pytest.approx(1 - np.mean([dice for dice in evaluated.values() if dice is not None]))
    from nnactive_ext.nnunet.preprocessing import preprocess_image

    network, grid = preprocess_image(image, properties, finished.preprocessed, finished.dataset.json)
    said = ask(Several(finished, ()), network, None)
    for name in ("predictive_entropy", "energy"):
        values = SCORES[name](said.statistics)
        assert case.values[Line(name, "sum")] == pytest.approx(values.sum(), rel=1e-4)
        assert case.values[Line(name, "mean")] == pytest.approx(values.mean(), rel=1e-4)
        foreground = said.statistics.mean.argmax(axis=0) > 0
        assert case.values[Line(name, "mean_foreground")] == pytest.approx(values[foreground].mean(), rel=1e-4)
    assert grid.image_shape == finished.source.label_map(case.name).shape
    assert 0 <= case.ace["energy"] <= 1


def test_voxels_that_the_reference_ignores_count_nowhere(finished, members, monkeypatch):
    """With every wrong voxel ignored the accuracy is 1, so the error is the mean distance of confidence from 1."""
    asked = Asked(scores=["predictive_entropy"], aggregations=["mean"])
    before = validate(finished, lambda folds: Several(finished, folds), finished.folds(), asked, progress=False)
    shutil.rmtree(finished.results / "cycle_002" / "validated")
    right: list[bool] = []

    def checked(confidence, hits):
        right.extend(np.ravel(hits).tolist())
        return ace(confidence, hits)

    known = Dataset.label_map

    def ignoring(dataset, name):
        labels = known(dataset, name).copy()
        if dataset.folder == finished.source.folder:
            labels[:] = finished.source.labels.ignore
            labels[10:14, 10:14, 5:9] = 0
        return labels

    monkeypatch.setattr("nnactive_ext.members.validating.ace", checked)
    monkeypatch.setattr(Dataset, "label_map", ignoring)
    after = validate(finished, lambda folds: Several(finished, folds), finished.folds(), asked, progress=False)
    assert len(right) == 2 * 4**3
    assert after.cases[0].values == before.cases[0].values


def test_one_member_alone(finished, members, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(ensemble, "NnUNetEnsemble", lambda e, folds, device: Several(e, folds, members=1))
    call("-o", tmp_path / "one")
    assert {line.score for line in lines_of(tmp_path / "one")} == {*DEFAULT_SCORES} - {"bald", "disagreement"}
    assert "bald, disagreement compare members" in (tmp_path / "one" / "uncertainty.md").read_text(encoding="utf-8")
    capsys.readouterr()
    for score in ("bald", "disagreement"):
        with pytest.raises(SystemExit):
            call("-o", tmp_path / "one", "-scores", "energy", score)
        assert "Choose predictive_entropy" in capsys.readouterr().err


def test_folds_that_are_several_members_only_together_have_no_calibrated_bald(finished, tmp_path):
    def opened(folds):
        return Several(finished, folds, members=len(folds))

    found = validate(finished, opened, finished.folds(), Asked(scores=["bald", "energy"]), progress=False)
    assert set(found.cases[0].ace) == {"energy"}
    assert found.notes[-1].startswith("No ACE of bald: one member alone")


@pytest.mark.parametrize("words", ["-scores nothing", "-aggregations max:0", "-raters {}", "-raters {}/none {}", "-ood {}"])
def test_what_cannot_be_measured_is_refused_and_nothing_is_written(finished, members, words, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit):
        call("-o", tmp_path / "found", *words.format(*[tmp_path / "empty"] * 2).split())
    assert words.split()[0] in capsys.readouterr().err
    assert not (tmp_path / "found").exists()


@pytest.mark.slow
def test_out_of_distribution(finished, members, nnunet_folders, tmp_path):
    """Cases of noise, from a dataset and from a folder; no labels are read."""
    source = nnunet_folders.raw / "Dataset100_Tiny"
    noise = nnunet_folders.raw / "Dataset950_Noise"
    shutil.copytree(source, noise)
    rng = np.random.default_rng(0)
    for file in (noise / "imagesTr").iterdir():
        image = sitk.ReadImage(str(file))
        strange = sitk.GetImageFromArray(rng.normal(size=image.GetSize()[::-1]).astype(np.float32))
        strange.CopyInformation(image)
        sitk.WriteImage(strange, str(file))
    shutil.rmtree(noise / "labelsTr")
    call("-o", tmp_path / "dataset", "-ood", 950)
    call("-o", tmp_path / "folder", "-ood", noise / "imagesTr", "--id_positive")
    first, second = lines_of(tmp_path / "dataset"), lines_of(tmp_path / "folder")
    assert all(0 <= float(row["auroc_ood"]) <= 1 for row in first.values())
    assert [row["auroc_ood"] for row in first.values()] == [row["auroc_ood"] for row in second.values()]
    assert "OoD" in (tmp_path / "dataset" / "uncertainty.md").read_text(encoding="utf-8")
    (noise / "imagesTr" / "tiny_0_0001.nii.gz").unlink()
    with pytest.raises(SystemExit):
        call("-o", tmp_path / "folder", "-ood", noise / "imagesTr")


@pytest.mark.slow
def test_raters(finished, members, tmp_path):
    source = finished.source
    folders = [tmp_path / "anna", tmp_path / "ben"]
    for shift, folder in enumerate(folders):
        folder.mkdir()
        for case in finished.test_cases():
            labels, properties = source.reader_writer.read_seg(str(case.label))
            source.reader_writer.write_seg(np.roll(labels[0], 2 * shift, 0), str(folder / case.label.name), properties)
    call("-o", tmp_path / "two", "-raters", *folders)
    found = read_json(tmp_path / "two" / "tables" / "uncertainty.json")
    assert found["ged_squared"] > 0
    assert all(-1 <= line["ncc"] <= 1 for line in found["lines"] if line["score"] != "disagreement")
    call("-o", tmp_path / "same", "-raters", folders[0], folders[0])
    alike = read_json(tmp_path / "same" / "tables" / "uncertainty.json")
    assert all(line["ncc"] is None for line in alike["lines"])
    assert {line["constant_maps"] for line in alike["lines"] if line["score"] != "disagreement"} == {2}


def test_without_a_test_set(finished, members):
    """Annotated patches of cases that a member was not trained on; reference labels are not read."""
    untested = replace(finished, planned=replace(finished.plan, test=()))
    shutil.rmtree(untested.source.folder / "labelsTr")
    found = validate(untested, lambda folds: Several(untested, folds), untested.folds(), Asked(), progress=False)
    assert found.unit == "annotated patches"
    assert len(found.cases) == len(untested.annotated_patches())
    assert "cannot be compared" in found.notes[0]
    assert {one.line.score for one in worth(found) if one.undefined} <= {"energy"}, "patches without predicted foreground"
    assert all(math.isnan(one.ace) and (one.undefined or 0 <= one.aurc <= 1) for one in worth(found))
    with pytest.raises(NnActiveError, match="needs a test set"):
        validate(untested, lambda folds: Several(untested, folds), untested.folds(), Asked(ood={"a": lambda: None}), False)


@pytest.mark.slow
def test_two_people_who_answered_one_task(tasks, members):
    """Their answers are the raters of its patch."""
    for task in tasks.seen:
        task.write(task.answer())
    tasks.hand_in()
    seen = tasks.seen[0]
    answer = seen.answer()
    answer[seen.box] = np.where(answer[seen.box] == 0, 1, 0)
    tasks.hand_in(seen.write(answer, tasks.out / f"{seen.id}_ben.nrrd"), who="ben", more=f"-task {seen.id}")
    tasks.run()
    experiment = tasks.experiment
    found = validate(experiment, lambda folds: Several(experiment, folds), experiment.folds(), Asked(), progress=False)
    assert [case.name for case in found.rated] == [seen.id]
    assert found.rated[0].ged > 0


def made(risks, values, ood=(), lines=(PE,), **more) -> Validation:
    cases = [
        Case(name=f"case_{i}", risk=risk, values=dict.fromkeys(lines, value))
        for i, (risk, value) in enumerate(zip(risks, values, strict=True))
    ]
    strange = [Case(name=f"odd_{i}", values=dict.fromkeys(lines, value)) for i, value in enumerate(ood)]
    facts = {"name": "X", "cycle": 0, "folds": [0], "members": 1, "lines": lines, "unit": "test cases"}
    return Validation(**facts, cases=cases, ood=strange, **more)


def test_the_sentence():
    risks = [i / 65 for i in range(65)]
    values = [risk if i % 2 else 0 for i, risk in enumerate(risks)]
    assert sentence(made(risks, values)) == (
        "Of 65 test cases the 7 with the largest predictive_entropy (sum) hold 3 of the 7 worst (a random choice: 0.75)."
    )
    assert "same Dice" in sentence(made([0.2, 0.2], [1, 2]))
    assert "too few" in sentence(made([0.2], [1]))
    assert "is the worst" in sentence(made([0.1, 0.2], [1, 2]))


def test_ood_cases_as_the_specification_counts_them():
    found = worth(made([0.1] * 4, [1, 2, 3, 4], [2.5, 5, 6, 7]))[0]
    assert (found.auroc, found.fpr95) == (0.875, 0.5)
    turned = worth(made([0.1] * 4, [1, 2, 3, 4], [2.5, 5, 6, 7], id_positive=True))[0]
    assert (turned.auroc, turned.fpr95) == (0.875, 0.25)


def test_a_line_that_is_undefined_somewhere_is_not_the_best():
    lines = (PE, Line("energy", "threshold"))
    found = made([0.1, 0.4], [0, 1], lines=lines)
    found.cases[0].values[lines[1]] = math.nan  # type: ignore[index]
    assert best(worth(found)).line == PE
    assert worth(found)[1].undefined == 1


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=4))
def test_risk_is_between_0_and_1(dice):
    found = risk_of({str(i): math.nan if value is None else value for i, value in enumerate(dice)})
    assert -1e-12 <= found <= 1


@pytest.mark.parametrize("regions", [False, True])
def test_the_order_of_members_and_of_classes_changes_nothing_and_entropies_add_up(regions):
    rng = np.random.default_rng(1)
    logits = [torch.from_numpy(rng.normal(size=(3, 6, 7, 8)).astype(np.float32)) for _ in range(4)]

    class In:
        def __init__(self, order, classes=(0, 1, 2)):
            self.order, self.classes = order, list(classes)

        def logits(self, image, case=""):
            yield from ((f"member {i}", logits[i][self.classes]) for i in self.order)

    order = (1, 2, 3) if regions else None
    first, second = (ask(In(o), np.zeros((1, 6, 7, 8)), order, keep=True) for o in ([0, 1, 2, 3], [2, 0, 3, 1]))
    lines = Asked().lines(DEFAULT_SCORES)
    assert uncertainties(first, lines) == pytest.approx(uncertainties(second, lines), rel=1e-4, abs=1e-5)
    swapped = ask(In([0, 1, 2, 3], (0, 2, 1)), np.zeros((1, 6, 7, 8)), order)
    assert uncertainties(first, lines) == pytest.approx(uncertainties(swapped, lines), rel=1e-4, abs=1e-5)
    total, epistemic, aleatoric = (voxel_map(s, first.statistics) for s in ("predictive_entropy", "bald", "expected_entropy"))
    np.testing.assert_allclose(total, epistemic + aleatoric, atol=1e-6)
    part = first.within((slice(1, 4), slice(0, 7), slice(2, 5)))
    np.testing.assert_array_equal(part.labels, first.labels[1:4, :, 2:5])
    assert 0 < part.disagreement < 1


def test_without_predicted_foreground_energy_has_no_value(finished):
    class Background:
        def logits(self, image, case=""):
            logits = torch.zeros((3, 4, 4, 4))
            logits[0] = 5
            yield "member", logits

    said = ask(Background(), np.zeros((1, 4, 4, 4)), None)
    assert isinstance(said, Said)
    found = uncertainties(said, Asked().lines(["energy", "predictive_entropy"]))
    undefined = {line for line, value in found.items() if math.isnan(value)}
    assert undefined == {Line("energy", "threshold"), Line("energy", "mean_foreground")}
    assert found[Line("predictive_entropy", "mean_foreground")] == 0


def test_raters_that_ignore_a_voxel_do_not_count_it():
    labels = Labels({"background": 0, "organ": 1, "ignore": 2})
    raters = [np.array([[[1, 1, 0, 2]]]), np.array([[[1, 0, 0, 0]]])]
    each = [np.array([[[1, 1, 0, 0]]]), np.array([[[1, 1, 1, 1]]])]
    inside = np.ones((1, 1, 4), bool)
    found = rated("a", raters, each, {"pe": np.array([[[0.0, 1.0, 0.1, 9.0]]])}, labels, inside)
    without = [np.array(one)[..., :3] for one in (*raters, *each)]
    expected = rated("a", without[:2], without[2:], {"pe": np.array([[[0.0, 1.0, 0.1]]])}, labels, inside[..., :3])
    assert found == expected


def test_members_are_checked_first(planned, members, capsys, tmp_path):
    fake_train(planned, 0)
    with pytest.raises(SystemExit):
        call("-o", tmp_path / "x")
    assert "no trained member" in capsys.readouterr().err

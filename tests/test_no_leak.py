"""Reference labels outside the annotated patches change nothing: not the plan, not the training data, not the query."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import blosc2
import numpy as np
import pytest
import SimpleITK as sitk
from fake_members import FakeEnsemble, fake_train
from folders import set_folders

from nnactive_ext.cli import plan
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import by_case, read_loop
from nnactive_ext.files import read_json
from nnactive_ext.members.validating import Asked, validate
from nnactive_ext.query_methods import methods
from nnactive_ext.querying.pool import pool_cases, request_for
from nnactive_ext.querying.query import query_cycle

PLAN = "-patch_size 5 5 3 -query_size 6 -starting_budget 6 -cycles 3 -folds 2 --preset cpu -np 1 --disable_progress_bar"


@pytest.fixture(scope="module")
def honest_and_poisoned(tmp_path_factory, tiny_template):
    """Two experiments with one starting budget; in the second one's source every unannotated pool label is a lie."""
    with pytest.MonkeyPatch.context() as patch:
        folders = set_folders(patch, tmp_path_factory.mktemp("leak"))
        # The tens of millions of draws are nnU-Net's; so few voxels need no more than this.
        patch.setattr("nnactive_ext.nnunet.fingerprint._SAMPLES", 1e5)
        source = Path(shutil.copytree(tiny_template, folders.raw / tiny_template.name))
        plan.main(f"-d 100 -o 901 -name Honest {PLAN}".split())
        honest = Experiment.find(901)

        poisoned_source = folders.raw / "Dataset910_Tiny"
        shutil.copytree(source, poisoned_source)
        start = honest.raw / "loop_000.json"
        _poison(poisoned_source / "labelsTr", honest, start)
        plan.main(f"-d 910 -o 911 -name Poisoned -start_from {start} {PLAN}".split())
        yield honest, Experiment.find(911)


def _poison(folder: Path, experiment: Experiment, start: Path) -> None:
    rng = np.random.default_rng(0)
    annotated = by_case(read_loop(start, ".nii.gz"))
    for case in experiment.plan.pool:
        file = folder / f"{case}.nii.gz"
        image = sitk.ReadImage(str(file))
        labels = sitk.GetArrayFromImage(image)
        lies = rng.integers(0, 3, labels.shape).astype(labels.dtype)
        for patch in annotated.get(case, []):
            lies[patch.slices] = labels[patch.slices]
        assert (lies != labels).mean() > 0.5
        poisoned = sitk.GetImageFromArray(lies)
        poisoned.CopyInformation(image)
        sitk.WriteImage(poisoned, str(file))


def test_the_plans_are_equal(honest_and_poisoned):
    honest, poisoned = honest_and_poisoned
    # What may differ: names, and the pool's foreground that only the report divides by.
    apart = {"experiment", "dataset", "source", "pool_foreground_voxels", "decisions"}
    # The starting budget is drawn for one and given to the other, so its reason differs.
    assert [row[:2] for row in honest.plan.decisions] == [row[:2] for row in poisoned.plan.decisions]
    for key, value in vars(honest.plan).items():
        if key not in apart:
            assert value == vars(poisoned.plan)[key], key
    assert honest.plan.pool_foreground_voxels != poisoned.plan.pool_foreground_voxels, "the poison did not reach the source"


@pytest.mark.parametrize("file", ["dataset_fingerprint.json", "splits_final.json", "nnUNetPlans.json"])
def test_what_nnunet_plans_from_is_equal(honest_and_poisoned, file):
    honest, poisoned = ((e.preprocessed.folder / file).read_text().replace(e.name, "NAME") for e in honest_and_poisoned)
    assert honest == poisoned


def test_what_nnunet_trains_on_is_equal(honest_and_poisoned):
    honest, poisoned = (e.preprocessed.data_folder for e in honest_and_poisoned)
    names = sorted(file.name for file in honest.iterdir())
    assert names == sorted(file.name for file in poisoned.iterdir())
    for name in names:
        if name.endswith(".b2nd"):
            ours, theirs = (np.asarray(blosc2.open(str(folder / name), mode="r")[:]) for folder in (honest, poisoned))
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
        else:
            assert (honest / name).read_bytes() == (poisoned / name).read_bytes(), name


# What `precomputed` replays was chosen by another method.
UNTOLD = [m.name for m in methods.METHODS if not m.needs_reference and m.name != "precomputed"]


@pytest.mark.parametrize("method", [*UNTOLD, "clasp_pe shares=earned"])
def test_the_query_is_equal(honest_and_poisoned, method):
    chosen, (method, *words) = [], method.split()
    options = dict(word.split("=") for word in words)
    for experiment in honest_and_poisoned:
        for fold in experiment.folds():
            fake_train(experiment, fold)
        opened = partial(FakeEnsemble, classes=3)
        query = query_cycle(
            experiment, lambda e, folds, opened=opened: opened(e), experiment.folds(), method, options, progress=False
        )
        assert query is not None
        assert query.patches
        chosen.append(query.patches)
        content = read_json(experiment.raw / "loop_001.json")
        (experiment.raw / "loop_001.json").unlink()
        assert json.dumps(content)
    assert chosen[0] == chosen[1]


def test_what_is_said_of_uncertainty_is_equal(honest_and_poisoned):
    """Of the pool only annotated voxels are read; both have one test set."""
    found = []
    for experiment in honest_and_poisoned:
        for fold in experiment.folds():
            fake_train(experiment, fold)
        opened = partial(FakeEnsemble, experiment, classes=3)
        for one in (experiment, replace(experiment, planned=replace(experiment.plan, test=()))):
            validation = validate(one, lambda folds, opened=opened: opened(), one.folds(), Asked(), progress=False)
            assert validation.cases
            found.append((validation.cases, validation.rated, validation.notes))
    assert found[:2] == found[2:]


def test_the_poison_would_be_noticed(honest_and_poisoned):
    """The foreground-aware baseline may look at the reference, and with the poisoned one it chooses differently."""
    method = methods.get("random_fg_66")
    assert method.needs_reference
    chosen = [method.draw(pool_cases(e, references=True), request_for(e, 6, 0)).patches for e in honest_and_poisoned]
    assert chosen[0] != chosen[1]


def test_only_methods_that_simulate_a_person_get_references(honest_and_poisoned):
    honest, _ = honest_and_poisoned
    assert all(case.load_reference is None for case in pool_cases(honest, references=False).values())
    assert {m.name for m in methods.METHODS if m.needs_reference} == {"random_fg_33", "random_fg_66"}

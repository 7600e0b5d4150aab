"""``nnactive_change -references reread``: changed reference labels are used on demand only, all of them or none."""

from __future__ import annotations

import blosc2
import numpy as np
import pytest
from report_experiment import run as run_all
from test_inputs import QUERY, QUIET, contents, edited, first, label, placed, refused

from conftest import PLANNED
from nnactive_ext.cli import change, query, status
from nnactive_ext.compare.checks import WORLD
from nnactive_ext.compare.trajectories import read_trajectory
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.inputs import Inputs
from nnactive_ext.experiment.training_checks import check_training
from nnactive_ext.labelling.opening import open_experiment
from nnactive_ext.planning import references

REREAD = f"-d 101 -references reread -who anna {QUIET}"


def swap(array: np.ndarray) -> None:
    """Organ and lesion change places."""
    array[...] = np.array([0, 2, 1], array.dtype)[array]


@pytest.fixture
def swapped(planned):
    """Two cases of the pool and one of the test set have other labels; their names."""
    annotated = [case for case, counts in planned.state["annotated"].items() if set(counts) != {"0"}]
    cases = [*annotated[:2], first(planned, test=True)]
    for case in cases:
        edited(label(planned, case), swap)
    return cases


def expected(experiment: Experiment, case: str) -> np.ndarray:
    """The partial label map by hand: ignore (3), but for the patches, which are as the reference file says now."""
    reference = experiment.source.label_map(case)
    partial = np.full(reference.shape, 3)
    for patch in experiment.annotated_patches(experiment.state["cycle"]):
        if patch.case == case:
            partial[patch.slices] = reference[patch.slices]
    return partial


def assert_reread(cases: list[str], changes: int = 1) -> None:
    experiment = Experiment(PLANNED)
    for case in experiment.plan.pool:
        np.testing.assert_array_equal(experiment.dataset.label_map(case), expected(experiment, case), err_msg=case)
        stored = experiment.preprocessed.gt_folder / f"{case}.nii.gz"
        assert stored.read_bytes() == (experiment.raw / "labelsTr" / f"{case}.nii.gz").read_bytes()
    noted = [one for one in experiment.plan.changes if one["what"] == "references"]
    assert len(noted) == changes
    assert (noted[-1]["who"], sorted(noted[-1]["cases"])) == ("anna", sorted(cases))
    assert Inputs.read(experiment.raw).part("rereading") == {}
    pool = (experiment.source.label_map(case) for case in experiment.plan.pool)
    assert experiment.plan.pool_foreground_voxels == sum(int((labels > 0).sum()) for labels in pool)


def test_labels_follow_the_changed_files(planned, swapped):
    case = swapped[0]
    before = planned.state["annotated"][case]
    file = planned.preprocessed.data_folder / f"{case}_seg.b2nd"
    network = blosc2.open(urlpath=str(file), mode="r")[:]
    change.main(REREAD.split())
    assert_reread(swapped)
    after = Experiment(PLANNED).state["annotated"][case]
    exchanged = {"0": "0", "1": "2", "2": "1"}
    assert after == {exchanged[value]: count for value, count in before.items()}
    assert not np.array_equal(blosc2.open(urlpath=str(file), mode="r")[:], network)
    query.main(QUERY.split())
    assert Experiment(PLANNED).last_loop == 1


def test_nothing_changed_changes_nothing(planned, nnunet_folders, capsys):
    before = contents(*vars(nnunet_folders).values())
    change.main(REREAD.split())
    assert "No reference label map has changed" in capsys.readouterr().out
    assert contents(*vars(nnunet_folders).values()) == before


def _another_value(array: np.ndarray) -> None:
    array[0, 0, 0] = 9


@pytest.mark.parametrize("what", ["value", "place", "gone", "size"])
def test_files_that_do_not_fit_are_refused(planned, swapped, nnunet_folders, what, capsys):
    file = label(planned, swapped[1])
    if what == "value":
        edited(file, _another_value)
    elif what == "place":
        placed(file, Origin=(500.0, 0.0, 0.0))
    elif what == "gone":
        file.unlink()
    else:
        file.write_bytes(label(planned, swapped[2]).read_bytes())
    before = contents(*vars(nnunet_folders).values())
    assert file.name in refused(change.main, REREAD, capsys)
    assert contents(*vars(nnunet_folders).values()) == before


def test_a_changed_class_is_not_taken_over_with_them(planned, swapped, capsys):
    from test_inputs import CHANGES

    CHANGES["a class added in the source"][0](planned)
    assert "vessel" in refused(change.main, REREAD, capsys)


def test_a_roll_out_has_none(tasks, capsys):
    assert "roll-out" in refused(change.main, f"-d 601 -references reread {QUIET}", capsys)


@pytest.mark.parametrize("step", ["relabel", "_recorded", "write_record"])
def test_killed_in_between_it_is_repeated(planned, swapped, step, monkeypatch, capsys):
    """Each step after the first is where the process ends; other commands and trainings wait for the repetition."""
    experiment = open_experiment(101, changed=("references",))
    with monkeypatch.context() as patch:
        patch.setattr(references, step, _killed)
        with pytest.raises(KeyboardInterrupt):
            references.reread_references(experiment, "anna", progress=False)
    assert "-references reread" in refused(status.main, "-d 101", capsys)
    assert "-references reread" in refused(query.main, QUERY, capsys)
    with pytest.raises(NnActiveError, match="reread"):
        check_training(PLANNED, "nnUNetPlans", planned.preprocessed.data_folder, {}, {})
    change.main(REREAD.split())
    assert_reread(swapped)
    status.main(["-d", "101"])


def _killed(*_, **__):
    raise KeyboardInterrupt


def test_results_before_are_told_apart(finished, capsys):
    cases = [first(finished), first(finished, test=True)]
    record = read_trajectory(finished.results)
    for case in cases:
        edited(label(finished, case), swap)
    change.main(REREAD.split())
    assert_reread(cases)
    capsys.readouterr()
    status.main(["-d", "101"])
    assert "results of cycle 0, 1, 2 rest on those before" in capsys.readouterr().out
    part = WORLD["reference labels that were changed on the way"]
    after = read_trajectory(finished.results)
    assert part(record) == []
    assert [text.split()[0] for text in part(after)] == sorted(cases)


def test_a_second_change_is_another_one(planned, swapped):
    change.main(REREAD.split())
    edited(label(planned, swapped[0]), swap)
    change.main(REREAD.split())
    assert_reread(swapped[:1], changes=2)
    run_all(Experiment(PLANNED))

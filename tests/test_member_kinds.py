"""-members: which there are, what they cost, what does not go together, and what the plan and nnU-Net's plans say of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fake_members import FakeEnsemble, fake_train
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.cli import plan, query
from nnactive_ext.compare.settings import members_of
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment, with_members
from nnactive_ext.experiment.member_kinds import MemberKind
from nnactive_ext.files import read_json
from nnactive_ext.members.ensemble import asked_as, check_members, fold_folder
from nnactive_ext.nnunet.member_plans import plan_members
from nnactive_ext.nnunet.splits import make_splits
from nnactive_ext.nnunet.trainers import snapshot_file
from nnactive_ext.planning.ensembles import check_classes, check_ensemble, decided_folds, default_trainer
from nnactive_ext.planning.settings import Settings
from nnactive_ext.querying.query import query_cycle
from nnactive_ext.report.predictions import PastMembers

PLAN = "-d 100 -o 102 -patch_size 5 5 3 -query_size 4 -starting_budget 6 -cycles 3 --preset cpu -np 1 --disable_progress_bar"


@pytest.mark.parametrize(
    ("word", "folds", "trainings", "passes"),
    [
        ("folds", 5, 5, 135),
        ("mirror", 1, 1, 216),
        ("dropout:10", 1, 1, 270),
        ("snapshots:5", 1, 1, 135),
        ("mirror", 5, 5, 1080),
        ("ssn:10", 1, 1, 27),
    ],
)
def test_trainings_and_passes_of_an_image_of_27_tiles(word, folds, trainings, passes):
    """As the specification has them."""
    settings = Settings(number=1, members=word, folds=folds)
    kind = MemberKind.of(word)
    assert (decided_folds(settings), 27 * kind.predictions(folds)) == (trainings, passes)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("seeds", "seeds:5"),
        ("ssn", "ssn:10"),
        ("dropout", "dropout:10"),
        ("dropout:4:0.5", "dropout:4:0.5"),
        ("dropout:7:.1", "dropout:7"),
    ]
    + [(word, word) for word in ("folds", "mirror", "mirror:noise", "snapshots:3", "seeds:2")],
)
def test_words(word, text):
    assert str(MemberKind.of(word)) == text
    assert MemberKind.of(text) == MemberKind.of(word)


@pytest.mark.parametrize(
    "word",
    ["", "mirrors", "mirror:2", "folds:5", "seeds:1", "dropout:1", "dropout:10:0", "ssn:1", "seeds:x", "mirror+snapshots:5"],
)
def test_what_is_no_kind_is_refused(word):
    with pytest.raises(NnActiveError, match="-members"):
        MemberKind.of(word)


@pytest.mark.parametrize(
    ("members", "preset", "trainer"),
    [
        ("folds", "cpu", "nnActiveTrainer_10epochs_NoMirroring"),
        ("mirror", "cpu", "nnActiveTrainer_10epochs"),
        ("mirror:noise", None, "nnActiveTrainer"),
        ("snapshots:5", None, "nnActiveTrainer_Snapshots"),
        ("snapshots:3", None, "nnActiveTrainer_Snapshots_201epochs"),
        ("snapshots:5", "cpu", "nnActiveTrainer_Snapshots_50epochs_NoMirroring"),
        ("dropout:10", "cpu", "nnActiveTrainer_10epochs_NoMirroring"),
        ("ssn:10", None, "nnActiveTrainer_SSN"),
        ("ssn:3", "cpu", "nnActiveTrainer_SSN_10epochs_NoMirroring"),
    ],
)
def test_the_default_trainer_goes_with_the_members(members, preset, trainer):
    settings = Settings(number=1, members=members, preset=preset)
    assert default_trainer(settings) == trainer
    check_ensemble(settings, trainer)


@pytest.mark.parametrize(
    ("words", "trainer", "named"),
    [
        ({"members": "mirror"}, "nnActiveTrainer_10epochs_NoMirroring", ["mirrors", "nnActiveTrainer_10epochs,"]),
        ({"members": "mirror:noise"}, "nnActiveTrainer_NoMirroring", ["mirrors", "nnActiveTrainer,"]),
        ({"members": "snapshots:5"}, "nnActiveTrainer", ["nnActiveTrainer_Snapshots_<N>epochs"]),
        ({"members": "snapshots:5"}, "nnActiveTrainer_Snapshots_40epochs", ["40 epochs", "Train 50 epochs"]),
        ({"members": "snapshots:3"}, "nnActiveTrainer_Snapshots", ["3 equal parts", "Train 201 epochs"]),
        ({}, "nnActiveTrainer_Snapshots_20epochs", ["5 equal parts"]),
        ({"members": "ssn:10"}, "nnActiveTrainer_20epochs", ["nnActiveTrainer_SSN_<N>epochs"]),
        ({"members": "ssn:10", "pretrained": "weights.pth"}, "nnActiveTrainer_SSN", ["pretrained weights", "mirror"]),
        ({"members": "seeds:3", "folds": 4}, "nnActiveTrainer", ["seeds:3", "-folds is 4"]),
        ({"members": "seeds:3", "labels": ("liver",)}, "nnActiveTrainer", ["roll-out", "mirror"]),
        ({"folds": 1, "method": "bald"}, "nnActiveTrainer", ["only member", "predictive_entropy", "-members mirror"]),
        ({"members": "folds", "folds": 1, "method": "bald"}, "nnActiveTrainer", ["only member"]),
    ],
)
def test_what_does_not_go_together_is_refused_with_what_does(words, trainer, named):
    with pytest.raises(NnActiveError) as caught:
        check_ensemble(Settings(number=1, **words), trainer)
    assert all(part in str(caught.value) for part in named), caught.value


@pytest.mark.parametrize("members", ["mirror", "snapshots:2", "dropout:2", "ssn:2"])
def test_with_one_training_and_several_members_methods_that_need_them_will_do(members):
    check_ensemble(settings := Settings(number=1, folds=1, members=members, method="bald"), default_trainer(settings))


def test_stochastic_networks_are_not_for_regions():
    with pytest.raises(NnActiveError, match="regions"):
        check_classes(True, "nnActiveTrainer_SSN_10epochs")
    check_classes(True, "nnActiveTrainer")
    check_classes(False, "nnActiveTrainer_SSN")


@pytest.mark.usefixtures("tiny", "quick_planning")
def test_the_plan_keeps_the_members_and_says_what_they_cost():
    plan.main(f"{PLAN} -members mirror -folds 1 --method bald".split())
    made = Experiment.find(102)
    assert (made.plan.settings["members"], made.plan.folds) == ("mirror", 1)
    assert made.plan.trainer == "nnActiveTrainer_10epochs"
    assert made.folds() == [0]
    said = str(made.plan.decisions)
    assert all(words in said for words in ("8 members", "1 training in each cycle", "5 trainings", "5 predictions"))
    (split,) = read_json(made.preprocessed.folder / "splits_final.json")
    assert split["val"] and split["train"] and not set(split["val"]) & set(split["train"])  # noqa: PT018


def test_a_plan_without_the_key_means_what_it_meant(planned):
    assert "settings" not in planned.plan.content()
    assert str(planned.plan.member_kind) == members_of({}) == members_of(planned.plan.content()) == "folds"


@pytest.mark.parametrize(("configuration", "layer"), [("3d_fullres", "Dropout3d"), ("2d", "Dropout2d")])
def test_nnunets_plans_say_it(planned, configuration, layer):
    before = planned.preprocessed.plans
    made = plan_members(before, configuration, MemberKind.of("dropout:3:0.2").in_plans)["configurations"][configuration]
    architecture = made["architecture"]["arch_kwargs"]
    assert architecture["dropout_op"] == f"torch.nn.modules.dropout.{layer}"
    assert architecture["dropout_op_kwargs"] == {"p": 0.2, "inplace": True}
    made = plan_members(before, configuration, MemberKind.of("snapshots:2").in_plans)["configurations"][configuration]
    kept = before["configurations"][configuration].get("nnactive", {})
    assert made["nnactive"] == {**kept, "snapshots": 2}
    assert plan_members(before, configuration, MemberKind.of("mirror").in_plans) == before == planned.preprocessed.plans


pools = st.integers(2, 12).map(lambda n: {f"c{i:02d}": {0: 5, 1 + i % 3: 2} for i in range(n)})


@given(pools, st.integers(0, 50))
def test_a_single_fold_trains_on_four_fifths_and_lacks_no_class_that_it_need_not(voxels, seed):
    (split,), warnings = make_splits(voxels, 1, np.random.default_rng(seed))
    assert sorted(split["train"] + split["val"]) == sorted(voxels)
    assert 0 < len(split["val"]) <= max(1, -(-len(voxels) // 5) + 1)
    several = {label for label in (1, 2, 3) if sum(label in counts for counts in voxels.values()) > 1}
    assert several <= {label for case in split["train"] for label in voxels[case]}
    assert not any("folds instead" in warning for warning in warnings)


@given(pools, st.integers(2, 6), st.integers(0, 50))
def test_seeds_train_on_all_annotated_cases(voxels, folds, seed):
    splits, warnings = make_splits(voxels, folds, np.random.default_rng(seed), seeds=True)
    assert len(splits) == folds
    assert not warnings
    for split in splits:
        assert split["train"] == sorted(voxels)
        assert split["val"]


def opened(seen):
    def open_ensemble(experiment, folds):
        seen.append((str(experiment.plan.member_kind), list(folds)))
        return FakeEnsemble(experiment, classes=3)

    return open_ensemble


def test_candidates_are_good_for_one_kind_of_members_only(planned):
    for fold in planned.folds():
        fake_train(planned, fold)
    seen = []
    for members in ("folds", "mirror", "mirror", "mirror:noise"):
        asked = with_members(planned, members)
        query_cycle(asked, opened(seen), [0, 1, 2], parts=(0, 2), progress=False)
    assert [kind for kind, _ in seen] == ["folds", "mirror", "mirror:noise"]


def test_a_loop_file_tells_which_members_were_asked(planned):
    for fold in planned.folds():
        fake_train(planned, fold)
    query_cycle(with_members(planned, "mirror"), opened([]), [0], "bald", progress=False)
    loop = read_json(planned.raw / "loop_001.json")
    assert (loop["members"], loop["member_kind"]) == ([0], "mirror")
    assert PastMembers.of(planned, 0).kind == "mirror"


def test_a_query_of_folds_is_told_as_it_always_was(planned):
    for fold in planned.folds():
        fake_train(planned, fold)
    query_cycle(planned, opened([]), planned.folds(), progress=False)
    assert "member_kind" not in read_json(planned.raw / "loop_001.json")
    assert PastMembers.of(planned, 0).kind == "folds"


def test_one_fold_is_no_ensemble_and_mirrored_it_is(planned):
    for fold in planned.folds():
        fake_train(planned, fold)
    with pytest.raises(NnActiveError, match="-members mirror"):
        query_cycle(planned, opened([]), [0], "bald", progress=False)
    assert query_cycle(with_members(planned, "mirror"), opened([]), [0], "bald", progress=False).patches


def test_snapshots_that_are_not_there_are_refused(planned):
    asked = with_members(planned, "snapshots:3")
    fake_train(planned, 0)
    with pytest.raises(NnActiveError, match="1 snapshot") as caught:
        check_members(asked, [0])
    assert "snapshots:3" in str(caught.value)
    for number in (1, 2):
        snapshot_file(fold_folder(asked, 0), number).write_bytes(b"a snapshot")
    check_members(asked, [0])
    fake_train(planned, 0)  # a training that begins anew leaves none of an earlier one
    with pytest.raises(NnActiveError, match="1 snapshot"):
        check_members(asked, [0])


def test_seeds_are_decided_when_planning(planned):
    with pytest.raises(NnActiveError, match="planned"):
        asked_as(planned, "seeds:3")
    of_seeds = replace(planned, planned=replace(planned.plan, settings={"members": "seeds:3"}))
    assert asked_as(of_seeds, "seeds:3") == of_seeds
    assert str(asked_as(of_seeds, "mirror").plan.member_kind) == "mirror"


def test_the_command_that_merges_parts_names_the_members(planned):
    options = query.parser().parse_args("-d 101 -members mirror -num_parts 2 -part_id 0".split())
    assert "-members mirror" in query.merging(planned, options)

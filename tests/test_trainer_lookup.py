"""Trainers and planners are looked up before any case is read: what cannot train a member is refused, with what would."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

import pytest
from test_errors import OPTIONS, PLANNING, listing, refuses  # noqa: F401
from test_rollout_plan_errors import OPTIONS as ROLLOUT_OPTIONS

from nnactive_ext.bench.definition import read_benchmark
from nnactive_ext.bench.runs import check_runs, runs_of
from nnactive_ext.cli import plan, query, run
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.plan import Plan
from nnactive_ext.files import read_json, write_json
from nnactive_ext.members import training
from nnactive_ext.members.ensemble import fold_folder
from nnactive_ext.nnunet.planners import check_planner
from nnactive_ext.nnunet.trainers import builds_its_own_network, check_trainer

GOOD = """
from nnactive_ext.trainers.nnActiveTrainer import nnActiveTrainer
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

class OneEpoch(nnActiveTrainer):
    epochs = 1

class Own(nnActiveTrainer):
    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 1

class Network(OneEpoch):
    @staticmethod
    def build_network_architecture(*arguments, **options):
        raise NotImplementedError

class Stock(nnUNetTrainer):
    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)

class Longer(nnActiveTrainer):
    def __init__(self, plans, configuration, fold, dataset_json, unpack_dataset=True, device=None):
        super().__init__(plans, configuration, fold, dataset_json, device)

class Anything(nnActiveTrainer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)

class NoTrainer:
    pass

Renamed = OneEpoch
"""


@pytest.fixture
def theirs(nnunet_folders, monkeypatch, tmp_path) -> Path:
    """A folder of trainers, beside one that does not exist; after the folders, which forget the variable."""
    folder = tmp_path / "their trainers"
    folder.mkdir()
    (folder / "theirs.py").write_text(GOOD)
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join([str(folder), str(tmp_path / "gone")]))
    return folder


def refusal(name: str) -> str:
    with pytest.raises(NnActiveError) as caught:
        check_trainer(name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("nnActivTrainer", "nnActiveTrainer"),
        ("nnactivetrainer", "nnActiveTrainer"),
        ("nnActiveTrainer_7epoch", "nnActiveTrainer_7epochs"),
        ("nnActiveTrainer_7epochs_noMirroring", "nnActiveTrainer_7epochs_NoMirroring"),
        ("nnActiveTrainer_0epochs", "nnActiveTrainer_10epochs"),
        ("OneEpochs", "OneEpoch"),
    ],
)
def test_an_unknown_trainer_is_refused_with_similar_names(theirs, name, meant):
    message = refusal(name)
    assert meant in message.split("There are")[0]
    assert str(theirs) in message
    assert "gone (no such folder)" in message


@pytest.mark.parametrize("name", ["Stock", "nnUNetTrainer", "nnUNetTrainer_5epochs", "NoTrainer", "torch"])
@pytest.mark.usefixtures("theirs")
def test_what_is_no_trainer_of_ours_is_refused(name):
    assert "from nnactive_ext.trainers.nnActiveTrainer import nnActiveTrainer" in refusal(name)


@pytest.mark.parametrize("name", ["Longer", "Anything"])
def test_other_arguments_than_nnunet_collects_are_refused(theirs, name):
    message = refusal(name)
    assert str(theirs / "theirs.py") in message
    assert "dataset_json, device" in message


@pytest.mark.usefixtures("theirs")
def test_a_trainer_by_another_name_is_refused():
    """nnU-Net calls the folder of the results after the class."""
    assert "-tr OneEpoch" in refusal("Renamed")


@pytest.mark.usefixtures("theirs")
def test_trainers_that_will_do():
    for name in ("OneEpoch", "Own", "Network", "nnActiveTrainer", "nnActiveTrainer_7epochs_NoMirroring"):
        check_trainer(name)
    names = ("OneEpoch", "Network", "nnActiveTrainer", "nnActiveTrainer_SSN_10epochs")
    assert [builds_its_own_network(name) for name in names] == [False, True, False, True]


def test_the_trainer_that_the_documentation_shows(theirs):
    text = (Path(__file__).parents[1] / "docs" / "how-it-works.md").read_text()
    code = text.split("## A trainer of your own")[1].split("```python")[1].split("```")[0]
    (theirs / "shown.py").write_text(code)
    check_trainer("MyTrainer")


def test_names_of_our_own_trainer_need_no_nnunet(monkeypatch):
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    monkeypatch.setattr("nnactive_ext.nnunet.trainers._found", lambda *_: pytest.fail("nnU-Net was imported"))
    for name in ("nnActiveTrainer", "nnActiveTrainer_7epochs", "nnActiveTrainer_NoMirroring"):
        check_trainer(name)


@pytest.mark.parametrize(
    "text",
    ["def f(:", "import no_such_package_of_theirs", "1 / 0", "raise SystemExit(0)", "assert False", "raise RuntimeError"],
)
@pytest.mark.parametrize("name", ["AnyTrainer", "nnActiveTrainer_3epochs"])
def test_a_broken_module_is_named_whatever_trainer_is_meant(theirs, name, text):
    (theirs / "a_broken_one.py").write_text(text)
    assert str(theirs / "a_broken_one.py") in refusal(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nnUNetPlannerResEncX", ["nnUNetPlannerResEncXL", "nnUNetPlannerResEncM"]),
        ("ExperimentPlaner", ["ExperimentPlanner"]),
        ("resencunetplanner", ["ResEncUNetPlanner"]),
        ("DatasetFingerprintExtractor", ["no experiment planner"]),
        ("np", ["no experiment planner"]),
    ],
)
def test_a_planner_that_is_none_is_refused(name, words):
    with pytest.raises(NnActiveError) as caught:
        check_planner(name, "3d_fullres")
    assert all(word in str(caught.value) for word in words)


def test_planners_of_nnunet():
    for name in ("ExperimentPlanner", "nnUNetPlannerResEncM", "nnUNetPlanner_torchres"):
        check_planner(name, "3d_lowres")
        with pytest.raises(NnActiveError, match="Did you mean 3d_fullres"):
            check_planner(name, "3d_fulres")


# Through the commands

NAMES = [
    ("-tr nnActivTrainer", "nnActiveTrainer"),
    ("-tr Stock", "import nnActiveTrainer"),
    ("-tr Longer", "theirs.py"),
    ("-pl nnUNetPlannerResEncX", "nnUNetPlannerResEncXL"),
    ("-pl DatasetFingerprintExtractor", "ExperimentPlanner"),
    ("-c 3d_fulres", "3d_fullres"),
    ("-patch_size 4 4", "-patch_size"),
    ("-patch_size 5 5 x", "-patch_size"),
    ("-query_size 0", "at least 1"),
]


@pytest.mark.parametrize(("option", "word"), [*NAMES, ("-starting_budget 0", "at least 1"), ("-tolerance -1", "-tolerance")])
@pytest.mark.usefixtures("tiny", "theirs")
def test_planning_a_simulation_refuses_before_cases_are_read(refuses, monkeypatch, option, word):  # noqa: F811
    monkeypatch.setattr("nnactive_ext.planning.measure.map_cases", lambda *_, **__: pytest.fail("cases were read"))
    refuses(plan.main, f"{PLANNING} {option}", word)


@pytest.mark.parametrize(
    ("option", "word"), [*NAMES, ("-structures kidney=3", "-structures"), ("-minutes_per_patch 0", "minutes_per_patch")]
)
@pytest.mark.usefixtures("theirs")
def test_planning_a_rollout_refuses_before_images_are_read(rollout, refuses, monkeypatch, option, word):  # noqa: F811
    # The folder re-exports a function of the module's name.
    reading = import_module("nnactive_ext.intake.inspect")
    monkeypatch.setattr(reading, "map_cases", lambda *_, **__: pytest.fail("images were read"))
    refuses(plan.main, f"-i {rollout.images} -o 601 -name Tiny {ROLLOUT_OPTIONS} {option}", word)


@pytest.mark.parametrize(
    ("line", "word"), [('trainer = "Stock"', "import nnActiveTrainer"), ('planner = "ExperimentPlaner"', "ExperimentPlanner")]
)
@pytest.mark.usefixtures("tiny", "theirs")
def test_a_benchmark_refuses_before_anything_is_run(tmp_path, line, word):
    file = tmp_path / "small.toml"
    file.write_text(
        f'name = "small"\nfirst_number = 200\nmethods = ["random"]\nseeds = [1]\n{line}\n'
        '[[datasets]]\ndataset = 100\npatch_sizes = ["5 5 3"]\nregimes = {low = 10}\n'
    )
    runs = runs_of(read_benchmark(file), remember=False)
    with pytest.raises(NnActiveError, match=word):
        check_runs(runs)


@pytest.mark.usefixtures("planned", "theirs")
def test_queries_and_runs_refuse_at_once(refuses, monkeypatch):  # noqa: F811
    line = "-d 101 -device cpu --disable_progress_bar"
    refuses(query.main, f"{line} -tr nnActivTrainer", "nnActiveTrainer")
    refuses(query.main, f"{line} -tr Stock", "import nnActiveTrainer")
    # An experiment of an earlier version, which accepted any trainer.
    experiment = Experiment.find(101)
    plan_file = experiment.raw / "nnactive_plan.json"
    write_json(plan_file, {**read_json(plan_file), "trainer": "Stock"})
    monkeypatch.setattr(training, "_run", lambda *_: pytest.fail("a training began"))
    refuses(run.main, line, "import nnActiveTrainer")


# A training whose fold does not count


@pytest.mark.parametrize(
    ("left", "word"),
    [
        ({}, "nnactive_member.json"),
        ({"folder": False}, "output_folder"),
        ({"mark": {"finished": False}}, "checkpoint_final.pth"),
        ({"mark": {"finished": False}, "checkpoint": True}, "on_train_end"),
        ({"mark": {"finished": True, "cycle": 7}, "checkpoint": True}, "on_train_start"),
    ],
)
def test_a_training_without_our_mark_says_why_it_does_not_count(planned, monkeypatch, left, word):
    folder = fold_folder(planned, 0)

    def train(*_) -> int:
        if left.get("folder", True):
            folder.mkdir(parents=True)
        if "mark" in left:
            write_json(folder / "nnactive_member.json", {"experiment": planned.plan.experiment, "cycle": 0, **left["mark"]})
        if left.get("checkpoint"):
            (folder / "checkpoint_final.pth").touch()
        return 0

    monkeypatch.setattr(training.TrainingServer, "possible", lambda device: False)
    monkeypatch.setattr(training, "_run", train)
    with pytest.raises(NnActiveError) as caught:
        training.train_member(planned, 0, "cpu")
    assert word in str(caught.value)
    assert "failed with status" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_a_trainer_that_derives_from_ours_works_to_its_end(theirs, monkeypatch, capsys):
    """Really trained, twice asked for, once done."""
    for name, value in {"nnactive_iterations_per_epoch": "2", "nnactive_val_iterations_per_epoch": "1"}.items():
        monkeypatch.setenv(name, value)
    plan.main(f"-d 100 -o 101 {OPTIONS.replace('-cycles 3 -folds 3', '-cycles 2 -folds 2')} -tr Own".split())
    line = "-d 101 -device cpu --disable_progress_bar".split()
    run.main(line)
    experiment = Experiment.find(101)
    assert read_json(experiment.results / "cycle_001.json")["cycle"] == 1
    assert read_json(fold_folder(experiment, 1) / "nnactive_member.json")["finished"]
    assert len(list((fold_folder(experiment, 0)).glob("training_log_*.txt"))) == 1
    assert Plan.read(experiment.raw).trainer == "Own"
    capsys.readouterr()
    monkeypatch.setattr(training, "train_member", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr("nnactive_ext.members.tools.train_member", lambda *_: pytest.fail("trained again"))
    run.main(line)
    # Without the folder, its members cannot be opened; they are not said to be damaged.
    monkeypatch.delenv("nnUNet_extTrainer")
    (experiment.results / "cycle_001.json").unlink()
    before = listing()
    with pytest.raises(SystemExit):
        run.main(line)
    assert "finds no such trainer" in capsys.readouterr().err
    assert listing() == before
    assert theirs.is_dir()

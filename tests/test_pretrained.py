"""nnactive_plan -pretrained: the plan and nnU-Net's plans take the network over, and what does not go together is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import report_facts
import torch
from folders import set_folders
from rollouts import OPTIONS
from weights import PATCH, SPACING, MakesAFolder, nnssl_checkpoint, nnunet_checkpoint

from conftest import PLAN, TINY
from nnactive_ext.bench.clone import clone
from nnactive_ext.cli import plan as command
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.plan import Geometry, Plan
from nnactive_ext.files import read_json
from nnactive_ext.nnunet.finetuning import RATE, WarmUp, first_convolution, warm_up
from nnactive_ext.nnunet.pretrained import TENSORS, digest, read_pretrained, read_tensors
from nnactive_ext.planning.decisions import Decisions
from nnactive_ext.planning.options import from_options
from nnactive_ext.planning.pretrained import differing_start, with_start
from nnactive_ext.planning.settings import Settings, command_of
from nnactive_ext.planning.simulation import check, without_budget
from nnactive_ext.report.page import write_report
from nnactive_ext.trainers import nnActiveTrainer as module


def settings(*words: str) -> Settings:
    return from_options(Settings, command.parser().parse_args(["-d", "100", "-o", "101", *map(str, words)]))


@pytest.fixture(scope="module")
def started(tmp_path_factory, tiny_template):
    """The experiment 101 of the tiny dataset, planned from weights for its two channels. Read only."""
    root = tmp_path_factory.mktemp("pretrained")
    with pytest.MonkeyPatch.context() as monkeypatch:
        folders = set_folders(monkeypatch, root)
        monkeypatch.setattr("nnactive_ext.nnunet.fingerprint._SAMPLES", 1e5)
        shutil.copytree(tiny_template, folders.raw / TINY)
        file = nnunet_checkpoint(root / "model")
        command.main([*PLAN.split(), "-pretrained", str(file), "-pretrained_seen", "no"])
        yield SimpleNamespace(experiment=Experiment.find("101"), file=file, folders=folders)


def test_what_is_planned(started):
    plan, file = started.experiment.plan, started.file
    sha256 = digest(read_pretrained(file, "3d_fullres").tensors)
    assert {"file": file.name, "sha256": sha256, "seen": "no", "format": "nnU-Net"}.items() <= plan.pretrained.items()
    assert plan.trainer == "nnActiveTrainer_Finetune_10epochs_NoMirroring"
    rows = {what: value for what, value, _ in plan.decisions if what}
    assert "16x16x8" in rows["network"]
    assert any("has it seen these images? no" in value for _, value, _ in plan.decisions)
    assert str(file.parent) not in (started.experiment.raw / "nnactive_plan.json").read_text(), "a path of this machine"
    words = command_of(plan, labels=None, channels=None)
    assert words[words.index("-pretrained") + 1] == file.name
    assert Plan.read(started.experiment.raw) == plan


def test_nnunets_plans_are_those_of_the_weights(started):
    target = started.experiment.preprocessed
    configuration = target.plans["configurations"]["3d_fullres"]
    assert (configuration["spacing"], configuration["patch_size"]) == (SPACING, PATCH)
    assert configuration["nnactive"]["pretrained"] == started.experiment.plan.pretrained["sha256"]
    assert target.plans["foreground_intensity_properties_per_channel"]["0"]["mean"] == 1.5, "no fingerprint of ours"
    tensors = read_tensors(target.folder, configuration["nnactive"]["pretrained"])
    expected = read_pretrained(started.file, "3d_fullres").tensors
    assert all(torch.equal(tensors[name], value) for name, value in expected.items())
    content = torch.load(target.folder / TENSORS, weights_only=True)
    assert {type(value) for value in content.values()} == {torch.Tensor}
    z, y, x = (np.array(target.load(case)[0].shape[1:]) for case in list(started.experiment.plan.pool)[:3])
    assert all((shape > 0).all() for shape in (z, y, x))


def test_every_member_of_every_cycle_starts_from_the_same_weights(started, monkeypatch, tmp_path):
    """All but the heads, which differ; without nnU-Net's results."""
    for name, folder in vars(started.folders).items():
        monkeypatch.setenv(f"nnUNet_{name}", str(folder))
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    target, found = started.experiment.preprocessed, {}
    for cycle in (0, 1):
        monkeypatch.setattr(module.marks, "state_of", lambda folder, cycle=cycle: ("e", cycle))
        for fold in (0, 1):
            trainer = getattr(module, started.experiment.plan.trainer)
            made = trainer(target.plans, "3d_fullres", fold, started.experiment.dataset.json, torch.device("cpu"))
            before = torch.get_rng_state()
            made.initialize()
            assert torch.equal(torch.get_rng_state(), before), "nnU-Net's own numbers are not drawn from our seed"
            found[cycle, fold] = {name: value.clone() for name, value in made.network.state_dict().items()}
            log = open(made.log_file).read()
            assert first_convolution(made.network.state_dict()) in log
    expected = read_tensors(target.folder, started.experiment.plan.pretrained["sha256"])
    assert all(torch.equal(weights[name], value) for weights in found.values() for name, value in expected.items())
    assert len({first_convolution(weights) for weights in found.values()}) == 1
    heads = {weights["decoder.seg_layers.0.weight"].numpy().tobytes() for weights in found.values()}
    assert len(heads) == 4
    assert made.optimizer.param_groups[0]["lr"] == pytest.approx(RATE * 10 / 3), "momentum .9, the first of 3 steps of warm-up"


def test_a_training_that_is_continued_has_its_own_weights(started, monkeypatch, tmp_path):
    for name, folder in vars(started.folders).items():
        monkeypatch.setenv(f"nnUNet_{name}", str(folder))
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    target = started.experiment.preprocessed

    def made():
        trainer = getattr(module, started.experiment.plan.trainer)
        return trainer(target.plans, "3d_fullres", 0, started.experiment.dataset.json, torch.device("cpu"))

    first = made()
    first.initialize()
    with torch.no_grad():
        for parameter in first.network.parameters():
            parameter.add_(1)
    file = tmp_path / "checkpoint_latest.pth"
    first.save_checkpoint(str(file))
    again = made()
    again.load_checkpoint(str(file))
    expected = first.network.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in again.network.state_dict().items())
    torch.save({"network_weights": {}, "x": MakesAFolder(tmp_path / "made")}, file)
    with pytest.raises(NnActiveError, match="add_safe_globals"):
        made().load_checkpoint(str(file))
    assert not (tmp_path / "made").exists()


def test_a_dataset_that_was_planned_without_weights(planned):
    trainer = module.nnActiveTrainer_Finetune
    made = trainer(planned.preprocessed.plans, "3d_fullres", 0, planned.dataset.json, torch.device("cpu"))
    with pytest.raises(NnActiveError, match="-pretrained FILE"):
        made.initialize()


def test_an_experiment_that_begins_with_its_cycle_0_starts_from_the_same(started, monkeypatch):
    plan = started.experiment.plan
    monkeypatch.setattr("nnactive_ext.bench.clone._results", lambda start, experiment: None)
    copied = clone(started.experiment, 102, {"dataset": "Dataset102_Tiny"})
    assert copied.plan.pretrained == plan.pretrained
    assert read_tensors(copied.preprocessed.folder, plan.pretrained["sha256"])


@pytest.mark.parametrize(
    ("epochs", "rates"),
    [(3, [1, 2 / 3, 1 / 3]), (4, [0.5, 1, 2 / 3, 1 / 3]), (8, [1 / 3, 2 / 3, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])],
)
def test_warm_up(epochs, rates):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, found = WarmUp(optimizer, 1.0, epochs), []
    for epoch in (*range(epochs), 0):
        schedule.step(epoch)
        found.append(optimizer.param_groups[0]["lr"])
    polynomial = [rate if i < warm_up(epochs) else rate**0.9 for i, rate in enumerate(rates)]
    assert found == pytest.approx([*polynomial, polynomial[0]]), "an epoch's rate does not depend on those before: --c"
    assert [warm_up(n) for n in (1000, 200, 100, 10)] == [50, 50, 25, 2]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("-pretrained_seen no", "-pretrained FILE"),
        ("-pretrained_plans plans.json", "-pretrained FILE"),
        ("--trust", "-pretrained FILE"),
        ("-tr nnActiveTrainer_Finetune_3epochs", "-pretrained FILE"),
        ("-pretrained FILE -tr nnActiveTrainer_3epochs", "nnActiveTrainer_Finetune"),
        ("-pretrained FILE -pl nnUNetPlannerResEncM", "-pl"),
        ("-pretrained FILE -gpu_memory_target 8", "-gpu_memory_target"),
        ("-pretrained none.pth", "no such file"),
        ("-pretrained FILE -pretrained_plans none.json", "no such file"),
        ("-pretrained BAD", "mkdir.*--trust"),
    ],
)
def test_what_does_not_go_together(tmp_path, words, named):
    file = nnunet_checkpoint(tmp_path)
    torch.save({"network_weights": {}, "x": MakesAFolder(tmp_path / "made")}, tmp_path / "bad.pth")
    with pytest.raises(NnActiveError, match=named):
        check(settings(*words.replace("FILE", str(file)).replace("BAD", str(tmp_path / "bad.pth")).split()), "X")
    assert not (tmp_path / "made").exists()


def decided(asked: Settings, channels=("T1", "T2")) -> tuple[Plan, Decisions]:
    pool = {case: Geometry((20, 20, 20), (3.0, 1.0, mm)) for case, mm in (("a", 1.0), ("b", 1.0), ("c", 2.0))}
    check(asked, "X")
    decisions = Decisions()
    return with_start(without_budget(asked, "X", pool, (1.0, 1.0, 1.0)), asked, channels, decisions), decisions


def test_other_spacings_and_channels_are_refused(tmp_path):
    file = nnunet_checkpoint(tmp_path)
    words = ["-pretrained", file, "-overwrite_target_spacing"]
    assert decided(settings(*words, 1, 1, 2))[0].pretrained["plans"]["configuration"]["spacing"] == SPACING
    with pytest.raises(NnActiveError, match=r"1 x 1 x 2 mm.*3 x 1 x 1 mm"):
        decided(settings(*words, 3, 1, 1))
    with pytest.raises(NnActiveError, match="2 channels"):
        decided(settings("-pretrained", file), ("CT",))
    _, decisions = decided(settings("-pretrained", file), ("CT", "PET"))
    assert any(what == "WARNING" and "T1, T2" in why for what, _, why in decisions)


def test_weights_without_a_spacing_take_that_of_the_images(tmp_path):
    file = nnssl_checkpoint(tmp_path / "mae.pth", spacing=None)
    assert decided(settings("-pretrained", file), ("CT",))[0].pretrained["plans"]["configuration"]["spacing"] == [3.0, 1.0, 1.0]
    typed = settings("-pretrained", file, "-overwrite_target_spacing", 2, 2, 2)
    plan, _ = decided(typed, ("CT",))
    assert plan.pretrained["plans"]["configuration"]["spacing"] == [2.0, 2.0, 2.0]
    assert plan.trainer == "nnActiveTrainer_Finetune"
    assert "nnactive" not in read_pretrained(file, "3d_fullres").configuration


@pytest.mark.parametrize(("seen", "what"), [("yes", "WARNING"), ("unknown", ""), ("no", "")])
def test_whether_the_weights_have_seen_the_images(tmp_path, seen, what):
    file = nnunet_checkpoint(tmp_path)
    words = [] if seen == "unknown" else ["-pretrained_seen", seen]
    plan, decisions = decided(settings("-pretrained", file, *words))
    assert plan.pretrained["seen"] == seen
    assert (what, f"-pretrained: has it seen these images? {seen}") in [(one[0], one[1]) for one in decisions]


def test_a_benchmark_notices_other_weights(tmp_path):
    one, other = nnunet_checkpoint(tmp_path / "one"), nnunet_checkpoint(tmp_path / "other")
    content = torch.load(other, weights_only=False)
    content["network_weights"] = {name: value + 1 for name, value in content["network_weights"].items()}
    torch.save(content, other)
    plan, _ = decided(settings("-pretrained", one))
    assert differing_start(plan, settings("-pretrained", one), "ab") == []
    assert [name for name, *_ in differing_start(plan, settings("-pretrained", other), "ab")] == ["pretrained"]
    assert [name for name, *_ in differing_start(plan, settings(), "ab")] == ["pretrained", "pretrained_seen"]
    assert differing_start(replace(plan, pretrained={}), settings(), "ab") == []


def test_plans_without_weights_are_as_they_were(planned):
    assert "pretrained" not in read_json(planned.raw / "nnactive_plan.json")
    assert planned.plan.pretrained == {}


def test_a_rollout_keeps_the_weights_until_it_is_trained(rollout, tmp_path):
    """The user's file may be gone by then; nnU-Net's plans come from the plan."""
    file = nnunet_checkpoint(tmp_path / "model")
    rollout.plan(f"{OPTIONS} -pretrained {file}")
    shutil.rmtree(tmp_path / "model")
    experiment = rollout.experiment
    assert experiment.plan.trainer == "nnActiveTrainer_Finetune_10epochs_NoMirroring"
    tensors = read_tensors(experiment.preprocessed.folder, experiment.plan.pretrained["sha256"])
    assert digest(tensors) == experiment.plan.pretrained["sha256"]


@pytest.mark.slow
def test_real_trainings_start_alike_in_every_cycle(started, monkeypatch, tmp_path):
    """nnactive_run with three members and two cycles; each training's log tells its first convolution."""
    from nnactive_ext.cli import plan, run

    folders = set_folders(monkeypatch, tmp_path)
    monkeypatch.setenv("nnactive_iterations_per_epoch", "1")
    monkeypatch.setenv("nnactive_val_iterations_per_epoch", "1")
    shutil.copytree(started.folders.raw / TINY, folders.raw / TINY)
    words = PLAN.replace("-cycles 3", "-cycles 2").split()
    plan.main([*words, "-pretrained", str(started.file), "-tr", "nnActiveTrainer_Finetune_1epochs_NoMirroring"])
    run.main("-d 101 -device cpu --disable_progress_bar".split())
    experiment = Experiment.find("101")
    logs = sorted(experiment.results.glob("cycle_*/train_fold_*.log"))
    told = [line.partition("first convolution ")[2] for log in logs for line in log.read_text().splitlines()]
    found = [sha256 for sha256 in told if sha256]
    assert len(logs) == len(found) == 6
    assert len(set(found)) == 1
    assert (experiment.results / "cycle_001.json").is_file()


def test_the_report_tells_of_the_weights(tmp_path):
    taken = {"file": "mae.pth", "format": "nnssl", "origin": "BaseMAETrainer", "sha256": "0123abcd", "seen": "unknown"}
    network = {"plans": {"configuration": {"spacing": [987.5]}}}
    for name, pretrained in (("with", {**taken, **network}), ("without", {})):
        write_report(report_facts.facts(pictures=False, pretrained=pretrained), tmp_path / f"{name}.html")
    text, without = ((tmp_path / f"{name}.html").read_text(encoding="utf-8") for name in ("with", "without"))
    assert "Has it seen these images? unknown" in text
    assert "0123abcd" in text
    assert "987.5" not in text, "what nnU-Net's plans say is shown by itself"
    assert "Has it seen" not in without

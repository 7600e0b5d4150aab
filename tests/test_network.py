"""Plans whose network cannot be trained are refused while planning; a residual encoder is shrunk, trained and queried."""

from __future__ import annotations

import pytest
import torch
from test_errors import OPTIONS, PLANNING, refuses  # noqa: F401

from nnactive_ext.cli import plan, query, run
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json, write_json
from nnactive_ext.labelling import prepare
from nnactive_ext.members.ensemble import NnUNetEnsemble, always_by_onednn
from nnactive_ext.nnunet.network import built, check_network
from nnactive_ext.nnunet.preprocessing import Preprocessed

DATASET = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "organ": 1, "lesion": 2, "ignore": 3}}
LINE = "-d 101 -device cpu --disable_progress_bar"
RESIDUAL = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"


@pytest.fixture
def target(planned):
    """The plans of the tiny experiment, to be changed."""
    return planned.preprocessed


def changed(target: Preprocessed, **changes) -> Preprocessed:
    """With other values of the architecture, or of the configuration where it has them."""
    content = target.plans
    configuration = content["configurations"]["3d_fullres"]
    architecture = configuration["architecture"]
    for key, value in changes.items():
        place = configuration if key in configuration else architecture if key in architecture else architecture["arch_kwargs"]
        place[key] = value
    write_json(target.folder / "nnUNetPlans.json", content)
    return target


def residual(target: Preprocessed) -> Preprocessed:
    content = target.plans
    architecture = content["configurations"]["3d_fullres"]["architecture"]
    architecture["network_class_name"] = RESIDUAL
    stages = len(architecture["arch_kwargs"].pop("n_conv_per_stage"))
    architecture["arch_kwargs"]["n_blocks_per_stage"] = [1] * stages
    write_json(target.folder / "nnUNetPlans.json", content)
    return target


def test_plans_of_nnunet_are_accepted_without_memory(target):
    check_network(target, DATASET)
    check_network(residual(target), DATASET)
    regions = {**DATASET["labels"], "organ": [1, 2]}
    check_network(target, {**DATASET, "labels": regions, "regions_class_order": [1, 2]})
    # A network of 400 GB.
    check_network(changed(target, features_per_stage=[2**14] * 3), DATASET)


@pytest.mark.parametrize(
    "changes",
    [
        {"network_class_name": RESIDUAL},  # with what the other architecture is made of
        {"n_conv_per_stage": [2]},
        {"patch_size": [7, 9, 11]},
        {"network_class_name": "no.such.Network"},
        {"strides": [[1, 1, 1], [2, 2], [2, 2, 2]]},
        {"an_argument_that_there_is_not": 3},
    ],
    ids=str,
)
def test_plans_that_cannot_be_trained_are_refused(target, changes):
    with pytest.raises(NnActiveError, match="cannot be trained"):
        check_network(changed(target, **changes), DATASET)


def test_planning_leaves_nothing_of_plans_that_cannot_be_trained(tiny, refuses, quick_planning, monkeypatch):  # noqa: F811
    def wrong(experiment):
        identifier = quick_planning(experiment)
        changed(experiment.preprocessed, network_class_name=RESIDUAL)
        return identifier

    monkeypatch.setattr(prepare, "nnunet_plans", wrong)
    refuses(plan.main, PLANNING, "ResidualEncoderUNet", "n_conv_per_stage", "-pl")


def test_a_trainer_with_a_network_of_its_own_is_not_held_to_the_plans(tiny, quick_planning, monkeypatch, tmp_path):
    (tmp_path / "own.py").write_text(
        "from nnactive_ext.trainers.nnActiveTrainer import nnActiveTrainer\n"
        "class Network(nnActiveTrainer):\n"
        "    @staticmethod\n"
        "    def build_network_architecture(*arguments, **options): ...\n"
    )
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path))
    monkeypatch.setattr(prepare, "check_network", lambda *_: pytest.fail("the plans' network was built"))
    plan.main(f"{PLANNING} -tr Network".split())
    assert Experiment.find(101).plan.trainer == "Network"


def test_convolutions_by_onednn_of_a_residual_encoder(target):
    content = residual(target).plans["configurations"]["3d_fullres"]["architecture"]
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    torch.manual_seed(0)
    arguments = (content["network_class_name"], content["arch_kwargs"], content["_kw_requires_import"], 2, 3)
    network = get_network_from_plans(*arguments, deep_supervision=False).eval()
    image = torch.randn(1, 2, *target.manager()[1].patch_size)
    with torch.no_grad():
        expected = network(image)
        always_by_onednn(network)
        torch.testing.assert_close(network(image), expected, atol=1e-4, rtol=1e-4)
    assert next(built(target.manager()[1].configuration["architecture"], 1, 3).parameters()).is_meta


@pytest.mark.slow
def test_a_residual_encoder_with_the_preset_is_planned_trained_evaluated_and_queried(tiny, monkeypatch):
    for name, value in {"nnactive_iterations_per_epoch": "2", "nnactive_val_iterations_per_epoch": "1"}.items():
        monkeypatch.setenv(name, value)
    options = OPTIONS.replace("-cycles 3 -folds 3", "-cycles 1 -folds 2")
    plan.main(f"-d 100 -o 101 {options} -pl nnUNetPlannerResEncM -tr nnActiveTrainer_1epochs_NoMirroring".split())
    experiment = Experiment.find(101)
    configuration = experiment.preprocessed.plans["configurations"]["3d_fullres"]
    assert configuration["architecture"]["network_class_name"] == RESIDUAL
    run.main(LINE.split())
    assert set(read_json(experiment.results / "cycle_000.json")["dice_per_class"]) == {"organ", "lesion"}
    ensemble = NnUNetEnsemble(experiment, [0, 1], "cpu")
    image, _ = experiment.preprocessed.load(next(iter(experiment.plan.pool)))
    shapes = {name: tuple(logits.shape) for name, logits in ensemble.logits(image)}
    assert shapes == {f"fold {fold}": (3, *image.shape[1:]) for fold in (0, 1)}
    query.main(LINE.split())
    loop = read_json(experiment.raw / "loop_001.json")
    assert (loop["method"], len(loop["patches"])) == ("clasp_pe", 4)

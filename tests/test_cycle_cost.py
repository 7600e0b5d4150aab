"""What a cycle takes: passes against those of nnU-Net's own predictor, numbers of the specification, and what is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from weights import plans

from nnactive_ext.experiment.inference import NNUNET, Inference
from nnactive_ext.experiment.member_kinds import MemberKind
from nnactive_ext.experiment.plan import Geometry
from nnactive_ext.members.ensemble import NnUNetEnsemble
from nnactive_ext.nnunet.dataset import Case
from nnactive_ext.planning.cycle_cost import PUBLISHED, Cycle, Network, rows
from nnactive_ext.planning.hours import Hours

CHEAP = Inference(mirroring=False, step=0.75)
SHAPE, PATCH = (24, 48, 48), (8, 16, 16)
NETWORK = Network(PATCH, (1.0, 1.0, 1.0), (0, 1, 2), batch=2)
IMAGE = Geometry(SHAPE, (1.0, 1.0, 1.0))
CYCLE = Cycle(NETWORK, [IMAGE], tests=1, folds=1, kind=MemberKind(), mirrored=8, epochs=200, member_hours=2.0)


class Counting(torch.nn.Module):
    """Costs nothing, and counts the network patches that it predicts."""

    def __init__(self):
        super().__init__()
        self.passes, self.weight = 0, torch.nn.Parameter(torch.zeros(1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.passes += len(image)
        return torch.cat([image, -image], 1) + self.weight


def segmenting(network: torch.nn.Module) -> NnUNetEnsemble:
    """An ensemble of one member with this network, predicted by nnU-Net."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(plans(channels=1, patch_size=list(PATCH), spacing=[1.0, 1.0, 1.0]))
    described = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "a": 1}, "file_ending": ".nii.gz"}
    predictor = nnUNetPredictor(perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False)
    settings = manager, manager.get_configuration("3d_fullres"), [network.state_dict()], described, "nnUNetTrainer"
    predictor.manual_initialization(network, *settings, inference_allowed_mirroring_axes=(0, 1, 2))
    made = NnUNetEnsemble.__new__(NnUNetEnsemble)
    made._predictor = predictor
    return made


@pytest.mark.slow
def test_the_cheap_evaluation_takes_a_fifteenth_of_the_passes(tmp_path, one_thread):
    """As counted in nnU-Net's predictor, of an image three times as long as the network patch along each axis."""
    file = tmp_path / "a_0000.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)), str(file))
    counted = {}
    for inference in (NNUNET, CHEAP):
        network = Counting()
        segmenting(network).segment(Case("a", (file,), file), inference)
        counted[inference] = network.passes
    assert counted == {NNUNET: 5**3 * 8, CHEAP: 4**3}
    assert counted[NNUNET] >= 15 * counted[CHEAP]
    for inference, passes in counted.items():
        assert replace(CYCLE, inference=inference).evaluation_passes == passes


def test_images_are_counted_as_the_network_sees_them():
    """Turned, and at its spacing: 60 x 20 x 40 voxels of 0.5 x 1 x 2 mm are 20 x 60 x 80 of 1 x 0.5 x 1 mm, axes turned."""
    network = Network((10, 30, 40), (1.0, 0.5, 1.0), (1, 0, 2), batch=2)
    assert network.tiles(Geometry((60, 20, 40), (0.5, 1.0, 2.0)), 0.5) == 3**3
    flat = Network((10, 30), (0.5, 1.0), (0, 1, 2), batch=12)
    assert flat.tiles(Geometry((7, 20, 30), (5.0, 0.5, 1.0)), 0.5) == 7 * 3 * 1, "in 2D slice by slice"


def test_the_hours_of_the_specification():
    """AMOS-like on an A100, 200 pool and 67 test cases, 5 members of 200 epochs: trainings 9.0 h, evaluation 4.7 h, a query's
    networks 0.6 h; per case 23.5 times as many passes in the evaluation. An image of 4 x 7 x 10 tiles is near that."""
    image = Geometry((160, 384, 528), (2.0, 0.8, 0.8))
    network = Network((64, 96, 96), (2.0, 0.8, 0.8), (0, 1, 2), batch=2)
    found = Cycle(network, [image] * 200, 67, 5, MemberKind(), mirrored=8, epochs=200, member_hours=1.8)
    assert found.trainings == pytest.approx(9.0)
    assert found.evaluation == pytest.approx(4.7, rel=0.12)
    assert found.query == pytest.approx(0.6, rel=0.05)
    per_case = found.evaluation_passes / 67, found.query_passes / 200
    assert per_case[0] / per_case[1] == pytest.approx(23.5, rel=0.12)
    assert replace(found, inference=CHEAP).evaluation_passes / 67 == per_case[1], "which is as the query predicts"


def test_passes_of_members():
    mirror = replace(CYCLE, kind=MemberKind("mirror"))
    assert mirror.query_passes == 8 * CYCLE.query_passes == 8 * 4**3
    assert mirror.evaluation_passes == CYCLE.evaluation_passes, "they are nnU-Net's mean already"
    assert replace(CYCLE, folds=5).evaluation_passes == 5 * CYCLE.evaluation_passes
    assert replace(CYCLE, mirrored=1).evaluation_passes == 5**3, "of a trainer that does not mirror"


def test_the_plan_says_what_takes_how_long_and_what_would_save_how_much(planned):
    plan = replace(planned.plan, trainer="nnActiveTrainer", preset=None, folds=5, cycles=5)
    told = {what: (value, why) for what, value, why in rows(plan, NETWORK, Hours(2.0, "as asked for"))}
    cheap, last = "-evaluate_mirroring no -evaluate_step 0.75", "-evaluate last"
    three, mirror = "-folds 3", "-members mirror -folds 1"
    assert {"a cycle", "trainings", "query", three, mirror, "-tr nnActiveTrainer_100epochs"} <= set(told)
    assert told["trainings"][0].startswith("10.0 h")
    assert told[three][0].startswith("saves 4.0 h")
    assert told["-tr nnActiveTrainer_100epochs"][0].startswith("saves 5.0 h")
    slow = {what for what, *_ in rows(replace(plan, test=plan.test * 1000), NETWORK, Hours(2.0, ""))}
    assert {cheap, last} <= slow, "where the evaluation takes a share of the cycle"
    settings = {"evaluate_mirroring": "no", "evaluate_step": 0.75}
    already = {what for what, *_ in rows(replace(plan, test=plan.test * 1000, settings=settings), NETWORK, Hours(2.0, ""))}
    assert cheap not in already


def test_published_dice_rises_with_epochs():
    assert all(list(values) == sorted(values) for values in PUBLISHED.values())

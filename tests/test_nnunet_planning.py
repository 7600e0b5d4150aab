"""nnU-Net's own planning options reach its planner, stay in the plan and its command, and are refused where they contradict."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace

import pytest

from nnactive_ext.cli import plan as command
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.plan import Geometry
from nnactive_ext.files import read_json
from nnactive_ext.labelling import prepare
from nnactive_ext.planning.options import from_options
from nnactive_ext.planning.settings import Settings, command_of
from nnactive_ext.planning.simulation import check, without_budget

SPACING = ["-overwrite_target_spacing", "1.5", "1.0", "3.25"]


def settings(*words: str) -> Settings:
    return from_options(Settings, command.parser().parse_args(["-d", "100", "-o", "101", *words]))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("-gpu_memory_target 0", "gpu_memory_target"),
        ("-gpu_memory_target nan", "gpu_memory_target"),
        ("-gpu_memory_target 8 --preset cpu", "preset"),
        ("-overwrite_target_spacing 1 0 1", "overwrite_target_spacing"),
        ("-overwrite_target_spacing 1 inf 1", "overwrite_target_spacing"),
        ("-overwrite_plans_name a__b", "overwrite_plans_name"),
        ("-overwrite_plans_name ../plans", "overwrite_plans_name"),
        ("-overwrite_plans_name .plans", "overwrite_plans_name"),
        ("-overwrite_plans_name plans_", "overwrite_plans_name"),
        ("-overwrite_plans_name dataset", "another file"),
        ("-overwrite_plans_name splits_final", "another file"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(words, named):
    with pytest.raises(NnActiveError, match=named):
        check(settings(*words.split()), "X")


@pytest.mark.parametrize(
    "words",
    ["-gpu_memory_target 11.5", " ".join(SPACING), "-overwrite_plans_name small_plans-1.2", "-gpu_memory_target 4 -c 2d"],
)
def test_what_can_be_is_in_the_plan_its_file_and_its_command(words, tmp_path):
    asked = settings(*words.split())
    check(asked, "X")
    plan = replace(without_budget(asked, "X", {"a": Geometry((8, 8, 8), (1, 1, 1))}, (1.0, 1.0, 1.0)), query_size=1)
    plan.write(tmp_path)
    again = command_of(type(plan).read(tmp_path), labels=None, channels=None)
    assert shlex.join(words.split()[:2]) in shlex.join(again)
    parsed = from_options(Settings, command.parser().parse_args(["-d", "1", *again[again.index("-o") :]]))
    for name in ("gpu_memory_target", "overwrite_target_spacing", "overwrite_plans_name"):
        assert getattr(parsed, name) == getattr(asked, name)


def test_the_planner_is_asked_for_it(planned, monkeypatch):
    """A small network, other spacing and another name; nnU-Net's own planner plans."""
    given = {"gpu_memory_target": 1.0, "overwrite_target_spacing": [2.0, 1.5, 4.0], "overwrite_plans_name": "smallPlans"}
    before = planned.preprocessed.plans
    experiment = Experiment(planned.name, replace(planned.plan, preset=None, settings=given))
    assert prepare.nnunet_plans(experiment) == "smallPlans"
    made = read_json(planned.preprocessed.folder / "smallPlans.json")
    assert made["transpose_forward"] != [0, 1, 2], "the axes are not transposed, so their order is not tested"
    assert made["configurations"]["3d_fullres"]["spacing"] == [
        given["overwrite_target_spacing"][a] for a in made["transpose_forward"]
    ]
    assert planned.preprocessed.plans == before


def test_the_memory_target_changes_the_plans(planned):
    plans = {}
    for memory in (0.0005, 8.0):
        asked = {"gpu_memory_target": memory, "overwrite_plans_name": f"of{memory:g}GB"}
        name = prepare.nnunet_plans(Experiment(planned.name, replace(planned.plan, preset=None, settings=asked)))
        made = read_json(planned.preprocessed.folder / f"{name}.json")["configurations"]["3d_fullres"]
        plans[memory] = math.prod(made["patch_size"]) * made["batch_size"]
    assert plans[0.0005] < plans[8.0]


def test_a_planner_that_does_not_listen_is_told(planned, monkeypatch):
    monkeypatch.setattr(
        "nnunetv2.experiment_planning.plan_and_preprocess_api.plan_experiments", lambda *_, **given: "nnUNetPlans"
    )
    for asked, named in (
        ({"overwrite_plans_name": "mine"}, "mine"),
        ({"overwrite_target_spacing": [9.0, 9.0, 9.0]}, "spacing"),
    ):
        with pytest.raises(NnActiveError, match=named):
            prepare.nnunet_plans(Experiment(planned.name, replace(planned.plan, settings=asked)))


def test_help_has_nnunets_names():
    text = command.parser().format_help()
    for flag in ("-gpu_memory_target", "-overwrite_target_spacing", "-overwrite_plans_name"):
        assert flag in text

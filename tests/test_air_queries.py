"""Patches of air are left out of random starts and queries by every method, and of nothing else."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import scripted_expert as expert
import SimpleITK as sitk
from fakes import CLASSES, patches_of, ranked, shown_methods, world
from phantoms import KINDS, thick_mri, write_folder
from rollouts import OPTIONS

from nnactive_ext.cli import change, plan
from nnactive_ext.engine import select
from nnactive_ext.engine.body import Body, windows_along
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import loop_file
from nnactive_ext.experiment.plan import Plan
from nnactive_ext.files import read_json, write_json
from nnactive_ext.geometry.grid import Grid
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.labelling.tasks import tasks_of
from nnactive_ext.planning.settings import command_of
from nnactive_ext.query_methods import methods
from nnactive_ext.query_methods.base import RankedMethod, Request
from nnactive_ext.query_methods.occupancy import Occupancy
from nnactive_ext.querying.pool import pool_cases


def half(shape: tuple[int, ...]) -> Body:
    """The body is the first half of the image along x."""
    inside = np.zeros(shape, bool)
    inside[:, :, : shape[2] // 2] = True
    z, y, x = (np.arange(n + 1) for n in shape)
    return Body(inside, (z, y, x))


NAMES = [name for name in methods.names() if name != "precomputed"]


@pytest.mark.parametrize("name", [*NAMES, "clap_pe stride=3", "predictive_entropy overlap=0.2", "my_methods.py:evenly"])
def test_every_method_leaves_air_out(name, tmp_path):
    name, *options = name.split()
    if ":" in name:
        name = f"{shown_methods(tmp_path)}:{name.split(':')[1]}"
    method = methods.get(name, **dict(option.split("=") for option in options))
    w, request = world(cases=3, shape=(10, 12, 20), size=(3, 4, 4)), Request(30, CLASSES)
    pool = {case: replace(one, load_body=lambda: half((10, 12, 20))) for case, one in w.pool().items()}
    if isinstance(method, RankedMethod):
        open = half((10, 12, 20)).enough([windows_along(n, s) for n, s in zip((10, 12, 20), (3, 4, 4), strict=True)])
        query = method.merge({case: ranked(method, w, case, request, open) for case in pool}, pool, request)
    else:
        query = method.draw(pool, request)
    assert len(query.patches) > 15
    assert all(patch.start[2] < 10 for patch in patches_of(query))  # a quarter of such a patch, at least, is body


def test_where_no_patch_holds_enough_all_are_kept():
    w = world(cases=1, shape=(6, 8, 8), size=(6, 8, 8))
    inside = np.zeros((6, 8, 8), bool)
    inside[0, 0, 0] = True
    body = Body(inside, tuple(np.arange(n + 1) for n in (6, 8, 8)))
    pool = {case: replace(one, load_body=lambda: body) for case, one in w.pool().items()}
    assert Occupancy(pool).free_starts("case_0").all()


@pytest.mark.parametrize("beta", [None, 1.0])
def test_the_engine_never_picks_what_is_not_allowed(beta):
    """Against choosing among the allowed windows alone."""
    rng = np.random.default_rng(3)
    scores, allowed = rng.random((9, 10, 11)), rng.random((9, 10, 11)) < 0.2
    picks = select(scores, (2, 2, 2), 500, allowed=allowed, beta=beta, rng=np.random.default_rng(1))
    assert picks
    assert all(allowed[pick.start] for pick in picks)
    taken = [Patch("a", pick.start, (2, 2, 2)) for pick in picks]
    left = [start for start in np.ndindex(9, 10, 11) if allowed[start]]
    assert not [s for s in left if not Patch("a", s, (2, 2, 2)).overlaps_any(taken)]
    if beta is None:
        assert picks[0].score == scores[allowed].max()
    with pytest.raises(ValueError, match="allowed"):
        select(scores, (2, 2, 2), 5, allowed=allowed[1:])


@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("factor", [1.0, 0.5, 1.7])
def test_windows_of_the_network_lie_where_their_patches_come_back(transpose, factor):
    image, size = (20, 24, 28), (5, 6, 7)
    crop = tuple(image[a] - 4 for a in transpose)
    grid = Grid(image, transpose, (2, 1, 3), crop, tuple(round(n * factor) for n in crop))
    network = grid.network_size(size)
    windows = grid.image_windows(network)
    for start in np.ndindex(*(len(starts) for starts, _ in windows)):
        patch = grid.to_image(Patch("a", start, network), size)
        for axis, source in enumerate(transpose):
            low, high = (ends[start[axis]] for ends in windows[axis])
            middle = patch.start[source] + patch.size[source] / 2
            if 0 < patch.start[source] < image[source] - size[source]:  # not moved inside the image
                assert abs((low + high) / 2 - middle) <= 0.51


def body_voxels(experiment, patch: Patch) -> int:
    """By what the phantom is: all 0 outside the body."""
    return int((experiment.dataset.image(patch.case)[0][0][patch.slices] != 0).sum())


def black(experiment, cycle: int) -> int:
    return sum(body_voxels(experiment, task.patch) == 0 for task in tasks_of(experiment, cycle))


MANY = OPTIONS.replace("-starting_budget 6", "-starting_budget 60").replace("-patch_size 5 5 3", "-patch_size 3 3 2")


def test_a_start_has_no_black_patches_unless_they_are_kept(rollout, tmp_path):
    experiment = rollout.plan(MANY)
    assert (experiment.plan.air, experiment.plan.protocol) == ("skip", "standard")
    assert black(experiment, 0) == 0
    content = read_json(loop_file(experiment.raw, 0))
    assert content["air"]["cases"] == content["air"]["of"] > 0
    assert 0.1 < content["air"]["positions_left_out"] < 0.6
    assert "-air" not in command_of(experiment.plan, labels=["organ"])
    # A point that somebody marks in the air keeps its patch.
    points = tmp_path / "points.csv"
    points.write_text("case,class,i,j,k\ntiny_1,organ,0,0,0\n")
    rollout.annotate(f"points {points}")
    assert black(rollout.experiment, 0) == 1


@pytest.mark.parametrize("flags", ["-air keep", "-protocol published"])
def test_the_old_way_is_there(rollout, flags):
    experiment = rollout.plan(f"{MANY} {flags}")
    assert experiment.plan.air == "keep"
    assert black(experiment, 0) > 0
    assert "air" not in read_json(loop_file(experiment.raw, 0))
    assert flags in " ".join(command_of(experiment.plan, labels=["organ"]))


@pytest.mark.parametrize("method", ["clasp_pe", "random"])
def test_a_query_has_no_black_patches_and_an_older_experiment_goes_on_as_it_was(rollout, tmp_path, method):
    experiment = rollout.plan(f"{OPTIONS.replace('-query_size 4', '-query_size 60')} --method {method}")
    for task in rollout.export(tmp_path / "out"):
        expert.in_place(task)
    rollout.annotate(f"import {tmp_path / 'out'} -who anna")
    rollout.run()
    assert rollout.experiment.last_loop == 1
    assert black(rollout.experiment, 1) == 0
    content = read_json(loop_file(experiment.raw, 1))
    assert content["air"]["of"] == len(experiment.plan.pool)

    # The plan as an older version wrote it, without the keys; the same members are asked again.
    loop_file(experiment.raw, 1).unlink()
    content = read_json(experiment.raw / "nnactive_plan.json")
    write_json(experiment.raw / "nnactive_plan.json", {k: v for k, v in content.items() if k not in ("air", "protocol")})
    old = Plan.read(experiment.raw)
    assert (old.air, old.protocol) == ("keep", "published")
    rollout.run()
    assert black(rollout.experiment, 1) > 0 or method == "clasp_pe"  # to which air need not look uncertain
    assert "air" not in read_json(loop_file(experiment.raw, 1))


def test_annotated_structures_in_what_looks_like_air_keep_all_of_their_case(rollout, tmp_path):
    """The label map of a case with an implant outside of the body."""
    maps = tmp_path / "maps"
    maps.mkdir()
    name = "tiny_2"
    image = sitk.ReadImage(str(rollout.label(name)))
    labels = sitk.GetArrayFromImage(image)
    labels[:, :3, :3] = 2  # a corner
    changed = sitk.GetImageFromArray(labels)
    changed.CopyInformation(image)
    sitk.WriteImage(changed, str(maps / f"{name}.nii.gz"))
    experiment = rollout.plan(f"{OPTIONS} -label_maps {maps}")
    pool = pool_cases(experiment, references=False)
    assert pool[name].load_body() is None
    assert pool["tiny_1"].load_body() is not None


def test_it_can_be_changed_and_only_in_roll_outs(rollout, planned, capsys):
    experiment = rollout.plan()
    change.main(f"-d {experiment.name} -air keep -who anna".split())
    assert rollout.experiment.plan.air == "keep"
    assert rollout.experiment.plan.changes[0]["before"] == "skip"
    assert "-air" not in command_of(rollout.experiment.plan, labels=["organ"])  # it was planned with the default
    with pytest.raises(SystemExit):
        change.main(f"-d {planned.name} -air skip".split())
    assert "roll-outs only" in capsys.readouterr().err


def test_simulations_keep_air(planned):
    assert planned.plan.air == "keep"
    assert all(case.load_body is None for case in pool_cases(planned, references=False).values())
    assert "air" not in json.loads(loop_file(planned.raw, 0).read_text())


def test_a_simulation_is_not_asked_for_it(tiny, capsys):
    with pytest.raises((SystemExit, NnActiveError)):
        plan.main("-d 100 -o 101 -air skip".split())
    assert "-air" in capsys.readouterr().err


STARTS = {"thick_mri": ("MRI", 12), "abdominal_ct": ("CT", -1000), "brain_mri": ("T1 T2 FLAIR", 8), "vessels": ("light", None)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.usefixtures("nnunet_folders")
def test_starts_of_all_kinds(kind, tmp_path):
    """No random patch is as dark as air; one of vessels may lie anywhere."""
    cases = {f"case_{i}": KINDS[kind](i) for i in range(3)}
    images = write_folder(tmp_path / "images", cases)
    channels, air = STARTS[kind]
    words = f"-i {images} -o 601 --labels {' '.join(cases['case_0'].names)} -channels {channels} -starting_budget 40"
    words += " -query_size 2 -patch_size 4 12 12 --preset cpu -np 1 --disable_progress_bar"
    plan.main(words.split())
    experiment = Experiment.find(601)
    content = read_json(loop_file(experiment.raw, 0))
    drawn = tasks_of(experiment, 0)
    assert drawn
    if air is None:
        assert content["air"] == {"cases": 0, "of": content["air"]["of"], "positions_left_out": 0.0}
        return
    assert content["air"]["positions_left_out"] > 0.2
    for task in drawn:
        channel = cases[task.patch.case].channels[0]
        assert np.percentile(channel[task.patch.slices], 95) > air + 0.2 * np.ptp(channel)


def noisy_mri(folder, flat: int = -1) -> None:
    """Six abdominal MRIs in much air, each noisier than the one before and of more receivers; number ``flat`` has no air."""
    for i in range(6):
        made, rng = thick_mri(i), np.random.default_rng(i)
        signal = np.pad(made.channels[0] * (made.channels[0] > 100), [(0, 0), (20, 30), (30, 40)])
        signal *= np.linspace(0.7, 1.3, signal.shape[2])
        if i == flat:
            signal = np.full(signal.shape, 300.0)
        receivers = 1 + i
        parts = (
            (6 + 5 * i) * rng.standard_normal(signal.shape) + signal / receivers**0.5 * (k % 2) for k in range(2 * receivers)
        )
        image = np.sqrt(sum(part**2 for part in parts)).astype(np.float32)
        write_folder(folder, {f"q{i}": replace(made, channels=(image,))})


def on_body(seed: int, patch: Patch) -> float:
    made = thick_mri(seed)
    return float(np.pad(made.channels[0] > 100, [(0, 0), (20, 30), (30, 40)])[patch.slices].mean())


PLAN = "-name Noisy --labels liver -starting_budget 60 -query_size 6 -patch_size 20mm -cycles 2 -folds 2 --preset cpu -np 1"


@pytest.mark.parametrize("seed", [1, 2])
def test_noisy_images_in_much_air(nnunet_folders, tmp_path, seed, capsys):
    noisy_mri(tmp_path / "images")
    plan.main(f"-i {tmp_path / 'images'} -o 731 {PLAN} -seed {seed} --disable_progress_bar".split())
    tasks = tasks_of(Experiment("Dataset731_Noisy"), 0)
    assert len(tasks) >= 20
    assert min(on_body(int(task.patch.case[1:]), task.patch) for task in tasks) > 0
    assert "these do not" not in " ".join(capsys.readouterr().out.split())


def test_a_case_without_a_body_is_named_where_others_have_one(nnunet_folders, tmp_path, capsys):
    noisy_mri(tmp_path / "images", flat=3)
    plan.main(f"-i {tmp_path / 'images'} -o 732 {PLAN} --disable_progress_bar".split())
    assert "but these do not: q3" in " ".join(capsys.readouterr().out.split())


def test_microscopes_are_left_alone(nnunet_folders, tmp_path):
    """A cell in the dark, with voxels of 2 micrometres."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (20, 48, 48)), indexing="ij")
    for i in range(2):
        cell = np.where(z**2 + y**2 + x**2 < 0.3, 200.0, 2) + np.random.default_rng(i).random(z.shape)
        image = sitk.GetImageFromArray(cell.astype(np.float32))
        image.SetSpacing((0.002, 0.002, 0.002))
        sitk.WriteImage(image, str(tmp_path / f"cell_{i}.nii.gz"))
    plan.main(f"-i {tmp_path} -o 733 {PLAN.replace('20mm', '6')} --disable_progress_bar".split())
    content = read_json(loop_file(Experiment("Dataset733_Noisy").raw, 0))
    assert content["air"] == {"cases": 0, "of": 2, "positions_left_out": 0.0}

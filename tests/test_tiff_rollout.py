"""A roll-out on TIFF stacks and folders of slices: copies for nnU-Net and viewers, answers in place, later cases."""

from __future__ import annotations

import numpy as np
import pytest
import scripted_expert as expert
import SimpleITK as sitk
import tifffile
from PIL import Image
from rollouts import NUMBER, Rollout, assert_simulated

from conftest import SPACINGS, tiny_case, write_image
from nnactive_ext.cli import change
from nnactive_ext.planning.settings import command_of

OPTIONS = (
    "--labels organ lesion -patch_size 5 5 3 -starting_budget 6 -query_size 4 -cycles 3 -folds 2 --preset cpu -np 1 "
    "--disable_progress_bar"
)


@pytest.fixture
def microscope(nnunet_folders, tmp_path, quick_planning) -> Rollout:
    """Two-channel ImageJ stacks that state their spacing; label maps of all cases."""
    made = Rollout(tmp_path / "stacks", tmp_path / "anatomy")
    made.images.mkdir()
    made.anatomy.mkdir()
    for number in range(6):
        spacing = SPACINGS[number % len(SPACINGS)]
        stack(made, number, spacing)
        write_image(made.label(f"cell_{number}"), tiny_case(number)[1], spacing)
    return made


def stack(made: Rollout, number: int, spacing) -> None:
    z, y, x = spacing
    voxels = np.moveaxis(tiny_case(number)[0], 0, 1)
    metadata = {"axes": "ZCYX", "spacing": z, "unit": "mm"}
    file = made.images / f"cell_{number}.tif"
    tifffile.imwrite(file, voxels, imagej=True, resolution=(1 / x, 1 / y), metadata=metadata)


def test_stacks_of_two_channels_from_planning_to_the_second_query(microscope, tmp_path, capsys):
    experiment = microscope.plan(f"{OPTIONS} -channels red green")
    for case, entry in experiment.dataset.cases.items():
        for channel, file in enumerate(entry.images):
            image = sitk.ReadImage(str(file))
            number = int(case[-1])
            assert (sitk.GetArrayFromImage(image) == tiny_case(number)[0][channel]).all()
            assert image.GetSpacing() == pytest.approx(SPACINGS[number % 4][::-1])
    points = tmp_path / "points.csv"
    points.write_text(
        "case,class,i,j,k\ncell_1,organ,7,13,12\ncell_2,lesion,6,13,14\ncell_3,organ,7,12,12\ncell_4,lesion,7,13,12\n"
    )
    microscope.annotate(f"points {points}")
    for task in microscope.export(tmp_path / "out"):
        expert.in_place(task)
    microscope.annotate(f"import {tmp_path / 'out'} -who anna")
    microscope.run()
    assert microscope.experiment.last_loop == 1
    assert_simulated(microscope, tmp_path)


def test_slices_whose_spacing_is_given_and_stacks_that_come_later(microscope, tmp_path, capsys):
    folder = tmp_path / "later"
    microscope.images.rename(folder)
    for number in range(4):
        (microscope.images / f"cell_{number}").mkdir(parents=True)
        for z, plane in enumerate(tiny_case(number)[0][0]):
            Image.fromarray(plane.clip(0, 255).astype(np.uint8)).save(microscope.images / f"cell_{number}" / f"{z}.png")
    experiment = microscope.plan(f"{OPTIONS} -spacing 2mm 1mm 0.5mm")
    assert "-spacing 2mm 1mm 0.5mm" in " ".join(command_of(experiment.plan))
    assert {geometry.spacing for geometry in experiment.plan.pool.values()} == {(2.0, 1.0, 0.5)}
    for file in folder.iterdir():
        stated = {"axes": "ZYX", "spacing": 2.5, "unit": "mm"} if file.name == "cell_5.tif" else None
        voxels = tifffile.imread(file)[:, 0]
        if file.name in ("cell_4.tif", "cell_5.tif"):
            tifffile.imwrite(file, voxels, imagej=bool(stated), resolution=(1, 1), metadata=stated)
        else:
            file.unlink()
    add = ["-d", str(NUMBER), "-add", str(folder), "--disable_progress_bar"]
    with pytest.raises(SystemExit):
        change.main([*add, "-spacing", "3mm"])
    assert "cell_5.tif" in capsys.readouterr().err
    assert "cell_4" not in microscope.experiment.plan.pool
    change.main(add)
    pool = microscope.experiment.plan.pool
    assert (pool["cell_4"].spacing, pool["cell_5"].spacing) == ((2.0, 1.0, 0.5), (2.5, 1.0, 1.0))
    assert "without a place" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("2 1 1", ["unit", "2um"]),
        ("2um 1um", ["z y x"]),
        ("2um 1um 0um", ["z y x"]),
        ("2px 1px 1px", ["z y x"]),
        ("-2um 1um 1um", []),
        ("inf nan um", []),
        ("2um 1um 1um", ["cell_0.tif", "states", "-spacing"]),
    ],
)
def test_spacings_that_cannot_be(microscope, capsys, given, words):
    with pytest.raises(SystemExit):
        microscope.plan(f"{OPTIONS} -spacing {given}")
    message = capsys.readouterr().err
    assert all(word in message for word in ["-spacing", *words]), message


def test_a_spacing_that_no_image_needs(rollout, capsys):
    with pytest.raises(SystemExit):
        rollout.plan(f"{OPTIONS} -channels T1 T2 -spacing 1mm")
    assert "-spacing: there are no TIFF" in capsys.readouterr().err


def test_pixels_that_are_not_square_are_pointed_out(microscope, capsys):
    for file in microscope.images.iterdir():
        tifffile.imwrite(file, tifffile.imread(file)[:, 0])
    microscope.plan(f"{OPTIONS} -spacing 1mm 1mm 2mm")
    out = " ".join(capsys.readouterr().out.split())
    assert "1 x 2 mm" in out
    assert "between slices first" in out

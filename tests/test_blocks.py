"""Blocks of a large volume: where they are drawn, what is written of them, and how they are queried and added to."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

pytest.importorskip("zarr")
import scripted_expert as expert
from fake_members import fake_tools
from large import brain, write_zarr

from conftest import write_image
from nnactive_ext.cli import change, plan
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.blocks import BLOCKS_FILE, BlockTable
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.images.volumes import open_volume
from nnactive_ext.intake.blocks import drawn, places
from nnactive_ext.intake.volumes import Asked, find_blocks
from nnactive_ext.loop.cycles import run_cycles
from nnactive_ext.planning.settings import command_of

NUMBER = 611
SHAPE = (48, 72, 60)
OPTIONS = (
    f"-o {NUMBER} --labels organ lesion -blocks 6 -block_size 16 -patch_size 5 -starting_budget 6 -query_size 4 -cycles 3 "
    "-folds 2 --preset cpu -np 1 --disable_progress_bar"
)


@pytest.fixture(autouse=True)
def nothing_open():
    open_volume.cache_clear()


@pytest.fixture
def volume(tmp_path):
    voxels = np.stack([brain(SHAPE), brain(SHAPE, 1) // 2])
    more = {"scale": (1000, 1000, 1000), "translation": (5000, 6000, 7000), "channels": ["T1", "T2"]}
    return write_zarr(tmp_path / "my brain.ome.zarr", voxels, axes="czyx", **more)


def planned(volume, more: str = "") -> Experiment:
    plan.main(["-i", str(volume), *OPTIONS.split(), *more.split()])
    return Experiment.find(NUMBER)


def disjoint(table: BlockTable) -> bool:
    boxes = [Patch("", block.start, block.size) for block in table.blocks.values()]
    return not any(box.overlaps_any(boxes[:i]) for i, box in enumerate(boxes))


def test_blocks_are_of_all_intensities_apart_and_not_empty(tmp_path):
    voxels = np.full((64, 64, 64), 100, np.uint16)
    rng = np.random.default_rng(0)
    for i, level in enumerate((200, 400, 800, 1600)):  # four slabs with contents; half of the volume is empty
        slab = voxels[:, 16 * i : 16 * i + 16, :32]
        slab[...] = level + rng.normal(0, 30, slab.shape)
    voxels[:, :, 32:] += rng.integers(0, 3, (64, 64, 32)).astype(np.uint16)
    opened = open_volume(write_zarr(tmp_path / "a.zarr", voxels, levels=1))
    there = places(opened, (16, 16, 16), seed=0, number=4)
    assert len(there.full) == 32
    assert there.empty == 32
    blocks = drawn(there, 4, seed=0)
    assert blocks == drawn(there, 4, seed=0)
    assert sorted(block.start[1] // 16 for block in blocks) == [0, 1, 2, 3]
    assert all(block.start[2] < 32 for block in blocks)
    assert len({tuple(drawn(there, 4, seed=seed)) for seed in range(5)}) > 1


def test_the_coarse_level_chooses_the_same_places_as_the_fine_one(tmp_path):
    voxels = brain((64, 64, 64))
    fine = open_volume(write_zarr(tmp_path / "a.zarr", voxels, levels=1))
    open_volume.cache_clear()
    shutil.move(tmp_path / "a.zarr", tmp_path / "old")
    coarse = open_volume(write_zarr(tmp_path / "a.zarr", voxels, levels=2))
    shutil.rmtree(tmp_path / "old" / "0" / "c", ignore_errors=True)  # whoever reads the coarse one needs no fine voxel
    shutil.rmtree(tmp_path / "a.zarr" / "0" / "c")
    there = places(coarse, (16, 16, 16), 0, 8)
    assert there.full
    assert there.seen == there.all == 64
    assert not places(fine, (16, 16, 16), 0, 8).full  # its file is gone, so it is empty


def test_too_many_blocks_are_refused_with_the_number_that_fits(volume):
    with pytest.raises(NnActiveError, match=r"has room for \d+ blocks of 16 x 16 x 16 voxels"):
        find_blocks(volume, Asked(1000, ["16"]))


def test_a_folder_of_volumes_shares_the_blocks_and_must_agree_on_channels(tmp_path):
    for name, shape in (("a", (32, 32, 32)), ("b", (64, 64, 64))):
        write_zarr(tmp_path / f"{name}.ome.zarr", brain(shape))
    found = find_blocks(tmp_path, Asked(10, ["8"]))
    names = [case.split("_")[0] for case in found.cases]
    assert names.count("a") + names.count("b") == 10
    assert 1 <= names.count("a") < names.count("b")
    write_zarr(tmp_path / "c.ome.zarr", np.stack([brain((32, 32, 32))] * 2), axes="czyx")
    with pytest.raises(NnActiveError, match="channels"):
        find_blocks(tmp_path, Asked(10, ["8"]))


def test_a_volume_without_blocks_and_blocks_without_a_volume_are_refused(nnunet_folders, volume, tmp_path, capsys):
    for options in (
        f"-i {tmp_path}/x.ome.zarr -o 5 --labels a",
        f"-i {tmp_path} -o 5 --labels a -block_size 16",
        f"-i {tmp_path} -o 5 --labels a -blocks 0",
        f"-i {tmp_path} -o 5 --labels a -blocks 3 -block_size 1",
        f"-i {tmp_path} -o 5 --labels a -blocks 3 -block_size huge",
        f"-i {tmp_path} -o 5 --labels a -blocks 3 -pattern {{case}}",
        f"-i {tmp_path} -o 5 --labels a -blocks 3 -block_size 16 -channels one",
    ):
        with pytest.raises(SystemExit):
            plan.main(options.split())
        assert capsys.readouterr().err.startswith("ERROR: ")
    with pytest.raises(SystemExit):
        plan.main(["-i", str(volume), "-o", "5", "--labels", "a"])
    assert "-blocks" in capsys.readouterr().err
    assert not list(nnunet_folders.raw.glob("Dataset*"))


def test_a_full_disk_is_found_before_anything_is_written(nnunet_folders, volume, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(SystemExit):
        planned(volume)
    assert "GB" in capsys.readouterr().err
    assert not list(nnunet_folders.raw.glob("Dataset*"))


def test_from_planning_to_the_query_and_with_blocks_that_come_later(nnunet_folders, volume, tmp_path, quick_planning, capsys):
    experiment = planned(volume)
    said = capsys.readouterr().out
    assert "6 blocks of 16 x 16 x 16 voxels" in said
    assert "GB" in said
    assert "-blocks 6 -block_size 16" in " ".join(command_of(experiment.plan))
    table = BlockTable.read(experiment.raw)
    assert set(table.blocks) == set(experiment.plan.pool)
    opened = open_volume(volume)
    for case, block in table.blocks.items():
        for channel, file in enumerate(experiment.dataset.entries[case].images):
            image = sitk.ReadImage(str(file))
            np.testing.assert_array_equal(sitk.GetArrayFromImage(image), opened.read(channel, block.start, block.size))
            voxel = (3, 5, 7)
            place = image.TransformIndexToPhysicalPoint(voxel[::-1])
            assert place == pytest.approx(opened.space.to_world(table.to_whole(case, voxel)))
    answer(experiment, tmp_path)
    with experiment.lock():
        run_cycles(experiment, fake_tools(classes=3), progress=False, say=lambda text: None)
    assert experiment.last_loop == 1
    change.main(["-d", str(NUMBER), "-add", str(volume), "-blocks", "5", "--disable_progress_bar"])
    later = BlockTable.read(experiment.raw)
    assert len(later.blocks) == 11
    assert {case: later.blocks[case] for case in table.blocks} == dict(table.blocks)
    assert disjoint(later)
    assert set(later.blocks) == set(Experiment.find(NUMBER).plan.pool)


@pytest.mark.parametrize("how", [{"tile": (16, 16), "compression": "zlib"}, {"rowsperstrip": 5}], ids=["tiles", "strips"])
def test_blocks_of_a_bigtiff(nnunet_folders, tmp_path, quick_planning, how):
    voxels = np.stack([brain(SHAPE), brain(SHAPE, 1) // 2], axis=1)
    file = tmp_path / "brain.tif"
    tifffile.imwrite(file, voxels, bigtiff=True, metadata={"axes": "ZCYX"}, **how)
    experiment = planned(file, "-spacing 1mm -channels T1 T2")
    table = BlockTable.read(experiment.raw)
    assert len(table.blocks) == 6
    for case, block in table.blocks.items():
        box = tuple(slice(a, a + n) for a, n in zip(block.start, block.size, strict=True))
        for channel, image in enumerate(experiment.dataset.entries[case].images):
            found = sitk.GetArrayFromImage(sitk.ReadImage(str(image)))
            np.testing.assert_array_equal(found, voxels[:, channel][box])


def answer(experiment: Experiment, folder) -> None:
    """Each task is labelled by thresholds of its image."""
    from nnactive_ext.cli import annotate

    anatomy = folder / "anatomy"
    anatomy.mkdir()
    rows = ["case,class,i,j,k"]
    for case, entry in experiment.dataset.entries.items():
        image = sitk.ReadImage(str(entry.images[0]))
        voxels = sitk.GetArrayFromImage(image)
        labels = np.digitize(voxels, np.quantile(voxels, [0.5, 0.8])).astype(np.uint8)
        made = sitk.GetImageFromArray(labels)
        made.CopyInformation(image)
        sitk.WriteImage(made, str(anatomy / f"{case}.nii.gz"))
        for value, name in ((1, "organ"), (2, "lesion")):
            z, y, x = np.argwhere(labels == value)[0]
            rows.append(f"{case},{name},{x},{y},{z}")
    (folder / "points.csv").write_text("\n".join(rows[:5]) + "\n")
    annotate.main(["points", "-d", str(NUMBER), str(folder / "points.csv")])
    annotate.main(["export", "-d", str(NUMBER), "-o", str(folder / "out"), "--disable_progress_bar", "--blank"])
    for task in expert.look(folder / "out", lambda case: anatomy / f"{case}.nii.gz"):
        expert.in_place(task)
    annotate.main(["import", "-d", str(NUMBER), str(folder / "out"), "-who", "anna"])


def test_an_experiment_without_the_table_goes_on(nnunet_folders, tmp_path, quick_planning):
    """As those of older versions, which were planned from whole images."""
    for number in range(3):
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        write_image(folder / f"c{number}_T1.nii.gz", brain((16, 16, 16), number), (1, 1, 1))
        write_image(folder / f"c{number}_T2.nii.gz", brain((16, 16, 16), number + 9), (1, 1, 1))
    options = OPTIONS.replace("-blocks 6 -block_size 16 ", "") + " -channels T1 T2"
    plan.main(["-i", str(folder), *options.split()])
    experiment = Experiment.find(NUMBER)
    assert not (experiment.raw / BLOCKS_FILE).exists()
    assert BlockTable.read(experiment.raw).blocks == {}


def test_a_damaged_table_is_named(tmp_path):
    (tmp_path / BLOCKS_FILE).write_text('{"a": {"file": "x"}}')
    with pytest.raises(NnActiveError, match=BLOCKS_FILE):
        BlockTable.read(tmp_path)

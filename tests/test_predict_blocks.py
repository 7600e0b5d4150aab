"""nnactive_predict_blocks as it is typed: killed and typed again, and shared by workers, with the same labels."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

pytest.importorskip("zarr")
import fake_blocks
from fake_members import fake_train
from forked import PROCESSES
from large import brain, write_zarr

from nnactive_ext.cli import predict_blocks, workers
from nnactive_ext.cluster.whole import block_shares
from nnactive_ext.experiment.blocks import BLOCKS_FILE, BlockTable
from nnactive_ext.files import write_json
from nnactive_ext.images.volumes import Block, open_volume
from nnactive_ext.members.whole import Asked

SHAPE = (40, 44, 48)
SIZE = 16
VOXELS = np.stack([brain(SHAPE), brain(SHAPE, 1) // 2])


@pytest.fixture
def volume(planned, tmp_path) -> Path:
    """A volume of two channels with the voxel size of the members, which are trained."""
    for fold in planned.folds():
        fake_train(planned, fold)
    return write_zarr(tmp_path / "brain.ome.zarr", VOXELS, axes="czyx", scale=spacing_of(planned), unit="millimeter")


def spacing_of(experiment) -> list[float]:
    """Of the members' voxels in mm, along the axes of the images."""
    plans = experiment.preprocessed.plans
    along = plans["configurations"][experiment.plan.configuration]["spacing"]
    return [along[plans["transpose_forward"].index(axis)] for axis in range(3)]


def words(volume: Path, target: Path, *more: str) -> list[str]:
    named = ["-d", "101", "-i", str(volume), "-o", str(target), "-block_size", str(SIZE), "-device", "cpu"]
    return [*named, "--disable_progress_bar", *more]


def labels(path: Path) -> np.ndarray:
    return open_volume(path).read(0, (0, 0, 0), SHAPE)


@pytest.fixture
def threshold(monkeypatch):
    """In this process, too."""
    monkeypatch.setattr(predict_blocks, "prepare", lambda device: None)
    monkeypatch.setattr(fake_blocks.ensemble, "NnUNetEnsemble", fake_blocks.Threshold)


def folders() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("nnUNet_")}


def written(target: Path) -> int:
    return len(list(target.with_name(target.name + ".unfinished").glob("*_*_*")))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_killed_in_the_middle_and_typed_again_even_with_more_blocks_drawn_meanwhile(planned, volume, threshold, tmp_path):
    predict_blocks.main(words(volume, whole := tmp_path / "whole.ome.zarr"))
    expected = labels(whole)
    assert set(np.unique(expected)) == {0, 1, 2}
    target = tmp_path / "killed.ome.zarr"
    process = PROCESSES.Process(
        target=fake_blocks.run, args=({**folders(), fake_blocks.PAUSE: "0.2"}, words(volume, target)), daemon=True
    )
    process.start()
    try:
        end = time.monotonic() + 120
        while written(target) < 3:
            assert process.is_alive(), process.exitcode
            assert time.monotonic() < end
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.join()
    assert 3 <= written(target) < 27
    # Blocks that are drawn meanwhile are of other grey values; the parts that are left must not be normalised by them.
    more = BlockTable({"later": Block(volume, (0, 0, 0), (8, 8, 8))})
    write_json(planned.raw / BLOCKS_FILE, more.content())
    predict_blocks.main(words(volume, target))
    np.testing.assert_array_equal(labels(target), expected)
    assert not target.with_name(target.name + ".unfinished").exists()
    predict_blocks.main(words(volume, other := tmp_path / "later.ome.zarr"))
    assert (labels(other) != expected).any(), "the later block decides what is begun later"


@pytest.mark.parametrize("how", [{"tile": (16, 16), "compression": "zlib"}, {"rowsperstrip": 7}], ids=["tiles", "strips"])
def test_a_bigtiff_has_the_labels_of_the_same_volume_as_zarr(planned, volume, threshold, tmp_path, how):
    predict_blocks.main(words(volume, tmp_path / "of_zarr.ome.zarr"))
    folder = tmp_path / "tiff"
    folder.mkdir()
    file = folder / "brain.tif"  # the same name: the same blocks stand for it
    tifffile.imwrite(file, VOXELS.swapaxes(0, 1), bigtiff=True, metadata={"axes": "ZCYX"}, **how)
    spacing = [f"{mm}mm" for mm in spacing_of(planned)]
    predict_blocks.main(words(file, tmp_path / "of_tiff.ome.zarr", "-spacing", *spacing))
    np.testing.assert_array_equal(labels(tmp_path / "of_tiff.ome.zarr"), labels(tmp_path / "of_zarr.ome.zarr"))
    made = open_volume(tmp_path / "of_tiff.ome.zarr")
    assert made.opened.version == "0.4"
    assert made.level.spacing == pytest.approx(spacing_of(planned))


@pytest.mark.parametrize(("size", "parts", "shares"), [(16, 8, 6), (16, 32, 8), (48, 8, 1), (24, 8, 2)])
def test_few_blocks_are_not_split_into_many_shares(planned, volume, tmp_path, size, parts, shares):
    """27, 27, 1 and 8 blocks, for two, eight, two and two workers: four blocks or more each, if all workers have one."""
    asked = Asked(planned, open_volume(volume), tmp_path / "labels.ome.zarr", planned.folds(), [str(size)])
    found = block_shares(asked, parts)
    assert [share.name for share in found] == [f"predict_blocks_{i}_of_{shares}" for i in range(shares)]
    assert sum(asked.lacking((share.index, share.parts)) for share in found) == asked.lacking()


@pytest.mark.slow
def test_workers_share_the_blocks(planned, volume, threshold, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    predict_blocks.main(words(volume, alone := tmp_path / "alone.ome.zarr"))
    journal = tmp_path / "journal"
    monkeypatch.setenv(fake_blocks.JOURNAL, str(journal))
    known = workers.process

    def process(program, options, step):
        return [fake_blocks.__file__, *known(program, options, step)[2:]]

    monkeypatch.setattr(workers, "process", process)
    for module in ("whole", "dask_runner"):  # each part is a process that imports much
        monkeypatch.setattr(f"nnactive_ext.cluster.{module}.SHARES", 1)
    predict_blocks.main(words(volume, shared := tmp_path / "shared.ome.zarr", "-np", "2"))
    np.testing.assert_array_equal(labels(shared), labels(alone))
    opened = journal.read_text().split()
    assert str(os.getpid()) not in opened, "this process opens no member"
    assert len(set(opened)) == 2
    predict_blocks.main(words(volume, shared, "-np", "2"))
    assert journal.read_text().split() == opened, "what is finished starts no worker"


@pytest.mark.parametrize("more", ["-np 0", "-gpus 1", "-num_parts 2 -np 2", "-dashboard 80", "-interface ib0"])
def test_options_that_do_not_go_together_are_refused_before_anything_is_written(volume, tmp_path, capsys, more):
    with pytest.raises(SystemExit):
        predict_blocks.main(words(volume, target := tmp_path / "labels.ome.zarr", *more.split()))
    assert more.split()[0] in capsys.readouterr().err or more.split()[-2] in capsys.readouterr().err
    assert not target.exists()

"""docs/layouts.md: each folder that the page shows is made, and its command plans the cases that the page means."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from rollout_states import contents as all_files
from test_intake_dicom import write_series

from conftest import write_image
from nnactive_ext.cli import plan
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import write_json
from nnactive_ext.intake.find import find
from nnactive_ext.labelling.given import given_cases

PAGE = (Path(__file__).parent.parent / "docs" / "layouts.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"```text\n(.*?)```.*?```sh\n(.*?)```", PAGE, re.DOTALL)
CASES = {
    "cts": "patient_01 patient_02 patient_03",
    "mri": "p01 p02",
    "Dataset004_Liver": "liver_01 liver_02",
    "bids": "sub-01 sub-02",
    "bids_channels": "sub-01 sub-02",
    "bids_sessions": "sub-01_ses-1 sub-01_ses-2 sub-02_ses-1",
    "totalsegmentator": "s0001 s0002",
    "cells": "cell_01 cell_02 cell_03",
    "slices": "cell_01 cell_02",
    "dicom": "p01 p02",
}


def title(shown: Sequence[str]) -> str:
    return shown[0].split("/")[0]


def make(tree: str) -> None:
    """The files of a tree, below the current folder, each of the kind that its name says."""
    root, *lines = tree.strip().splitlines()
    for number, line in enumerate(lines):
        make_file(Path(root.strip("/ ")) / line.strip(), np.random.default_rng(number))


def make_file(file: Path, rng: np.random.Generator) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    voxels = rng.integers(0, 200, (20, 24, 24)).astype(np.uint8)
    if "segmentations" in file.parts:  # structures do not overlap
        mask = np.zeros_like(voxels)
        mask[slice(2, 10) if file.name.startswith("liver") else slice(10, 18)] = 1
        write_image(file, mask, (4, 4, 4))
    elif "labelsTr" in file.parts:
        write_image(file, (voxels > 150).astype(np.uint8), (4, 4, 4))
    elif file.name.endswith((".nii.gz", ".nrrd", ".mha")):
        write_image(file, voxels, (4, 4, 4))
    elif file.name.endswith(".ome.tif"):
        sizes = dict.fromkeys(("PhysicalSizeX", "PhysicalSizeY", "PhysicalSizeZ"), 1.0)
        tifffile.imwrite(file, voxels, metadata={"axes": "ZYX", **sizes})
    elif file.suffix == ".tif":
        flat = voxels[0] if file.stem[0] == "z" else voxels
        metadata = {"axes": "ZYX", "spacing": 1.0, "unit": "um"} if flat.ndim == 3 else None
        tifffile.imwrite(file, flat, imagej=flat.ndim == 3, resolution=(1, 1), metadata=metadata)
    elif file.suffix == ".png":
        Image.fromarray(voxels[0]).save(file)
    elif file.name == "dataset.json":
        write_json(file, {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"})
    elif file.suffix == ".dcm":
        make_dicom(file, rng)
    else:
        file.write_text("x")


def make_dicom(file: Path, rng: np.random.Generator) -> None:
    import pydicom

    localiser = file.parent.name == "localiser"
    shape = (3, 24, 24) if localiser else (20, 40, 40)
    write_series(file.parent, rng.integers(-1000, 1000, shape), np.eye(3))
    for one in sorted(file.parent.glob("*.dcm")):
        header = pydicom.dcmread(one)
        if localiser:
            header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            header.save_as(one)
        elif file.parent.name == "rtstruct":
            for word in ("PixelData", "Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"):
                delattr(header, word)
            header.Modality, header.SOPClassUID = "RTSTRUCT", pydicom.uid.RTStructureSetStorage
            header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
            if one.name == "001.dcm":
                header.save_as(file)
            one.unlink()


def test_the_page_shows_these_layouts():
    assert [title(shown) for shown in SHOWN] == list(CASES)


@pytest.mark.parametrize("shown", SHOWN, ids=title)
def test_the_command_of_each_layout_plans_its_cases(nnunet_folders, tmp_path, monkeypatch, capsys, shown):
    tree, command = shown
    monkeypatch.chdir(tmp_path)
    make(tree)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    name, *words = shlex.split(command)
    assert name == "nnactive_plan"
    plan.main([*words, "-np", "1", "--preset", "cpu", "--disable_progress_bar"])
    experiment = Experiment.find(int(words[words.index("-o") + 1]))
    assert list(experiment.plan.pool) == CASES[title(shown)].split()
    channels = words[words.index("-channels") + 1 : words.index("-patch_size")] if "-channels" in words else ["one"]
    number = next((i for i, word in enumerate(channels) if word.startswith("-")), len(channels))
    assert {len(case.images) for case in experiment.dataset.cases.values()} == {number}
    assert {file: file.read_bytes() for file in before} == before
    assert all_files()
    if title(shown) == "bids_sessions":
        assert set(experiment.plan.groups.values()) == {"sub-01", "sub-02"}
    if title(shown) == "slices":
        assert {geometry.spacing for geometry in experiment.plan.pool.values()} == {(2e-3, 5e-4, 5e-4)}
    if title(shown) == "totalsegmentator":
        assert given_cases(experiment) == ["s0001", "s0002"]
        without = find(tmp_path / "totalsegmentator")
        assert [note.value for note in without.notes] == ["4 label maps"]

"""Our preprocessing against nnU-Net's own, a refresh of labels against a fresh start, and the borders of boxes."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import blosc2
import numpy as np
import pytest

from nnactive_ext.experiment.loops import by_case, entry, loop_file, write_loop
from nnactive_ext.experiment.preprocessed_mark import KEY
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.labelling.relabel import write_labels
from nnactive_ext.nnunet.preprocessing import preprocess, refresh, stored_shape

IGNORE = 3
MORE = [
    Patch("tiny_1", (9, 10, 4), (5, 5, 3)),
    Patch("tiny_1", (15, 10, 4), (5, 5, 3)),
    Patch("tiny_6", (2, 3, 2), (5, 5, 2)),
    Patch("tiny_7", (0, 0, 0), (25, 6, 14)),
]
"""New patches, one of them reaching from edge to edge, where the image is 0."""


def array(folder: Path, name: str) -> np.ndarray:
    return blosc2.open(urlpath=str(folder / name), mode="r")[:]


def properties(folder: Path, case: str) -> dict:
    return pickle.loads((folder / f"{case}.pkl").read_bytes())


def same_locations(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)


def state_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.iterdir()}


def annotate_more(experiment, patches=MORE) -> list[str]:
    """Write the labels with ``patches`` as cycle 1; returns the cases that changed."""
    write_loop(loop_file(experiment.raw, 1), [entry(patch, ".nii.gz") for patch in patches], {})
    changed = list(by_case(patches))
    write_labels(experiment, 1, changed, progress=False)
    return changed


@pytest.fixture(params=["resampled", "masked and resampled"])
def annotated(planned, request):
    """The experiment with more patches, in one variant normalised within the body only (as for MR with a large crop)."""
    annotate_more(planned)
    target = planned.preprocessed
    if request.param == "resampled":
        plans = (target.folder / "nnUNetPlans.json").read_text()
        assert '"use_mask_for_norm"' in plans
        import json

        content = json.loads(plans)
        content["configurations"]["3d_fullres"]["use_mask_for_norm"] = [False, False]
        (target.folder / "nnUNetPlans.json").write_text(json.dumps(content))
    preprocess(planned.dataset, target, progress=False)
    return planned


def test_labels_and_locations_are_nnunets_own(annotated):
    plans, configuration = annotated.preprocessed.manager()
    folder, dataset = annotated.preprocessed.data_folder, annotated.dataset
    preprocessor = configuration.preprocessor_class(verbose=False)
    resampled, outside = 0, 0
    for case in dataset.cases.values():
        files = [str(file) for file in case.images]
        _, labels, wanted = preprocessor.run_case(files, str(case.label), plans, configuration, dataset.json)
        ours = array(folder, f"{case.name}_seg.b2nd")
        assert ours.dtype == np.int16
        assert np.array_equal(ours, labels)
        found = properties(folder, case.name)
        assert same_locations(found["class_locations"], wanted["class_locations"])
        for key in ("bbox_used_for_cropping", "shape_before_cropping", "spacing"):
            assert np.array_equal(found[key], wanted[key])
        assert found.keys() == wanted.keys()
        assert stored_shape(case.name, annotated.preprocessed) == labels.shape[1:]
        resampled += labels.shape[1:] != found["shape_after_cropping_and_before_resampling"]
        outside += int((labels == -1).sum())
    assert resampled >= 2  # or this test would prove little
    assert outside > 0
    assert (-1, 0, 1, 2) in found["class_locations"]


def test_images_are_those_of_the_inference_path(annotated):
    """nnU-Net's training path would normalise within what is annotated, too, where it masks."""
    plans, configuration = annotated.preprocessed.manager()
    preprocessor = configuration.preprocessor_class(verbose=False)
    for case in annotated.dataset.cases.values():
        files = [str(file) for file in case.images]
        image, _, _ = preprocessor.run_case(files, None, plans, configuration, annotated.dataset.json)
        ours = array(annotated.preprocessed.data_folder, f"{case.name}.b2nd")
        assert ours.dtype == np.float32
        assert np.array_equal(ours, image.astype(np.float32))


def test_nnunet_reads_what_we_write(annotated):
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    folder = str(annotated.preprocessed.data_folder)
    data = infer_dataset_class(folder)(folder)
    assert list(data.identifiers) == sorted(annotated.plan.pool)
    image, labels, previous, _ = data.load_case("tiny_1")
    assert image.shape == (2, *labels.shape[1:])
    assert previous is None


def test_a_refresh_gives_what_a_fresh_start_gives(planned, tmp_path):
    """Bit for bit; untouched cases and all images keep their very files."""
    folder = planned.preprocessed.data_folder
    before = state_of(folder)
    before_gt = state_of(planned.preprocessed.folder / "gt_segmentations")
    changed = annotate_more(planned)
    refresh(planned.dataset, planned.preprocessed, changed, progress=False)
    after = state_of(folder)
    assert after.keys() == before.keys()
    untouched = {name for name in before if name.startswith(tuple(set(planned.plan.pool) - set(changed)))}
    untouched |= {f"{case}.b2nd" for case in changed}
    assert len(untouched) == 3 * 3 + 3
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}
    assert all(after[f"{case}_seg.b2nd"][1] != before[f"{case}_seg.b2nd"][1] for case in changed)

    fresh = replace(planned.preprocessed, folder=tmp_path / "fresh")
    fresh.folder.mkdir()
    (fresh.folder / "nnUNetPlans.json").write_text((planned.preprocessed.folder / "nnUNetPlans.json").read_text())
    preprocess(planned.dataset, fresh, progress=False)
    assert {file.name for file in fresh.data_folder.iterdir()} == set(after)
    for case in planned.plan.pool:
        for name in (f"{case}.b2nd", f"{case}_seg.b2nd"):
            ours, wanted = array(folder, name), array(fresh.data_folder, name)
            assert ours.dtype == wanted.dtype
            assert np.array_equal(ours, wanted)
        ours, wanted = properties(folder, case), properties(fresh.data_folder, case)
        assert ours.keys() - {KEY} == wanted.keys()
        assert same_locations(ours["class_locations"], wanted["class_locations"])

    after_gt = state_of(planned.preprocessed.folder / "gt_segmentations")
    for case in planned.plan.pool:
        name = f"{case}.nii.gz"
        assert after_gt[name][1] == (planned.raw / "labelsTr" / name).read_bytes()
        assert (after_gt[name] == before_gt[name]) == (case not in changed)
    assert sorted(path.name for path in planned.preprocessed.folder.glob(".*")) == []


def test_a_refresh_that_fails_leaves_the_case_as_it_was(planned, monkeypatch):
    changed = annotate_more(planned)
    before = state_of(planned.preprocessed.data_folder)

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pickle, "dump", fail)
    with pytest.raises(OSError, match="No space left"):
        refresh(planned.dataset, planned.preprocessed, changed, progress=False)
    assert state_of(planned.preprocessed.data_folder) == before
    assert list(planned.preprocessed.folder.glob(".*")) == []


def test_borders_of_boxes_after_resampling(planned):
    """Annotated stays annotated from half an image voxel inside a box, and nothing outside one becomes annotated.

    That is nnU-Net's linear resampling of each label: at a border two labels weigh one half each. It is stricter than a
    rim of one network voxel.
    """
    annotate_more(planned)
    preprocess(planned.dataset, planned.preprocessed, progress=False)
    patches = by_case(planned.annotated_patches())
    kept = lost = 0
    for case in planned.plan.pool:
        image, grid = planned.preprocessed.load(case)
        annotated = array(planned.preprocessed.data_folder, f"{case}_seg.b2nd")[0] != IGNORE
        assert annotated.shape == image.shape[1:]
        # Where each network voxel's centre lies, in image voxels along the image's axes; a voxel has its centre at 0.5.
        along = [None, None, None]
        for axis, source in enumerate(grid.transpose):
            centres = (np.arange(annotated.shape[axis]) + 0.5) / grid.scale[axis] + grid.crop_start[axis]
            along[source] = np.expand_dims(centres, [other for other in range(3) if other != axis])
        near, deep = np.zeros(annotated.shape, bool), np.zeros(annotated.shape, bool)
        for patch in patches.get(case, []):
            sides = list(zip(along, patch.start, patch.stop, strict=True))
            depth = np.minimum.reduce([np.minimum(at - low, high - at) + 0 * annotated for at, low, high in sides])
            near |= depth >= -1e-6
            deep |= depth >= 0.5 + 1e-6
        assert not (annotated & ~near).any()
        assert annotated[deep].all()
        kept += int(deep.sum())
        lost += int((near & ~annotated).sum())
    assert kept > 100
    assert lost > 0  # there is a rim that resampling takes, or the cases did not test it


def test_what_cannot_be_read_is_named(planned):
    from nnactive_ext.errors import NnActiveError

    file = planned.preprocessed.data_folder / "tiny_1.pkl"
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(NnActiveError, match="tiny_1"):
        planned.preprocessed.load("tiny_1")
    (planned.preprocessed.data_folder / "tiny_3.b2nd").unlink()
    with pytest.raises(NnActiveError, match="tiny_3"):
        planned.preprocessed.load("tiny_3")

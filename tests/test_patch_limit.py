"""The default query patch of connected structures is no image; a size that somebody gave is kept."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phantoms import KINDS, Made, vessels, write_folder, write_raw

from nnactive_ext.cli import plan
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.plan import Geometry
from nnactive_ext.nnunet.dataset import Dataset
from nnactive_ext.planning.decisions import Decisions
from nnactive_ext.planning.measure import Measured, largest_components_mm
from nnactive_ext.planning.patch_limit import LEAST_VOXELS, limited, too_large
from nnactive_ext.planning.settings import Settings
from nnactive_ext.planning.simulation import decide
from nnactive_ext.planning.sizes import query_patch_mm

sizes = st.tuples(*[st.integers(1, 90)] * 3)


def long_axes(size, shape) -> int:
    return sum(3 * s > n for s, n in zip(size, shape, strict=True))


def fits(size, shape) -> int:
    return math.prod(max(1, n // s) for n, s in zip(shape, size, strict=True))


@given(sizes, sizes, st.tuples(*[st.floats(0.3, 9)] * 3))
def test_no_patch_is_long_along_two_axes_unless_the_images_are_tiny(size, shape, spacing):
    size = tuple(min(s, n) for s, n in zip(size, shape, strict=True))
    found = limited(size, shape, spacing)
    assert all(min(s, LEAST_VOXELS) <= f <= s for f, s in zip(found, size, strict=True))
    assert (found == size) or too_large(size, shape)
    if too_large(found, shape):
        assert all(f <= LEAST_VOXELS for f, n in zip(found, shape, strict=True) if 3 * f > n)
    else:
        assert long_axes(found, shape) < 2
        assert fits(found, shape) >= 5
        assert limited(found, shape, spacing) == found


@pytest.mark.parametrize(
    ("size", "shape", "spacing", "expected"),
    [
        ((21, 512, 512), (21, 512, 512), (5, 1, 1), (21, 170, 170)),  # a slab stays a slab
        ((300, 90, 90), (320, 512, 512), (0.7, 0.7, 0.7), (300, 90, 90)),  # an aorta: long along one axis
        ((200, 300, 250), (220, 330, 300), (0.6, 0.6, 0.6), (100, 100, 100)),  # airways
        ((60, 50, 50), (200, 60, 60), (1, 1, 1), (60, 20, 20)),  # a side that is not too long is kept
        ((4, 40, 40), (16, 237, 206), (2, 0.6875, 0.6875), (4, 40, 40)),
    ],
)
def test_by_hand(size, shape, spacing, expected):
    assert limited(size, shape, spacing) == expected


def measured(made: Made) -> Measured:
    values, counts = np.unique(made.labels, return_counts=True)
    extents = largest_components_mm(made.labels, made.spacing, [int(v) for v in values if v])
    return Measured(made.labels.shape, made.spacing, dict(zip(values.tolist(), counts.tolist(), strict=True)), extents)


def membranes(seed: int) -> Made:
    """Connected walls through a whole block of tissue, as electron microscopes show."""
    labels = np.zeros((30, 90, 90), np.uint8)
    labels[seed % 7 :: 9], labels[:, ::11], labels[:, :, seed % 5 :: 13] = 1, 1, 1
    return Made((labels.astype(np.float32),), labels, ("membrane",), (3.0, 1.0, 1.0))


CONNECTED = {"vessels": vessels, "flat vessels": lambda seed: vessels(seed, (9, 200, 240)), "membranes": membranes}


@pytest.mark.parametrize("kind", CONNECTED)
def test_connected_structures(kind):
    cases = {f"c{i}": CONNECTED[kind](i) for i in range(3)}
    found = {name: measured(made) for name, made in cases.items()}
    geometry = {name: Geometry(one.shape, one.spacing) for name, one in found.items()}
    names, folder, told = cases["c0"].names, "images", Decisions()
    size_mm = query_patch_mm(folder, found, geometry, names, None, (), told)
    shape, spacing = cases["c0"].labels.shape, cases["c0"].spacing
    voxels = [round(mm / s) for mm, s in zip(size_mm, spacing, strict=True)]
    assert long_axes(voxels, shape) < 2
    assert fits(voxels, shape) >= 5
    # The table names the size, the cause and the flag for the size that it would have been.
    text = " ".join(word for row in told for word in row)
    assert f"{'x'.join(map(str, voxels))} voxels" in text
    assert names[0] in text
    whole = [round(v) for v in np.median([found[c].extents[1] for c in found], axis=0) / spacing]
    assert f"-patch_size {' '.join(map(str, whole))}" in text

    # As typed, it stays, with a warning that names the smaller size; so do sizes of structures.
    for asked, structures in ((list(map(str, whole)), ()), (None, [f"{names[0]}={'x'.join(str(float(m)) for m in whole)}"])):
        told = Decisions()
        kept = query_patch_mm(folder, found, geometry, names, asked, structures, told)
        if asked:
            np.testing.assert_allclose(np.divide(kept, spacing), whole)
            assert any(what == "WARNING" and f"-patch_size {' '.join(map(str, voxels))}" in why for what, _, why in told)
        else:
            np.testing.assert_allclose(kept, whole)
    # The published protocol knows no limit and no such warning.
    told = Decisions()
    published = query_patch_mm(folder, found, geometry, names, None, (), told, "published")
    np.testing.assert_allclose(np.divide(published, spacing), whole)
    assert "limited" not in str(told)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", ["standard", "published"])
@pytest.mark.usefixtures("nnunet_folders")
def test_simulations_of_all_kinds(kind, protocol, tmp_path):
    cases = {f"case_{i}": KINDS[kind](i) for i in range(5)}
    source = Dataset(write_raw(tmp_path / "Dataset007_Kind", cases))
    settings = Settings(number=17, query_size=1, starting_budget=1, protocol=protocol)
    found = {name: measured(made) for name, made in cases.items()}
    made = decide(source, found, settings)
    for name, geometry in made.pool.items():
        if protocol == "standard":
            assert long_axes(made.patch_size(name), np.ceil(np.multiply(geometry.shape, 1.1))) < 2
    limit = [row for row in made.decisions if "limited" in row[1]]
    assert bool(limit) == (protocol == "standard" and kind == "vessels")


@pytest.mark.usefixtures("nnunet_folders")
def test_a_roll_out_with_label_maps_of_vessels(tmp_path):
    cases = {f"case_{i}": vessels(i, (12, 60, 60)) for i in range(3)}
    images = write_folder(tmp_path / "images", cases, tmp_path / "maps")
    (tmp_path / "maps" / "case_2.nii.gz").unlink()
    words = f"-i {images} -o 601 --labels vessel -label_maps {tmp_path / 'maps'} --preset cpu --disable_progress_bar"
    plan.main(words.split())
    shown = "\n".join(" ".join(row) for row in Experiment.find(601).plan.decisions)
    assert "limited from" in shown
    assert "largest component of vessel" in shown

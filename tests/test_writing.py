"""Images are written whole or not at all, whoever writes them."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.writing import image_written, write_image
from nnactive_ext.labelling.labels import write_label

SPACE = Space((4, 5, 6), (1.0, 2.0, 3.0), (-7.0, 8.0, 9.5), (1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 0.0))
LABELS = np.random.default_rng(0).integers(0, 3, SPACE.shape).astype(np.uint8)
STUFF = {"spacing": SPACE.spacing, "origin": SPACE.origin, "direction": SPACE.direction}
WRITERS = {
    "an image": lambda file: write_image(file, SPACE.image(LABELS)),
    "a label map": lambda file: write_label(file, LABELS, SimpleITKIO(), {"sitk_stuff": STUFF}),
}


def half(write):
    """As on a full disk, where ITK says nothing."""

    def writing(image, file, *more, **options):
        write(image, file, *more, **options)
        content = open(file, "rb").read()
        open(file, "wb").write(content[: len(content) // 2])

    return writing


def other(write):
    """A whole file with a voxel of another value."""

    def writing(image, file, *more, **options):
        array = sitk.GetArrayFromImage(image)
        array[0, 0, 0] += 1
        write(SPACE.image(array), file, *more, **options)

    return writing


def failing(write):
    def writing(*given, **options):
        raise RuntimeError("ITK cannot")

    return writing


@pytest.mark.parametrize("writer", WRITERS)
def test_what_is_written_is_read(tmp_path, writer):
    file = tmp_path / "case.nii.gz"
    WRITERS[writer](file)
    image = sitk.ReadImage(str(file))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), LABELS)
    np.testing.assert_allclose(Space.of_image(image).affine, SPACE.affine, atol=1e-5)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("fault", [half, other, failing])
@pytest.mark.parametrize("writer", WRITERS)
def test_what_is_not_whole_replaces_nothing(tmp_path, monkeypatch, writer, fault):
    file = tmp_path / "case.nii.gz"
    file.write_bytes(b"an older one")
    monkeypatch.setattr(sitk, "WriteImage", fault(sitk.WriteImage))
    with pytest.raises(NnActiveError, match="space") as error:
        WRITERS[writer](file)
    assert str(file) in str(error.value)
    assert file.read_bytes() == b"an older one"
    assert list(tmp_path.iterdir()) == [file]


def test_the_file_appears_when_the_block_succeeds(tmp_path):
    file = tmp_path / "case.nii.gz"
    with pytest.raises(KeyError), image_written(file, SPACE.image(LABELS)):
        raise KeyError
    assert not list(tmp_path.iterdir())
    with image_written(file, SPACE.image(LABELS)) as temporary:
        assert temporary.stat().st_size > 0
        assert not file.exists()
    assert list(tmp_path.iterdir()) == [file]

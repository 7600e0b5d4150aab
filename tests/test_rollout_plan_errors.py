"""Folders of images and wishes that no roll-out can be made of: all that is wrong at once, nothing made, then it works."""

from __future__ import annotations

import errno
import gzip
import os
import shlex
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from printed import commands_in
from rollout_states import contents
from rollouts import from_dataset

from nnactive_ext.cli import plan, status
from nnactive_ext.experiment.experiment import INCOMPLETE, Experiment

OPTIONS = (
    "--labels organ lesion -channels T1 T2 -patch_size 5 5 3 -starting_budget 6 -query_size 4 -cycles 3 -folds 2 "
    "--preset cpu -np 1 --disable_progress_bar"
)


@pytest.fixture
def hospital(nnunet_folders, tiny_template, tmp_path):
    """Four patients."""
    made = from_dataset(tiny_template, tmp_path / "hospital")
    for number in range(4, 8):
        for file in made.images.parent.rglob(f"tiny_{number}*"):
            file.unlink()
    return made


@pytest.fixture
def refuses(capsys, tmp_path):
    """A plan that must fail with all ``words`` in its message; nothing is made, and no image is touched."""

    def refuse(images: Path, options: str = OPTIONS, *words: object, code: int = 1) -> str:
        before, files = contents(), {path: path.stat().st_mtime_ns for path in images.rglob("*") if path.is_file()}
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            plan.main(["-i", str(images), "-o", "601", *options.split()])
        message = capsys.readouterr().err
        assert caught.value.code == code, message
        for word in words:
            assert str(word) in message
        assert "Traceback" not in message
        assert contents() == before
        assert {path: path.stat().st_mtime_ns for path in images.rglob("*") if path.is_file()} == files
        return message

    return refuse


def change(file: Path, alter, target: Path | None = None) -> None:
    image = sitk.ReadImage(str(file))
    sitk.WriteImage(alter(image) or image, str(target or file), True)


def values(alter, dtype=np.float32):
    def change_values(image: sitk.Image) -> sitk.Image:
        array = sitk.GetArrayFromImage(image).astype(dtype)
        alter(array)
        made = sitk.GetImageFromArray(array)
        made.CopyInformation(image)
        return made

    return change_values


def test_everything_wrong_with_the_images_is_told_at_once(hospital, refuses):
    images = hospital.images
    bad = [images / f"tiny_{n}_{c}.nii.gz" for n, c in ((0, "T1"), (0, "T2"), (1, "T1"), (1, "T2"), (2, "T2"), (3, "T1"))]
    whole = {file: file.read_bytes() for file in bad}
    corrupt, short, nan, joined, moved, empty = bad
    corrupt.write_bytes(b"no image at all")
    unpacked = gzip.decompress(short.read_bytes())
    short.write_bytes(gzip.compress(unpacked[: len(unpacked) // 2]))
    change(nan, values(lambda a: a.__setitem__((3, 4, 5), np.nan)))
    change(joined, lambda i: sitk.JoinSeries([i, i]))
    change(moved, lambda i: i.SetSpacing((1.0, 1.0, 3.0)))
    empty.write_bytes(b"")
    message = refuses(images, OPTIONS, *bad, "truncated", "NaN", "4D", "Repair these files")
    assert str(images / "tiny_3_T2.nii.gz") not in message
    for file, content in whole.items():
        file.write_bytes(content)
    hospital.plan()
    assert len(hospital.experiment.plan.pool) == 4


def test_a_twin_that_itk_would_mix_up(hospital, tmp_path, refuses):
    """Asked for a.nii.gz, ITK takes the voxels of the a.nii beside it."""
    file = hospital.images / "tiny_1_T1.nii.gz"
    change(file, values(lambda a: a.fill(0)), file.with_suffix(""))
    refuses(hospital.images, OPTIONS, "tiny_1_T1.nii")
    file.with_suffix("").rename(tmp_path / "tiny_1_T1.nii")
    hospital.plan()


def test_a_channel_that_is_missing_and_a_file_of_no_channel(hospital, refuses):
    (hospital.images / "tiny_1_T2.nii.gz").rename(hospital.images / "tiny_1_FLAIR.nii.gz")
    refuses(hospital.images, OPTIONS, "tiny_1", "T2", "tiny_1_FLAIR.nii.gz", "-channels")


def test_channels_of_other_shapes(hospital, refuses):
    file = hospital.images / "tiny_2_T2.nii.gz"
    change(file, lambda i: i[:, :, :-1])
    refuses(hospital.images, OPTIONS, file, "not on the grid", "voxels instead of")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("organ lesion", "organ background", ["background", "by themselves"]),
        ("organ lesion", "organ Ignore", ["Ignore", "by themselves"]),
        ("organ lesion", "organ organ", ["twice"]),
        ("organ lesion", "organ ORGAN", ["twice"]),
        ("--labels organ lesion", "", ["--labels", "name the structures"]),
        ("-patch_size 5 5 3", "", ["how large", "-structures", "-patch_size"]),
        ("-patch_size 5 5 3", "-structures spleen=20", ["spleen=20", "--labels"]),
        ("-patch_size 5 5 3", "-structures organ", ["-structures organ", "NAME=MM"]),
        ("-patch_size 5 5 3", "-structures organ=-4", ["organ=-4"]),
        ("-patch_size 5 5 3", "-structures organ=4x4", ["organ=4x4"]),
        ("-patch_size 5 5 3", "-structures organ=900", ["900"]),
        ("-patch_size 5 5 3", "-patch_size big", ["big"]),
        ("-query_size 4", "--hard spleen", ["--hard spleen"]),
        ("-query_size 4", "--method random_fg_66", ["random_fg_66", "reference"]),
        ("-query_size 4", "--method guesswork", ["guesswork"]),
        ("-query_size 4", "-query_size 0", ["at least 1"]),
        ("-cycles 3", "-cycles 0", ["at least 1"]),
        ("-folds 2", "-folds 0", ["1 fold"]),
        ("-folds 2", "-share 0", ["-share"]),
        ("-folds 2", "-share nan", ["-share"]),
        ("-folds 2", "-c 3d_cascade_fullres", ["cascade"]),
        ("-folds 2", "-start_from loop_000.json", ["-start_from", "points"]),
        ("-folds 2", "-name a/b", ["a/b"]),
        ("-folds 2", "-expert latest", ["-expert 'latest'"]),
        ("-folds 2", "-expert consensus", ["-expert 'consensus'"]),
        ("-folds 2", "-label_maps nowhere", ["nowhere", "-label_maps"]),
        ("-channels T1 T2", "-channels T1 t1", ["-channels T1 t1"]),
        ("-channels T1 T2", "-channels T1 T2 -pattern {patient}", ["-pattern"]),
        ("-o 601", "-o 0", ["number 0"]),
    ],
)
def test_wishes_that_cannot_be(hospital, refuses, old, new, words):
    options = f"-o 601 {OPTIONS}"
    assert old in options
    refuses(hospital.images, options.replace(old, new), *words)


@pytest.mark.parametrize("place", ["raw", "preprocessed", "results"])
def test_a_number_in_use(hospital, nnunet_folders, refuses, place):
    (getattr(nnunet_folders, place) / "Dataset601_Other").mkdir()
    refuses(hospital.images, OPTIONS, "601", "in use", "Dataset601_Other")


def test_no_images(hospital, nnunet_folders, tmp_path, refuses):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "again").symlink_to(tmp_path / "empty")
    refuses(tmp_path / "empty", OPTIONS, tmp_path / "empty", "no images")
    refuses(tmp_path / "absent", OPTIONS, tmp_path / "absent", "does not exist")
    (tmp_path / "one").mkdir()
    for file in hospital.images.glob("tiny_0*"):
        shutil.copy(file, tmp_path / "one")
    refuses(tmp_path / "one", OPTIONS, "1 case(s)", "at least 2")


LABELS = {
    "unknown value": (lambda f: change(f, values(lambda a: a.__setitem__((1, 1, 1), 7), np.uint8)), ["7 (1 voxel)"]),
    "another grid": (lambda f: change(f, lambda i: i.SetSpacing((1.0, 1.0, 3.0))), ["not on the grid"]),
    "a part": (lambda f: change(f, lambda i: i[:, :, 3:]), ["covers only a part"]),
    "cut short": (lambda f: f.write_bytes(f.read_bytes()[:-200]), ["truncated"]),
    "of no case": (lambda f: shutil.copy(f, f.with_name("stranger.nii.gz")), ["stranger.nii.gz", "no case"]),
    "twice": (lambda f: change(f, lambda i: i, f.with_name("tiny_2.mha")), ["tiny_2", "2 label maps"]),
}


@pytest.mark.parametrize("wrong", LABELS)
def test_label_maps_that_cannot_be(hospital, tmp_path, refuses, wrong):
    spoil, words = LABELS[wrong]
    maps = tmp_path / "maps"
    maps.mkdir()
    file = Path(shutil.copy(hospital.label("tiny_2"), maps))
    spoil(file)
    refuses(hospital.images, f"{OPTIONS} -label_maps {maps}", maps, *words)
    shutil.rmtree(maps)
    maps.mkdir()
    shutil.copy(hospital.label("tiny_2"), maps)
    hospital.plan(f"{OPTIONS} -label_maps {maps}")


def test_names_with_spaces_and_in_any_script(hospital):
    for old, new in (("tiny_0", "Müller, José (2)"), ("tiny_1", "患者 1"), ("tiny_2", "a  b")):
        for channel in ("T1", "T2"):
            (hospital.images / f"{old}_{channel}.nii.gz").rename(hospital.images / f"{new}_{channel}.nii.gz")
    images = hospital.images.rename(hospital.images.with_name("die Bilder ü"))
    plan.main(["-i", str(images), "-o", "601", "-name", "Tiny", *OPTIONS.split()])
    assert len(hospital.experiment.plan.pool) == 4
    assert "Muller_Jose_2" in hospital.experiment.plan.pool
    hospital.annotate("export --blank")


@pytest.mark.parametrize("number", [1, 2, 4, 6])
def test_a_full_device_leaves_nothing(hospital, monkeypatch, refuses, number):
    """Files are, in turn: dataset.json, the loop, four label maps, the plan."""
    real, calls = os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace)
        refuses(hospital.images, OPTIONS, "no space left")
    hospital.plan()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("number", [1, 2, 3, 6, 7])
def test_what_a_killed_plan_left_is_replaced(hospital, nnunet_folders, monkeypatch, capsys, number):
    child = os.fork()
    if child == 0:  # pragma: no cover
        real, calls = os.replace, []

        def replace(source, target):
            calls.append(target)
            if len(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            real(source, target)

        os.replace = replace
        try:
            hospital.plan()
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    left = nnunet_folders.raw / "Dataset601_Tiny"
    assert (left / INCOMPLETE).is_file()
    capsys.readouterr()
    with pytest.raises(SystemExit):
        status.main(["-d", "601"])
    (again,) = commands_in(capsys.readouterr().err)
    assert " -d " not in again, "planning from what was left"
    plan.main(shlex.split(again)[1:])
    assert not list(left.rglob(".nnactive_*"))
    assert Experiment.find(601).last_loop == 0


@pytest.mark.parametrize("wrong", ["-o 0", "-name a/b", "-expert first", "-method nonsense", "-share 2", "--hard spleen"])
def test_wishes_are_checked_before_the_images_are_read(hospital, monkeypatch, refuses, wrong):
    monkeypatch.setattr("nnactive_ext.intake.find.find_cases", lambda *args: pytest.fail("read"))
    refuses(hospital.images, f"{OPTIONS} {wrong.replace('-method', '--method')}", wrong.split()[-1])


@pytest.mark.parametrize(
    ("folder", "name"), [("images", "images"), ("die Bilder (ü)", "die_Bilder_u"), ("a__b.c", "a_b_c"), ("患者", None)]
)
def test_a_name_for_the_folder_one_is_in(hospital, monkeypatch, refuses, folder, name):
    images = hospital.images.rename(hospital.images.with_name(folder))
    monkeypatch.chdir(images)
    if name is None:
        refuses(Path("."), OPTIONS, "-name")
        return
    plan.main(["-i", ".", "-o", "601", *OPTIONS.split()])
    assert hospital.experiment.plan.dataset == f"Dataset601_{name}"


def test_label_maps_show_how_their_values_are_understood(hospital, tmp_path):
    """Values of one class taken for the other's show in the counts, and ignore that was a class of theirs in a warning."""
    maps = tmp_path / "maps"
    maps.mkdir()
    for case in ("tiny_0", "tiny_2"):
        shutil.copy(hospital.label(case), maps)
    arrays = [sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in maps.iterdir()]
    change(maps / "tiny_2.nii.gz", lambda i: i + sitk.Cast(i == 2, i.GetPixelID()))
    hospital.plan(f"{OPTIONS} -label_maps {maps}")
    said = [" ".join(row).strip() for row in hospital.experiment.plan.decisions]
    organ = sum(int((array == 1).sum()) for array in arrays)
    assert f"1 = organ {organ:,} voxels in 2 of 2 label maps" in said
    assert any(line.startswith("2 = lesion") and line.endswith("voxels in 1 of 2 label maps") for line in said)
    assert 'WARNING value 3 in label maps 3 means "not annotated" here; it is in 1 label map(s): tiny_2' in said


def test_single_voxels_of_a_class_do_not_replace_the_starting_budget(hospital, tmp_path):
    maps = tmp_path / "maps"
    maps.mkdir()

    def nearly_without_lesion(array):
        places = np.argwhere(array == 2)
        array[array == 2] = 1
        array[tuple(places[0])] = 2

    for case in ("tiny_0", "tiny_1", "tiny_2"):
        file = Path(shutil.copy(hospital.label(case), maps))
        change(file, values(nearly_without_lesion, np.uint8))
    options = OPTIONS.replace("-starting_budget 6", "").replace("-query_size 4", "-query_size 6")
    hospital.plan(f"{options} -label_maps {maps}")
    assert any("beside the starting budget" in why for _, _, why in hospital.experiment.plan.decisions)
    assert hospital.experiment.plan.starting_budget == 6


def test_channels_without_names(hospital, refuses, capsys):
    for file in hospital.images.iterdir():
        file.rename(file.with_name(file.name.replace("T1", "0000").replace("T2", "0001")))
    options = OPTIONS.replace("-channels T1 T2 ", "")
    refuses(hospital.images, options, "tiny_0_0000, tiny_0_0001", "-pattern", "-channels")
    hospital.plan(f"{options} -pattern {{case}}_{{channel}}")
    said = " ".join(capsys.readouterr().out.split())
    assert "channel files 0000, 0001 taken as the 2 channels of each case" in said
    assert "WARNING channels channel_0, channel_1 normalised by z-score each; name them with -channels" in said


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are no bytes there")
def test_names_that_are_no_utf_8(hospital, tmp_path, refuses):
    """ITK would end the process."""
    latin = os.fsdecode("M\u00fcller".encode("latin-1"))
    maps = tmp_path / "maps"
    maps.mkdir()
    shutil.copy(hospital.label("tiny_2"), maps / f"tiny_2_{latin}.nii.gz")
    more = f"-label_maps {maps} -label_pattern {{case}}_{latin}"
    refuses(hospital.images, f"{OPTIONS} {more}", "M\\xfcller", "Rename it")
    file = hospital.images / "tiny_1_T1.nii.gz"
    file.rename(hospital.images / f"{latin}_T1.nii.gz")
    refuses(hospital.images, OPTIONS, "M\\xfcller", "Rename it")
    (hospital.images / f"{latin}_T1.nii.gz").rename(file)
    hospital.plan()

"""What users get wrong, provoked through the commands: a message that names it, a status that is not 0, nothing half-made."""

from __future__ import annotations

import contextlib
import gzip
import importlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from printed import commands_in

from nnactive_ext.cli import plan, query, run
from nnactive_ext.experiment.experiment import INCOMPLETE, Experiment
from nnactive_ext.experiment.loops import loop_file
from nnactive_ext.experiment.plan import PLAN_FILE
from nnactive_ext.files import read_json, write_json
from nnactive_ext.planning.create import check_number, new_folders

OPTIONS = "-patch_size 5 5 3 -query_size 4 -starting_budget 6 -cycles 3 -folds 3 --preset cpu --disable_progress_bar"
PLANNING = f"-d 100 -o 101 {OPTIONS}"
QUERY = "-d 101 -device cpu --disable_progress_bar"
POOL, TEST = (1, 3, 4, 5, 6, 7), (0, 2)
"""Of the tiny dataset's cases."""


def listing() -> dict[str, int]:
    """All files in nnU-Net's folders and their sizes, but for locks."""
    found = {}
    for name in ("raw", "preprocessed", "results"):
        folder = Path(os.environ.get(f"nnUNet_{name}", "/does/not/exist"))
        for path in folder.rglob("*"):
            if not (path.name.startswith(".nnactive_") and path.suffix in (".lock", ".owner")):
                found[str(path)] = path.stat().st_size if path.is_file() else -1
    return found


@pytest.fixture
def refuses(capsys):
    """Call a command that must fail with all ``words`` on stderr and leave nnU-Net's folders as they were."""

    def call(main, arguments: str, *words: object, status: int = 1, unchanged: bool = True) -> str:
        before = listing()
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(arguments.split())
        assert caught.value.code == status
        message = capsys.readouterr().err
        for word in words:
            assert str(word) in message
        assert "Traceback" not in message
        if unchanged:
            assert listing() == before
        return message

    return call


# The dataset


def rewrite(file: Path, change) -> None:
    """Let ``change`` alter the voxels (z, y, x) of an image in place, or return others, and write it back."""
    image = sitk.ReadImage(str(file))
    array = sitk.GetArrayFromImage(image)
    changed = change(array)
    made = sitk.GetImageFromArray(array if changed is None else changed)
    made.SetSpacing(image.GetSpacing())
    made.SetOrigin(image.GetOrigin())
    made.SetDirection(image.GetDirection())
    sitk.WriteImage(made, str(file), useCompression=True)


def regeometry(file: Path, method: str, value) -> None:
    image = sitk.ReadImage(str(file))
    getattr(image, method)(value)
    sitk.WriteImage(image, str(file), useCompression=True)


def put(value, at=(5, 6, 7)):
    def change(array):
        array[at] = value

    return change


def cut_in_half(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])


def edit_json(file: Path, change) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


TURNED = (1, 0, 0, 0, 0, -1, 0, 1, 0)
IMAGE, LABEL = "imagesTr/tiny_3_0001.nii.gz", "labelsTr/tiny_3.nii.gz"
DAMAGES = {
    "missing dataset.json": (lambda d: (d / "dataset.json").unlink(), ["dataset.json"]),
    "dataset.json is no JSON": (lambda d: (d / "dataset.json").write_text("{,"), ["dataset.json"]),
    "a label twice": (
        lambda d: (d / "dataset.json").write_text(
            (d / "dataset.json").read_text().replace('"lesion": 2', '"lesion": 1, "lesion": 2')
        ),
        ["dataset.json", "lesion"],
    ),
    "no label key": (lambda d: edit_json(d / "dataset.json", lambda c: c.pop("labels")), ["dataset.json", "labels"]),
    "no channels": (lambda d: edit_json(d / "dataset.json", lambda c: c.pop("channel_names")), ["channel_names"]),
    "no ending": (lambda d: edit_json(d / "dataset.json", lambda c: c.pop("file_ending")), ["file_ending"]),
    "labels as a list": (lambda d: edit_json(d / "dataset.json", lambda c: c.update(labels=["a"])), ["dataset.json"]),
    "a label that is a word": (lambda d: edit_json(d / "dataset.json", lambda c: c["labels"].update(organ="x")), ["organ"]),
    "an entry without label": (
        lambda d: edit_json(d / "dataset.json", lambda c: c.update(dataset={"tiny_0": {"images": []}})),
        ["dataset.json"],
    ),
    "too few channels": (
        lambda d: edit_json(
            d / "dataset.json", lambda c: c.update(dataset={"tiny_0": {"images": [IMAGE], "label": "labelsTr/tiny_0.nii.gz"}})
        ),
        ["tiny_0"],
    ),
    "no background": (lambda d: edit_json(d / "dataset.json", lambda c: c["labels"].pop("background")), ["background"]),
    "a gap in the labels": (
        lambda d: edit_json(d / "dataset.json", lambda c: c["labels"].update(lesion=3)),
        ["dataset.json", "[0, 1, 3]"],
    ),
    "a missing channel": (lambda d: (d / IMAGE).unlink(), [IMAGE]),
    "a missing label": (lambda d: (d / LABEL).unlink(), [LABEL]),
    "another shape": (lambda d: rewrite(d / LABEL, lambda a: a[:-1].copy()), [LABEL, "23x26x14", "24x26x14"]),
    "another spacing": (lambda d: regeometry(d / LABEL, "SetSpacing", (2.0, 0.8, 1.5)), [LABEL, "spacing", "1.5"]),
    "another direction": (lambda d: regeometry(d / LABEL, "SetDirection", TURNED), [LABEL, "direction"]),
    "another origin": (lambda d: regeometry(d / LABEL, "SetOrigin", (1.0, 2.0, 33.0)), [LABEL, "origin", "33"]),
    "channels of other shapes": (lambda d: rewrite(d / IMAGE, lambda a: a[:-1].copy()), [IMAGE]),
    "channels in other places": (lambda d: regeometry(d / IMAGE, "SetOrigin", (1.0, 2.0, 33.0)), [IMAGE, "origin", "33"]),
    "channels in other directions": (lambda d: regeometry(d / IMAGE, "SetDirection", TURNED), [IMAGE, "direction"]),
    "unknown label values": (lambda d: rewrite(d / LABEL, put(7)), [LABEL, "7"]),
    "the value of ignore": (lambda d: rewrite(d / LABEL, put(3)), [LABEL, "3"]),
    # ITK reads neither NaN nor infinity from a NIfTI file: it makes them 0.
    "NaN": (lambda d: rewrite(d / IMAGE, put(np.nan)), [IMAGE, "1 voxel"]),
    "infinity": (lambda d: rewrite(d / IMAGE, put(-np.inf, np.s_[:2, 0, 0])), [IMAGE, "2 voxels"]),
    "a corrupt image": (lambda d: (d / IMAGE).write_bytes(b"no image at all"), [IMAGE]),
    "a corrupt image, well packed": (lambda d: (d / IMAGE).write_bytes(gzip.compress(b"no image at all")), [IMAGE]),
    "an empty image": (lambda d: (d / IMAGE).write_bytes(b""), [IMAGE]),
    "a truncated image": (lambda d: cut_in_half(d / IMAGE), [IMAGE]),
    "a truncated label": (lambda d: cut_in_half(d / LABEL), [LABEL]),
    "a class absent from the pool": (
        lambda d: [rewrite(d / f"labelsTr/tiny_{i}.nii.gz", lambda a: np.minimum(a, 1)) for i in POOL],
        ["lesion"],
    ),
    "too few cases": (
        lambda d: [f.unlink() for i in range(3, 8) for f in d.glob(f"*/tiny_{i}*")],
        ["3 case"],
    ),
    "no cases": (lambda d: shutil.rmtree(d / "imagesTr"), ["imagesTr"]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_plan_refuses_a_damaged_dataset(tiny, refuses, damage):
    break_it, words = DAMAGES[damage]
    break_it(tiny)
    refuses(plan.main, PLANNING, *words)


def test_plan_refuses_not_a_number_in_other_formats(tiny, refuses):
    for file in [*tiny.glob("imagesTr/*"), *tiny.glob("labelsTr/*")]:
        sitk.WriteImage(sitk.ReadImage(str(file)), str(file).replace(".nii.gz", ".mha"))
        file.unlink()
    edit_json(tiny / "dataset.json", lambda content: content.update(file_ending=".mha"))
    file = tiny / IMAGE.replace(".nii.gz", ".mha")
    rewrite(file, put(np.nan))
    refuses(plan.main, PLANNING, file, "1 voxel")


def test_plan_refuses_not_a_number_with_another_reader(tiny, refuses):
    edit_json(tiny / "dataset.json", lambda content: content.update(overwrite_image_reader_writer="NibabelIO"))
    rewrite(tiny / IMAGE, put(np.nan))
    refuses(plan.main, PLANNING, IMAGE, "1 voxel")


def test_all_problems_are_told_at_once(tiny, refuses):
    rewrite(tiny / IMAGE, put(np.nan))
    rewrite(tiny / "labelsTr/tiny_5.nii.gz", put(9))
    refuses(plan.main, PLANNING, IMAGE, "tiny_5.nii.gz", "9")


# What is asked for


@pytest.mark.parametrize("place", ["raw", "preprocessed", "results"])
def test_plan_refuses_a_number_in_use(tiny, nnunet_folders, refuses, place):
    folder = getattr(nnunet_folders, place) / "Dataset101_Other"
    folder.mkdir()
    (folder / "precious").write_text("x")
    refuses(plan.main, PLANNING, "101", folder.name)


@pytest.mark.parametrize(
    ("options", "words", "status"),
    [
        ("-patch_size 500", ["500"], 1),
        ("-patch_size 5 5 400mm", ["400"], 1),
        ("-patch_size 3 4", ["3 4"], 1),
        ("-patch_size 5 5 0", ["5 5 0"], 1),
        ("-patch_size big", ["big"], 1),
        ("-query_size 1000", ["1006"], 3),
        ("-starting_budget 1000 -query_size 1", ["1001"], 3),
        ("-query_size 0", ["at least 1"], 1),
        ("-cycles 0", ["at least 1"], 1),
        ("-folds 0", ["1 fold"], 1),
        ("-c 3d_cascade_fullres", ["cascade"], 1),
        ("--method guesswork", ["guesswork", "clasp_pe"], 1),
        ("--method clasp_pe gamma=1", ["gamma"], 1),
        ("--method clasp_pe alpha=x", ["alpha", "x"], 1),
        ("--method clasp_pe alpha", ["alpha", "KEY=VALUE"], 1),
        ("--method random alpha=0.5", ["random", "alpha"], 1),
        ("-o 0", ["number 0"], 1),
        ("-o -7", ["number -7"], 1),
        ("-o many", ["many"], 2),
        ("-d 777", ["777"], 1),
        ("-d Dataset777_X", ["Dataset777_X"], 1),
        ("-d nonsense", ["nonsense"], 1),
        ("-start_from nowhere.json", ["nowhere.json"], 1),
        ("--preset gpu", ["gpu"], 2),
        ("--no_such_switch", ["--no_such_switch"], 2),
    ],
)
def test_plan_refuses_what_cannot_be(tiny, refuses, options, words, status):
    refuses(plan.main, f"{PLANNING} {options}", *words, status=status)


@pytest.mark.parametrize(
    "patch",
    [
        {"file": "stranger.nii.gz", "coords": [0, 0, 0], "size": [5, 5, 3]},
        {"file": "tiny_0.nii.gz", "coords": [0, 0, 0], "size": [5, 5, 3]},
        {"file": "tiny_1.nii.gz", "coords": [22, 0, 0], "size": [5, 5, 3]},
    ],
    ids=["no such case", "a test case", "outside the image"],
)
def test_plan_refuses_a_start_it_cannot_use(tiny, tmp_path, refuses, patch):
    (tmp_path / "loop_000.json").write_text(json.dumps({"patches": [patch]}))
    refuses(plan.main, f"{PLANNING} -start_from {tmp_path / 'loop_000.json'}", "loop_000.json")


@pytest.mark.usefixtures("quick_planning")
def test_plan_refuses_an_unknown_configuration(tiny, refuses):
    refuses(plan.main, f"{PLANNING} -c 4d_fullres", "4d_fullres", "3d_fullres")


# The surroundings


@pytest.mark.parametrize("variable", ["nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"])
@pytest.mark.parametrize(("main", "arguments"), [(plan.main, PLANNING), (query.main, QUERY), (run.main, QUERY)])
def test_a_missing_variable_is_named(planned, monkeypatch, refuses, main, arguments, variable):
    monkeypatch.delenv(variable)
    refuses(main, arguments, variable)


def test_a_raw_folder_that_does_not_exist(tiny, tmp_path, monkeypatch, refuses):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "absent"))
    refuses(plan.main, PLANNING.replace("-d 100", f"-d {tiny}"), tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="to root every folder is writable")
def test_a_raw_folder_that_cannot_be_written(tiny, refuses):
    tiny.parent.chmod(0o555)
    try:
        refuses(plan.main, PLANNING, tiny.parent)
    finally:
        tiny.parent.chmod(0o755)


def broken_torchvision():
    def nms(*_):
        raise RuntimeError("operator torchvision::nms does not exist")

    module = types.ModuleType("torchvision")
    module.ops = types.SimpleNamespace(nms=nms)
    return module


@pytest.mark.parametrize("module", [None, broken_torchvision()], ids=["missing", "for another torch"])
def test_run_refuses_without_a_torchvision_that_fits(planned, monkeypatch, refuses, module):
    monkeypatch.setitem(sys.modules, "torchvision", module)
    refuses(run.main, QUERY, "torchvision", "pip install")


# No space left


def fail_at(monkeypatch, number: int) -> None:
    """From the ``number``-th file on, moving a finished file into place finds the device full."""
    real, calls = os.replace, []

    def replace(*arguments, **options):
        calls.append(arguments)
        if len(calls) >= number:
            raise OSError(28, "No space left on device", str(arguments[1]))
        return real(*arguments, **options)

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.usefixtures("quick_planning")
@pytest.mark.parametrize("number", [1, 9, 35, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 5, 15, 30))])
def test_a_full_device_leaves_nothing_of_a_plan(tiny, monkeypatch, refuses, number):
    """Files are, in turn: dataset.json, loop, labels, fingerprint, three per preprocessed case and its label, and so on."""
    with monkeypatch.context() as patched:
        fail_at(patched, number)
        refuses(plan.main, PLANNING, "no space left")
    plan.main(PLANNING.split())
    assert Experiment.find(101).state["cycle"] == 0


@pytest.fixture
def small_device(tmp_path):
    """Mounts a real file system of a few kilobytes; needs Linux and the right to mount."""
    mounted = []

    def mount(kilobytes: int) -> Path:
        folder = tmp_path / f"device{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no right to mount a file system here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        # Lazily: blosc2 keeps a file open that it failed to write.
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.usefixtures("quick_planning")
@pytest.mark.parametrize(
    ("variable", "kilobytes"),
    [("nnUNet_raw", 8), ("nnUNet_raw", 20), *(("nnUNet_preprocessed", size) for size in (4, 24, 100))],
)
def test_a_really_full_device_leaves_nothing_of_a_plan(tiny, small_device, monkeypatch, refuses, variable, kilobytes):
    """Also where ITK and blosc2 write, which do not say ENOSPC (ITK says nothing at all)."""
    monkeypatch.setenv(variable, str(small_device(kilobytes)))
    refuses(plan.main, PLANNING.replace("-d 100", f"-d {tiny}"), "space")


@pytest.mark.skipif(os.name == "nt", reason="no limits on the size of files")
@pytest.mark.parametrize("ending", [".nii.gz", ".mha"])
def test_a_label_that_does_not_fit_keeps_the_old_one(tmp_path, ending):
    """ITK writes half a .nii.gz without complaint; here a limit on the size of files stands for a full device."""
    import resource

    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    from nnactive_ext.errors import NnActiveError
    from nnactive_ext.labelling.labels import write_label

    old, labels = np.zeros((40, 40, 40), np.uint8), np.random.default_rng(0).integers(0, 3, (40, 40, 40), np.uint8)
    geometry = {"spacing": (1, 1, 1), "origin": (0, 0, 0), "direction": (1, 0, 0, 0, 1, 0, 0, 0, 1)}
    file, reader = tmp_path / f"a{ending}", SimpleITKIO()
    write_label(file, old, reader, {"sitk_stuff": geometry})
    before, limits = file.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))  # Python ignores the signal that comes with it
    try:
        with pytest.raises(NnActiveError) as caught:
            write_label(file, labels, reader, {"sitk_stuff": geometry})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(file) in str(caught.value)
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == [file.name]


@pytest.mark.parametrize("number", [1, 2, 3, 6, 8])
def test_a_query_stopped_by_a_full_device_goes_on_later(planned, monkeypatch, refuses, number):
    with monkeypatch.context() as patched:
        fail_at(patched, number)
        refuses(query.main, f"{QUERY} --method random", "no space left", unchanged=False)
    assert Experiment.find(101).state["cycle"] == 0
    query.main(f"{QUERY} --method random".split())
    experiment = Experiment.find(101)
    assert experiment.state["cycle"] == experiment.last_loop == 1
    assert len(experiment.annotated_patches()) == 10
    assert list(experiment.preprocessed.folder.glob(".*")) == []


# Querying


def fabricate(experiment: Experiment, /, **marks) -> list[Path]:
    """A finished member of this cycle for every fold, except as ``marks`` say; the checkpoints are empty."""
    folders = []
    for fold in experiment.folds():
        folder = experiment.model_folder / f"fold_{fold}"
        folder.mkdir(parents=True)
        (folder / "checkpoint_final.pth").touch()
        mark = {"experiment": experiment.plan.experiment, "cycle": 0, "training": "x", "finished": True, **marks}
        (folder / "nnactive_member.json").write_text(json.dumps(mark))
        folders.append(folder)
    return folders


def test_query_without_members(planned, refuses):
    refuses(query.main, f"{QUERY} --method clasp_pe", planned.model_folder / "fold_0", "nnUNetv2_train 101")
    refuses(query.main, QUERY, planned.model_folder / "fold_0")


def test_query_without_one_of_the_members(planned, refuses):
    last = fabricate(planned)[-1]
    (last / "checkpoint_final.pth").unlink()
    message = refuses(query.main, QUERY, last)
    assert str(planned.model_folder / "fold_0") not in message


@pytest.mark.parametrize(
    ("marks", "word"),
    [({"experiment": "other"}, "experiment"), ({"cycle": 7}, "cycle 7"), ({"finished": False}, "did not finish")],
    ids=["another experiment", "another cycle", "unfinished"],
)
def test_query_with_members_that_do_not_belong(planned, refuses, marks, word):
    folders = fabricate(planned, **marks)
    refuses(query.main, QUERY, *folders, word)


def test_query_with_members_without_a_mark(planned, refuses):
    for folder in fabricate(planned):
        (folder / "nnactive_member.json").unlink()
    refuses(query.main, QUERY, planned.model_folder / "fold_0")


def test_query_with_members_of_other_plans(planned, monkeypatch, refuses):
    fabricate(planned)
    plans = planned.preprocessed.plans
    plans["configurations"]["3d_fullres"]["patch_size"] = [8, 8, 8]

    class Predictor:
        def __init__(self, **_):
            self.plans_manager = types.SimpleNamespace(plans=plans)

        def initialize_from_trained_model_folder(self, *_):
            pass

    monkeypatch.setattr("nnunetv2.inference.predict_from_raw_data.nnUNetPredictor", Predictor)
    monkeypatch.setattr("nnactive_ext.members.ensemble.check_checkpoint", lambda file: None)
    refuses(query.main, QUERY, planned.model_folder, "nnUNetPlans.json", unchanged=False)
    assert planned.last_loop == planned.state["cycle"] == 0


def test_a_query_larger_than_what_is_left_takes_what_there_is(planned, refuses):
    """Status 3; and the next query, which finds nothing, changes nothing."""
    refuses(query.main, f"{QUERY} --method random -query_size 700", "used up", status=3, unchanged=False)
    content = json.loads(loop_file(planned.raw, 1).read_text())
    taken = len(content["patches"])
    assert 100 < taken < 700
    assert content["missing"] == 700 - taken
    assert planned.state["cycle"] == 1
    sizes = {name: planned.plan.patch_size(name) for name in planned.plan.pool}
    patches = planned.annotated_patches()
    assert all(patch.size == sizes[patch.case] and patch.inside(planned.plan.pool[patch.case].shape) for patch in patches)
    assert not any(patch.overlaps_any(patches[:i]) for i, patch in enumerate(patches))
    before = {name: size for name, size in listing().items() if "times" not in Path(name).parts}
    refuses(query.main, f"{QUERY} --method random -query_size 1", "used up", status=3, unchanged=False)
    assert {name: size for name, size in listing().items() if "times" not in Path(name).parts} == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--method guesswork", ["guesswork", "random"]),
        ("--method random alpha=1", ["random", "alpha"]),
        ("--method random alpha", ["alpha", "KEY=VALUE"]),
        ("--method random -query_size 0", ["0 patches"]),
        ("-num_parts 2 -part_id 2", ["-part_id 2"]),
        ("-d 100", ["100", PLAN_FILE]),
        ("-d 777", ["777"]),
        ("-d nonsense", ["nonsense"]),
    ],
)
def test_query_refuses_what_cannot_be(planned, refuses, options, words):
    refuses(query.main, f"{QUERY} {options}", *words)


# The experiment's files


def test_a_corrupt_plan_is_named(planned, refuses):
    file = planned.raw / PLAN_FILE
    whole = file.read_text()
    for text in (whole[: len(whole) // 2], "[]", whole.replace('"seed"', '"seeds"'), whole.replace('"shape"', '"form"')):
        file.write_text(text)
        for main in (query.main, run.main):
            refuses(main, QUERY, file)


def test_a_corrupt_loop_is_named(planned, refuses):
    for name in ("loop_000.json", "loop_001.json"):
        file = planned.raw / name
        for text in ('{"patches": [', '{"patches": [{"file": "tiny_1.nii.gz"}]}'):
            file.write_text(text)
            refuses(query.main, f"{QUERY} --method random", file, unchanged=False)
            assert planned.state["cycle"] == 0
        shutil.copy(planned.raw / "loop_000.json", planned.raw / "loop_001.json")
        (planned.raw / "loop_000.json").write_text('{"patches": []}')


def test_a_gap_in_the_loops_is_named(planned, refuses):
    shutil.copy(planned.raw / "loop_000.json", planned.raw / "loop_002.json")
    for main in (query.main, run.main):
        refuses(main, f"{QUERY}", planned.raw / "loop_001.json")


def test_a_loop_with_a_case_that_is_not_in_the_pool(planned, refuses):
    patch = {"file": "tiny_0.nii.gz", "coords": [0, 0, 0], "size": [5, 5, 3]}
    (planned.raw / "loop_001.json").write_text(json.dumps({"patches": [patch]}))
    refuses(query.main, f"{QUERY} --method random", "tiny_0", planned.raw / "loop_001.json")


def test_preprocessed_cases_of_another_experiment(planned, refuses):
    edit_json(planned.preprocessed.folder / "nnactive_state.json", lambda content: content.update(experiment="other"))
    refuses(query.main, f"{QUERY} --method random", "nnactive_state.json")


# Several commands at once, and killed ones


@pytest.fixture
def holder(planned):
    """Another process that holds the lock of the experiment, until it is killed."""
    code = (
        "import time\nfrom nnactive_ext.experiment.experiment import locked\n"
        "with locked(101): print('x', flush=True), time.sleep(99)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline().strip() == b"x"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_one_command_at_a_time_and_a_killed_one_does_not_block(planned, holder, refuses):
    for main, arguments in ((query.main, f"{QUERY} --method random"), (run.main, QUERY), (plan.main, PLANNING)):
        refuses(main, arguments, "101", f"process {holder.pid}")
    holder.kill()  # SIGKILL: it cannot clean up after itself
    holder.wait()
    query.main(f"{QUERY} --method random".split())
    assert planned.state["cycle"] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.usefixtures("quick_planning")
@pytest.mark.parametrize(
    "where",
    [
        "labelling.prepare.preprocess",
        *(
            pytest.param(f"planning.create.{name}", marks=pytest.mark.slow)
            for name in ("freeze", "starting_budget", "write_labels")
        ),
        *(pytest.param(f"labelling.prepare.{name}", marks=pytest.mark.slow) for name in ("nnunet_plans", "settle")),
    ],
)
def test_what_a_killed_plan_left_is_replaced(tiny, nnunet_folders, monkeypatch, refuses, where):
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            module, _, name = where.rpartition(".")
            module = importlib.import_module(f"nnactive_ext.{module}")
            monkeypatch.setattr(module, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
            plan.main(PLANNING.split())
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    left = [folder / "Dataset101_Tiny" for folder in (nnunet_folders.raw, nnunet_folders.preprocessed)]
    assert all((folder / INCOMPLETE).is_file() for folder in left)
    refuses(plan.main, "-d 101 -o 102", "interrupted")
    (again,) = commands_in(refuses(query.main, QUERY, PLAN_FILE, "interrupted"))
    for folder in left:
        (folder / "junk").write_text("x")
    plan.main(shlex.split(again)[1:])
    assert not any((folder / name).exists() for folder in left for name in (INCOMPLETE, "junk"))
    experiment = Experiment.find(101)
    assert experiment.state["cycle"] == 0
    assert len(list(experiment.preprocessed.data_folder.iterdir())) == 3 * len(POOL)


@pytest.mark.usefixtures("quick_planning")
def test_what_a_killed_plan_of_another_name_left_is_replaced(tiny, nnunet_folders):
    for folder in (nnunet_folders.raw, nnunet_folders.preprocessed):
        (folder / "Dataset101_Other").mkdir()
        (folder / "Dataset101_Other" / INCOMPLETE).touch()
    plan.main(PLANNING.split())
    names = [p.name for f in (nnunet_folders.raw, nnunet_folders.preprocessed) for p in f.glob("Dataset101_*")]
    assert names == ["Dataset101_Tiny"] * 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_folders_killed_at_any_moment_are_replaced(nnunet_folders):
    """At each change of the file system while folders are made, and while they are removed after a failure."""
    wanted = [folder / "Dataset700_Half" for folder in (nnunet_folders.raw, nnunet_folders.preprocessed)]
    for moment in range(100):
        child = os.fork()
        if child == 0:  # pragma: no cover
            _die_at(moment)
            with contextlib.suppress(InterruptedError), new_folders(*wanted):
                for folder in wanted:
                    (folder / "sub").mkdir()
                    (folder / "sub" / "junk").touch()
                raise InterruptedError
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        check_number(700)
        with new_folders(*wanted):
            assert all([file.name for file in folder.iterdir()] == [INCOMPLETE] for folder in wanted)
        for folder in wanted:
            folder.rmdir()
        assert not list(nnunet_folders.raw.iterdir())
        if status == 0:
            break
    assert 10 < moment < 99, "it ended undisturbed after as many moments as there are"


def _die_at(moment: int) -> None:
    """Kill this process right before its next but ``moment`` change of the file system."""
    left = moment

    def hook(event: str, _: tuple) -> None:
        nonlocal left
        if event in ("os.mkdir", "os.rename", "os.rmdir", "os.remove"):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(hook)


@pytest.mark.usefixtures("quick_planning")
def test_an_interrupted_plan_leaves_nothing(tiny, monkeypatch, refuses):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("nnactive_ext.labelling.prepare.preprocess", interrupt)
    refuses(plan.main, PLANNING, "Interrupted", status=130)


def test_a_name_that_is_none(refuses, tiny):
    refuses(plan.main, f"{PLANNING} -name a/b", "a/b")
    refuses(plan.main, f"{PLANNING} -name a__b", "a__b")


@pytest.mark.parametrize(("start", "word"), [([-1, 0, 0], "inside"), ([90, 0, 0], "inside")])
def test_a_loop_file_edited_out_of_the_image(refuses, planned, start, word):
    loop = read_json(planned.raw / "loop_000.json")
    case = sorted(planned.plan.pool)[0]
    loop["patches"] = [{"file": f"{case}.nii.gz", "coords": start, "size": [5, 5, 3]}]
    write_json(planned.raw / "loop_001.json", loop)
    refuses(query.main, f"{QUERY} --method random", "loop_001.json", word)


def test_a_starting_budget_from_a_file_is_what_the_plan_says(tiny, planned_template, quick_planning):
    file = planned_template.raw / "Dataset101_Tiny" / "loop_000.json"
    plan.main(["-d", "100", "-o", "102", "-start_from", str(file), *OPTIONS.split()])
    made = Experiment("Dataset102_Tiny")
    assert made.plan.starting_budget == len(read_json(file)["patches"])
    assert [p.start for p in made.annotated_patches()] == [tuple(p["coords"]) for p in read_json(file)["patches"]]

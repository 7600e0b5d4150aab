"""What people hand in and type wrong in a roll-out: a message that names it, nothing changed, and the correct one works."""

from __future__ import annotations

import builtins
import errno
import gzip
import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import nrrd
import numpy as np
import pytest
import rollout_states
import scripted_expert as expert
import SimpleITK as sitk
from rollout_states import State, contents

from nnactive_ext.cli import annotate, status
from nnactive_ext.experiment.experiment import Experiment, locked
from nnactive_ext.experiment.loops import loop_file
from nnactive_ext.files import read_json, write_json
from nnactive_ext.labelling.ledger import LEDGER, Ledger
from nnactive_ext.labelling.seen import SEEN


@pytest.fixture(scope="module")
def template(tmp_path_factory, tiny_template) -> State:
    with pytest.MonkeyPatch.context() as patch:
        return rollout_states.exported(tiny_template, tmp_path_factory.mktemp("exported"), patch)


@pytest.fixture
def state(template, tmp_path, monkeypatch) -> State:
    """Exported, unanswered."""
    return template.copy(tmp_path / "copy", monkeypatch)


@pytest.fixture(scope="module")
def closed_template(template, tmp_path_factory, planned_template) -> State:
    """All but the last task are answered, and cycle 0 is closed."""
    with pytest.MonkeyPatch.context() as patch:
        made = template.copy(tmp_path_factory.mktemp("closed"), patch)
        plans = planned_template.preprocessed / "Dataset101_Tiny" / "nnUNetPlans.json"

        def quick_plans(experiment):
            shutil.copy(plans, experiment.preprocessed.folder / plans.name)
            return "nnUNetPlans"

        patch.setattr("nnactive_ext.labelling.prepare.nnunet_plans", quick_plans)
        patch.setattr("nnactive_ext.nnunet.fingerprint._SAMPLES", 1e5)
        for task in made.seen[:-1]:
            call("import", expert.in_place(task), "-who", "anna", "--accept_unchanged")
        call("close", "-share", "0.8")
        return made


@pytest.fixture
def closed(closed_template, tmp_path, monkeypatch) -> State:
    return closed_template.copy(tmp_path / "copy", monkeypatch)


def call(command: str, *words: object) -> None:
    """``nnactive_annotate``, or ``nnactive_status``."""
    arguments = ["-d", "601", *map(str, words)]
    if command == "status":
        status.main(arguments)
    else:
        annotate.main([command, *arguments, "--disable_progress_bar"])


@pytest.fixture
def refuses(capsys):
    """Call a command that must fail with all ``words`` in its one message, and change nothing in nnU-Net's folders."""

    def refuse(arguments: list, *words: object, code: int = 1, unchanged: bool = True) -> str:
        before = contents()
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            call(*arguments)
        message = capsys.readouterr().err
        assert caught.value.code == code, message
        for word in words:
            assert str(word) in message
        assert "Traceback" not in message
        if unchanged:
            assert contents() == before
        return message

    return refuse


@pytest.fixture
def say(capsys):
    """What a command that must succeed prints."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        call(*arguments)
        return capsys.readouterr().out

    return run


@pytest.fixture
def of_task(say):
    """What ``nnactive_status`` says of a task."""
    return lambda name: next(
        row for cycle in json.loads(say("status", "--json"))["tasks"] for row in cycle["tasks"] if row["task"] == name
    )


def events() -> list[dict]:
    return list(Ledger(Experiment.find(601).annotation).events())


def kept(event: dict) -> np.ndarray:
    return Ledger(Experiment.find(601).annotation).read_answer(event["place"])


# Files that cannot be taken


def answer(task: expert.Seen) -> sitk.Image:
    image = sitk.GetImageFromArray(task.answer())
    image.CopyInformation(task.shown)
    return image


def write(image: sitk.Image, file: Path) -> Path:
    sitk.WriteImage(image, str(file), True)
    return file


def named(task: expert.Seen, folder: Path, ending: str = ".nii.gz") -> Path:
    return folder / f"{task.id}{ending}"


def altered(change, ending: str = ".nii.gz"):
    """An otherwise right answer, whose image ``change`` alters or replaces."""

    def make(task: expert.Seen, folder: Path) -> Path:
        image = answer(task)
        return write(change(image) or image, named(task, folder, ending))

    return make


def bytes_of(change, ending: str = ".nii.gz"):
    """An otherwise right answer, whose bytes ``change`` replaces."""

    def make(task: expert.Seen, folder: Path) -> Path:
        file = write(answer(task), named(task, folder, ending))
        file.write_bytes(change(file.read_bytes()))
        return file

    return make


def turned(image: sitk.Image) -> None:
    c, s = np.cos(0.7), np.sin(0.7)
    image.SetDirection((c, -s, 0, s, c, 0, 0, 0, 1))


def shifted(image: sitk.Image) -> None:
    image.SetOrigin(image.TransformContinuousIndexToPhysicalPoint((0.4, 0.0, 0.0)))


def with_values(image: sitk.Image, change, dtype=np.uint8) -> sitk.Image:
    array = sitk.GetArrayFromImage(image).astype(dtype)
    change(array)
    made = sitk.GetImageFromArray(array)
    made.CopyInformation(image)
    return made


def put(value):
    def change(array):
        array[1, 2, 1] = value

    return change


def unknown_name(task: expert.Seen, folder: Path) -> Path:
    names = {{"organ": "spleen"}.get(name, name): value for name, value in task.names.items()}
    return expert.seg_nrrd(replace(task, folder=folder, names=names), np.random.default_rng(0))


def segments(task: expert.Seen, folder: Path, masks: dict[str, np.ndarray]) -> Path:
    """A segmentation of 3D Slicer with every mask in a layer of its own."""
    whole = expert.seg_nrrd(replace(task, folder=folder), np.random.default_rng(0))
    header = {key: value for key, value in nrrd.read_header(str(whole)).items() if not key.startswith("Segment")}
    for number, name in enumerate(masks):
        header |= {f"Segment{number}_ID": f"S{number}", f"Segment{number}_Name": name, f"Segment{number}_Layer": str(number)}
        header |= {f"Segment{number}_LabelValue": "1"}
    header["space origin"] = np.asarray(task.shown.GetOrigin())
    layers = np.stack(list(masks.values())).astype(np.uint8)
    nrrd.write(str(whole), layers.transpose(0, 3, 2, 1), header, index_order="F")
    return whole


def overlapping(task: expert.Seen, folder: Path) -> Path:
    truth = task.truth == 1
    truth[task.box] = True
    return segments(task, folder, {"organ": truth, "lesion": truth})


def no_voxels(task: expert.Seen, folder: Path) -> Path:
    return segments(task, folder, {"organ": np.zeros((1, 1, 1))})


def beside_the_box(task: expert.Seen, folder: Path) -> Path:
    z, _, _ = task.box
    part = answer(task)[:, :, : z.start] if z.start else answer(task)[:, :, z.stop :]
    return write(part, named(task, folder))


def of_another_case(task: expert.Seen, folder: Path, hospital: Path = Path()) -> Path:
    other = "tiny_5" if task.id.endswith("tiny_0") else "tiny_0"
    return Path(shutil.copy(hospital / f"{other}.nii.gz", named(task, folder)))


def text(name: str, content: bytes = b"no image at all"):
    def make(task: expert.Seen, folder: Path) -> Path:
        file = folder / name.replace("TASK", task.id)
        file.write_bytes(content)
        return file

    return make


def linked_to_itself(task: expert.Seen, folder: Path) -> Path:
    (folder / "loop").mkdir()
    (folder / "loop" / "again").symlink_to(folder / "loop")
    named(task, folder / "loop").symlink_to(named(task, folder / "loop"))
    return folder / "loop"


def made_folder(task: expert.Seen, folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def short_inside(whole: bytes) -> bytes:
    """A sound gzip stream of half a NIfTI file, as a program that died leaves it; ITK reads zeros for the rest."""
    unpacked = gzip.decompress(whole)
    return gzip.compress(unpacked[: len(unpacked) // 2])


def with_a_twin(task: expert.Seen, folder: Path) -> Path:
    write(answer(task), named(task, folder, ".nii"))
    return write(answer(task), named(task, folder))


def unreachable(task: expert.Seen, folder: Path) -> Path:
    return folder / "nowhere" / f"{task.id}.nii.gz"


WRONG = {
    "truncated gzip": (bytes_of(lambda b: b[: len(b) // 2]), ["truncated", "again"]),
    "gzip with a wrong checksum": (bytes_of(lambda b: b[:-8] + bytes(8)), ["damaged", "again"]),
    "half a file, well packed": (bytes_of(short_inside), ["truncated", "again"]),
    "truncated .nii": (bytes_of(lambda b: b[:-50], ".nii"), ["truncated"]),
    "truncated .mha": (bytes_of(lambda b: b[:-9], ".mha"), ["again"]),
    "truncated .nrrd": (bytes_of(lambda b: b[:-30], ".nrrd"), ["again"]),
    "wrong direction": (altered(turned), ["direction", "grid"]),
    "wrong spacing": (altered(lambda i: i.SetSpacing([1.3 * s for s in i.GetSpacing()])), ["spacing", "grid"]),
    "origin between voxels": (altered(shifted), ["origin", "between", "grid"]),
    "unknown segment": (unknown_name, ["'spleen'", "'organ'", "Rename"]),
    "overlapping segments": (overlapping, ["both 'organ' and 'lesion'", "Overwrite all"]),
    "segments without voxels": (no_voxels, ["no segment has a voxel", "background"]),
    "unknown value": (altered(lambda i: with_values(i, put(9))), ["9 (1 voxel)", "2 'lesion'", "viewer"]),
    "a negative value": (altered(lambda i: with_values(i, put(-1), np.int16)), ["-1 (1 voxel)"]),
    "a fraction": (altered(lambda i: with_values(i, put(1.5), np.float32)), ["1.5 (1 voxel)"]),
    "NaN in .nii.gz": (altered(lambda i: with_values(i, put(np.nan), np.float32)), ["NaN", "again"]),
    "NaN in .mha": (altered(lambda i: with_values(i, put(np.nan), np.float32), ".mha"), ["NaN", "again"]),
    "4D": (altered(lambda i: sitk.JoinSeries([i, i])), ["4D", "Save one 3D label map"]),
    "2D": (altered(lambda i: i[:, :, 2]), ["2D", "Save one 3D label map"]),
    "RGB": (altered(lambda i: sitk.Compose([i, i, i]), ".mha"), ["colours", "Save one label map"]),
    "a vector": (altered(lambda i: sitk.Compose([i, i])), ["vectors", "Save one label map"]),
    "complex": (altered(lambda i: sitk.RealAndImaginaryToComplex(*[sitk.Cast(i, sitk.sitkFloat32)] * 2)), ["complex"]),
    "an empty file": (text("TASK.nii.gz", b""), ["empty file", "again"]),
    "no image": (text("TASK.nii.gz"), ["damaged", "again"]),
    "no image, well packed": (text("TASK.nii.gz", gzip.compress(b"no image at all")), ["damaged", "again"]),
    "no .nrrd": (text("TASK.seg.nrrd"), ["not an image", "again"]),
    "all ignore": (altered(lambda i: with_values(i, lambda a: a.fill(3))), ["whole patch is ignore", "annotated"]),
    "beside the box": (beside_the_box, ["no voxel of the task's patch"]),
    "a file of no case": (text("stranger.nii.gz"), ["no task is called", "-task"]),
    "unsupported ending": (text("TASK.png"), ["cannot be read from this format", ".nii.gz"]),
    "missing": (unreachable, ["no such file"]),
    "an empty folder": (made_folder, ["no label file"]),
    "links that go round": (linked_to_itself, ["no such file"]),
    "two files of one name": (with_a_twin, ["lies beside it", "Move"]),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_import_refuses_what_is_wrong_and_then_takes_what_is_right(state, tmp_path, refuses, of_task, wrong):
    make, words = WRONG[wrong]
    task, folder = state.painted[1], tmp_path / "returned"
    folder.mkdir()
    path = make(task, folder)
    refuses(["import", path, "-who", "anna"], path.parent if path.is_dir() else path, *words)
    assert of_task(task.id)["status"] == "open"
    call("import", expert.in_place(task), "-who", "anna")
    assert of_task(task.id)["status"] == "done"
    np.testing.assert_array_equal(kept(events()[-1]), task.truth[task.box])


def test_a_file_of_another_case_under_this_tasks_name(state, tmp_path, refuses, of_task):
    task = state.painted[1]
    path = of_another_case(task, tmp_path, state.rollout.anatomy)
    refuses(["import", path], path, "Its voxels are not those of the image", "grid")
    call("import", expert.in_place(task))
    assert of_task(task.id)["status"] == "done"


def test_one_bad_file_among_good_ones(state, tmp_path, refuses, say, of_task):
    """The good ones are taken, the message names the bad one, and the same command takes it when it is mended."""
    first, second, third, *_ = state.painted
    expert.in_place(first)
    expert.in_place(third)
    second.label.write_bytes(b"")
    message = refuses(
        ["import", state.out, "-who", "anna"], second.label, "1 file(s) refused, 2 patch(es) imported", unchanged=False
    )
    assert str(first.label) not in message
    assert [of_task(task.id)["status"] for task in (first, second, third)] == ["done", "open", "done"]
    expert.in_place(second)
    say("import", state.out, "-who", "anna")
    assert [event["task"] for event in events() if event["what"] == "answer"] == [first.id, third.id, second.id]


def test_a_missing_path_after_a_good_one_changes_nothing(state, tmp_path, refuses):
    refuses(
        ["import", expert.in_place(state.painted[0]), tmp_path / "absent.nii.gz"], tmp_path / "absent.nii.gz", "no such file"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-task", "c009_001"], ["c009_001", "nnactive_status"]),
        (["-task", "c000"], ["c000", "nnactive_status"]),
        (["-who", ""], ["-who ''"]),
        (["-who", "latest"], ["-who 'latest'"]),
    ],
)
def test_import_refuses_what_cannot_be_asked(state, refuses, words, said):
    refuses(["import", expert.in_place(state.painted[0]), *words], *said)


def test_one_task_for_two_files(state, refuses):
    first, second, *_ = state.painted
    refuses(["import", expert.in_place(first), expert.in_place(second), "-task", first.id], "-task", "one file")


# What works though it looks odd


@pytest.mark.parametrize("name", ["my answers", "Größe ü", "答え", "a'b\"c"])
def test_any_name_of_a_folder_or_before_the_ending(state, tmp_path, of_task, name):
    task = state.painted[2]
    folder = tmp_path / name
    folder.mkdir()
    call("import", task.write(task.answer(), folder / f"{task.id} {name}.nii.gz"), "-who", f"{name} Müller")
    assert of_task(task.id)["answers"][0]["who"] == f"{name} Müller"


def test_flipped_and_reordered_axes(state, tmp_path):
    task = state.painted[2]
    turned_round = sitk.PermuteAxes(sitk.Flip(answer(task), (True, False, True)), (2, 0, 1))
    call("import", write(turned_round, named(task, tmp_path)))
    np.testing.assert_array_equal(kept(events()[-1]), task.truth[task.box])


def test_the_same_file_again_and_twice(state, say):
    file = expert.in_place(state.painted[0])
    say("import", file, file, file.parent, "-who", "anna")
    assert "before" in say("import", file, "-who", "anna")
    assert sum(event["what"] == "answer" for event in events()) == 1


def test_task_json_says_nothing_to_the_import(state, tmp_path):
    """Somebody edits it to point elsewhere."""
    task, other, *_ = state.painted
    content = read_json(task.folder / "task.json")
    content |= {"id": other.id, "case": "../../etc/passwd", "label": "/etc/passwd"}
    content["box"] = {"start_zyx": [0, 0, 0], "size_zyx": [999, 999, 999]}
    write_json(task.folder / "task.json", content)
    call("import", expert.in_place(task), "-who", "anna")
    assert events()[-1]["task"] == task.id
    np.testing.assert_array_equal(kept(events()[-1]), task.truth[task.box])


# Disks


def raising(number: int, target: Path | None = None):
    def fail(*arguments, **_):
        raise OSError(number, os.strerror(number), str(target or arguments[1 if len(arguments) > 1 else 0]))

    return fail


def at_call(monkeypatch, owner, name: str, first: int, fail) -> None:
    """From its ``first`` call on, a function of the system fails."""
    real, calls = getattr(owner, name), []

    def counted(*arguments, **options):
        calls.append(name)
        return fail(*arguments, **options) if len(calls) >= first else real(*arguments, **options)

    monkeypatch.setattr(owner, name, counted)


def at_file(monkeypatch, file: Path, fail) -> None:
    """Nothing is put in the place of ``file``."""
    real = os.replace

    def told(source, target, **options):
        return fail(source, target, **options) if Path(target) == file else real(source, target, **options)

    monkeypatch.setattr(os, "replace", told)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize(("function", "first"), [("replace", 1), ("replace", 2), ("fsync", 1)])
def test_an_import_that_cannot_be_written(state, monkeypatch, refuses, of_task, function, first, number):
    """The copy that is kept, its box, and the line of the ledger; what was kept before that line counts for nothing."""
    task = state.painted[0]
    file, ledger = expert.in_place(task), Experiment.find(601).annotation / LEDGER
    before = ledger.read_bytes()
    with monkeypatch.context() as patched:
        at_call(patched, os, function, first, raising(number, ledger))
        refuses(["import", file], "no space left" if number == errno.ENOSPC else "permissions", ledger, unchanged=False)
    assert ledger.read_bytes() == before
    assert of_task(task.id)["status"] == "open"
    call("import", file)
    assert of_task(task.id)["status"] == "done"


@pytest.mark.parametrize("arguments", ["import", "points", "withdraw", "rule", "export", "close"])
def test_a_read_only_experiment(state, tmp_path, monkeypatch, refuses, arguments):
    """As root permissions mean nothing, so the system's calls are made to refuse."""
    file, points = expert.in_place(state.painted[0]), tmp_path / "more.csv"
    points.write_text("case,class,i,j,k\ntiny_6,organ,2,3,4\n")
    call("import", file)
    expert.half(state.painted[0])
    words = {
        "import": [file],
        "points": [points],
        "withdraw": [state.painted[0].id],
        "rule": ["first"],
        "export": ["-o", tmp_path / "new", "--blank"],
        "close": ["-share", "0"],
    }
    real = builtins.open

    def read_only(path, mode="r", *more, **options):
        if set(mode) & set("wa+x") and "raw" in str(path) and not str(path).endswith((".lock", ".owner")):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, mode, *more, **options)

    if arguments == "close":
        call("import", expert.in_place(state.painted[1]), expert.in_place(state.painted[2]), expert.in_place(state.painted[0]))
    monkeypatch.setattr(builtins, "open", read_only)
    monkeypatch.setattr(tempfile, "mkstemp", raising(errno.EROFS, state.folders.raw))
    refuses([arguments, *words[arguments]], "Read-only file system", "permissions")


@pytest.mark.skipif(os.name == "nt", reason="no limits on the size of files")
def test_an_export_that_does_not_fit(state, tmp_path, refuses, say):
    """ITK writes half a .nii.gz without complaint; here a limit on the size of files stands for a full device."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = read_json(Experiment.find(601).annotation / "exported.json")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, limits[1]))
    try:
        message = refuses(["export", "-o", tmp_path / "new"], "space")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "image_T1" in message
    assert read_json(Experiment.find(601).annotation / "exported.json") == before
    say("export", "-o", tmp_path / "new")
    assert len(expert.look(tmp_path / "new", state.rollout.label)) == 6
    assert not list((tmp_path / "new").rglob(".nnactive_tmp_*"))


# The experiment's own files


def test_a_torn_last_line_of_the_ledger(state, of_task):
    """As a process that was killed leaves it: it counts for nothing, and the next line takes its place."""
    first, second, *_ = state.painted
    ledger = Experiment.find(601).annotation / LEDGER
    call("import", expert.in_place(second), "-who", "bert")
    noted = ledger.with_name(SEEN).read_bytes()
    call("import", expert.in_place(first), "-who", "anna")
    lines = ledger.read_bytes()
    ledger.write_bytes(lines[:-25])
    ledger.with_name(SEEN).write_bytes(noted)  # it is noted after the line
    assert of_task(first.id)["status"] == "open"
    call("import", first.label, expert.in_place(second), "-who", "anna")
    assert [of_task(task.id)["status"] for task in (first, second)] == ["done", "done"]
    assert [event["event"] for event in events()] == list(range(len(events())))


@pytest.mark.parametrize("damage", [b'{"event": 1, "what', b"\xff\xfe", b"[]", b"7", b'{"what": "answer"}'])
def test_a_damaged_line_of_the_ledger(state, refuses, damage):
    call("import", expert.in_place(state.painted[0]))
    ledger = Experiment.find(601).annotation / LEDGER
    whole = ledger.read_bytes()
    ledger.write_bytes(damage + b"\n" + whole)
    number = len(contents())
    for arguments in (["import", state.painted[0].label], ["status"], ["close"], ["withdraw", state.painted[0].id]):
        refuses(arguments, ledger, "line 1", "Restore")
    ledger.write_bytes(whole)
    call("import", state.painted[0].label)
    assert len(contents()) == number


@pytest.mark.parametrize(
    "entry",
    [
        {"file": "../../etc/passwd"},
        {"file": "/etc/passwd"},
        {"file": "../../../outside.nii.gz"},
        {"file": "stranger.nii.gz"},
        {"coords": [-3, 0, 0]},
        {"coords": [0, 0, 90]},
        {"coords": [0, 0]},
        {"size": [0, 5, 3]},
        {"size": "big"},
    ],
    ids=str,
)
def test_a_loop_file_that_points_elsewhere(state, tmp_path, refuses, entry):
    loop = loop_file(Experiment.find(601).raw, 0)
    content = read_json(loop)
    content["patches"][1] |= entry
    write_json(loop, content)
    points = tmp_path / "more.csv"
    points.write_text("case,class,i,j,k\ntiny_6,organ,2,3,4\n")
    file = expert.in_place(state.painted[0])
    outside = sorted(path for path in tmp_path.rglob("*"))
    refuses(["import", file], loop)
    refuses(["export", "-o", tmp_path / "new", "--blank"], loop)
    refuses(["points", points], loop)
    refuses(["close", "-share", "0"], loop)
    refuses(["status"], loop)
    assert sorted(path for path in tmp_path.rglob("*") if path.suffix not in (".lock", ".owner")) == [
        path for path in outside if path.suffix not in (".lock", ".owner")
    ]


@pytest.mark.parametrize("damage", ["deleted", "cut short", "another"])
def test_a_kept_answer_that_is_gone(state, refuses, of_task, damage):
    first, second, *_ = state.painted
    call("import", expert.in_place(first), expert.in_place(second), "-who", "anna")
    file, other = (Experiment.find(601).annotation / event["place"] for event in events()[-2:])
    if damage == "deleted":
        file.unlink()
    elif damage == "cut short":
        file.write_bytes(short_inside(file.read_bytes()))
    else:
        shutil.copy(other, file)
    refuses(["close", "-share", "0.2"], file, "Import its file anew", unchanged=False)
    assert Experiment.find(601).state["cycle"] == -1
    call("import", first.folder, "-who", "anna")
    np.testing.assert_array_equal(kept(events()[-1]), first.truth[first.box])


def test_the_copy_of_what_came_is_only_a_copy(state, of_task):
    """Nothing reads it; the same file puts it back."""
    task = state.painted[0]
    call("import", expert.in_place(task), "-who", "anna")
    shutil.rmtree(Experiment.find(601).annotation / "received")
    assert of_task(task.id)["status"] == "done"
    call("import", expert.half(task), "-who", "anna")
    assert (Experiment.find(601).annotation / events()[-1]["received"]).is_file()


def test_what_a_killed_process_was_writing_is_removed(state):
    experiment = Experiment.find(601)
    call("export", "--blank")
    task = next((experiment.raw / "tasks").glob("*/*/"))
    (experiment.annotation / "exporting.jsonl").touch()  # as an export that was killed leaves it
    folders = [experiment.annotation, experiment.annotation / "received", task, task.parent]
    for folder in folders:
        (folder / ".nnactive_tmp_x.nii.gz").write_text("half")
    call("import", expert.in_place(state.painted[0]))
    assert not list(experiment.raw.rglob(".nnactive_tmp_*"))


# Commands


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_two_commands_at_once(state, refuses, say):
    file = expert.in_place(state.painted[0])
    ready, begun = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        with locked(601):
            os.write(begun, b"x")
            while True:
                pass_time()
    os.read(ready, 1)
    try:
        for arguments in (["import", file], ["export", "--blank"], ["close"], ["points", file], ["rule", "first"]):
            refuses(arguments, f"process {child}", "Wait")
        say("status")
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    call("import", file)


def pass_time() -> None:
    import time

    time.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rule", "nobody"], ["nobody", "consensus", "none"]),
        (["rule", "first", "-task", "c000_099"], ["c000_099"]),
        (["rule", "first", "-who", " "], ["-who"]),
        (["withdraw", "TASK"], ["TASK", "no answer"]),
        (["withdraw", "TASK", "-who", "bert"], ["TASK", "bert"]),
        (["withdraw", "c000"], ["c000"]),
        (["close"], ["0 of 6 tasks are done", "waits for 6", "-share"]),
        (["close", "-share", "0.5"], ["waits for 3"]),
        (["close", "-share", "0"], ["0 case(s)", "2 or more"]),
        (["close", "-share", "2"], ["-share 2", "0 to 1"]),
        (["close", "-share", "nan"], ["-share nan"]),
        (["export", "-cycle", "3"], ["-cycle 3", "0 to 0"]),
        (["export", "-cycle", "-1"], ["-cycle -1"]),
        (["export", "-margin", "-5"], ["-margin -5"]),
        (["export", "-margin", "nan"], ["-margin nan"]),
        (["export", "-o", "FILE"], ["FILE", "-o"]),
        (["export", "-o", "FILE/sub"], ["FILE", "-o"]),
        (["import", "FILE", "-d", "777"], ["777"]),
        (["import", "FILE", "-d", "nonsense"], ["nonsense"]),
    ],
    ids=lambda value: " ".join(value) if value and value[0] in annotate._COMMANDS else "",
)
def test_commands_that_cannot_be(state, tmp_path, refuses, arguments, words):
    file = tmp_path / "file.nii.gz"
    file.write_text("x")
    given = {"TASK": state.painted[0].id, "FILE": str(file), "FILE/sub": f"{file}/sub"}
    refuses([given.get(word, word) for word in arguments], *(given.get(word, word) for word in words))


def test_one_case_is_too_few_to_train_on(state, refuses):
    call("import", expert.in_place(state.painted[0]))
    refuses(["close", "-share", "0.1"], "1 case(s)", "2 or more", "Annotate")


def test_whose_answer_is_taken_back_must_be_said(state, refuses, say):
    task = state.painted[0]
    call("import", expert.in_place(task), "-who", "anna")
    call("import", expert.half(task), "-who", "bert")
    refuses(["withdraw", task.id], "anna", "bert", "-who")
    say("withdraw", task.id, "-who", "anna")
    refuses(["withdraw", task.id, "-who", "anna"], "no answer of anna")


@pytest.mark.parametrize(("arguments", "words"), [(["export"], ["no cycle is open"]), (["close"], ["no cycle is open"])])
def test_when_no_cycle_is_open(closed, refuses, arguments, words):
    refuses(arguments, *words)


def test_points_when_no_cycle_is_open(closed, tmp_path, refuses):
    (tmp_path / "more.csv").write_text("case,class,i,j,k\ntiny_6,organ,2,3,4\n")
    refuses(["points", tmp_path / "more.csv"], "no cycle is open", "nnactive_query")


def test_a_late_answer_whose_labels_could_not_be_written(closed, monkeypatch, refuses, say):
    """It counts, its labels are behind; whatever command comes next puts them in place."""
    task = closed.seen[-1]
    experiment = Experiment.find(601)
    case = task.id.split("_", 2)[2]
    label = experiment.raw / "labelsTr" / f"{case}.nii.gz"
    before = label.read_bytes()
    with monkeypatch.context() as patched:
        at_file(patched, label, raising(errno.ENOSPC))
        refuses(["import", expert.in_place(task), "-who", "anna"], "no space left", unchanged=False)
    assert label.read_bytes() == before
    assert "Corrected labels of closed cycles in 1 case" in say("rule", "latest")
    assert label.read_bytes() != before
    assert "corrected" not in say("rule", "latest")


def test_the_last_answers_that_training_needs_stay(closed, refuses, say):
    """Two cases with annotated voxels are the least; a third may go."""
    ids = [event["task"] for event in events() if event["what"] == "answer"]
    cases = dict.fromkeys(name.split("_", 2)[2] for name in ids)
    first, _, *more = cases
    for name in [name for name in ids if name.split("_", 2)[2] in more]:
        say("withdraw", name)
    last = [name for name in ids if name.endswith(first)]
    for name in last[:-1]:
        say("withdraw", name)
    refuses(["withdraw", last[-1]], last[-1], "training needs 2", "another answer")


def test_a_simulated_experiment_has_no_tasks(planned, capsys):
    with pytest.raises(SystemExit):
        annotate.main(["import", "-d", "101", "x.nii.gz"])
    assert "simulated annotator" in capsys.readouterr().err


# Points

GOOD = "tiny_6,organ,2,3,4\n"
POINTS = {
    "no markups": ("more.json", '{"something": "else"}', ["3D Slicer's markups"]),
    "no JSON": ("more.mrk.json", '{"markups": [', ["not valid JSON"]),
    "a list": ("more.json", "[1, 2]", ["3D Slicer's markups"]),
    "a curve": ("tiny_6.mrk.json", '{"markups": [{"type": "Curve", "controlPoints": []}]}', ["Curve"]),
    "no points": ("tiny_6.mrk.json", '{"markups": [{"type": "Fiducial", "controlPoints": []}]}', ["no point"]),
    "unknown case": ("more.csv", f"case,class,i,j,k\n{GOOD}tiny_99,organ,2,3,4\n", ["line 3", "tiny_99"]),
    "unknown class": ("more.csv", f"case,class,i,j,k\n{GOOD}tiny_6,spleen,2,3,4\n", ["line 3", "spleen"]),
    "outside": ("more.csv", f"case,class,i,j,k\n{GOOD}tiny_6,organ,200,3,4\n", ["line 3", "outside tiny_6"]),
    "not a number": ("more.csv", f"case,class,i,j,k\n{GOOD}tiny_6,organ,nan,3,4\n", ["line 3", "nan"]),
    "bare x, y, z": ("more.csv", "case,class,x,y,z\ntiny_6,organ,2,3,4\n", ["x_lps"]),
    "no columns": ("more.csv", GOOD, ["line 1", "columns"]),
    "empty": ("more.csv", "", ["empty"]),
    "header only": ("more.csv", "case,class,i,j,k\n", ["no point"]),
    "no text": ("more.csv", "\x00\x01", []),
    "another format": ("more.xlsx", "x", [".csv"]),
    "an image": ("more.nii.gz", "x", [".csv"]),
}


@pytest.mark.parametrize("wrong", POINTS)
def test_points_that_cannot_be(state, tmp_path, refuses, say, wrong):
    name, content, words = POINTS[wrong]
    good = tmp_path / "good.csv"
    good.write_text(f"case,class,i,j,k\n{GOOD}")
    (tmp_path / name).write_text(content)
    refuses(["points", good, tmp_path / name], tmp_path / name, *words)
    assert "1 patch added" in say("points", good)


@pytest.mark.parametrize("name", ["absent.csv", "absent.mrk.json", "folder.csv", "folder.json"])
def test_points_from_no_file(state, tmp_path, refuses, name):
    if name.startswith("folder"):
        (tmp_path / name).mkdir()
    refuses(["points", tmp_path / name], tmp_path / name)


def test_a_list_of_points_that_grows_counts_each_point_once(state, tmp_path, say):
    points = tmp_path / "more.csv"
    points.write_text("case,class,i,j,k\ntiny_6,organ,2,3,4\ntiny_6,organ,2,3,5\n")
    first = say("points", points)
    assert "1 patch added; 1 point" in first
    assert "organ: 4 of 2" in first
    points.write_text(points.read_text() + "tiny_6,organ,11,20,20\n")
    second = say("points", points)
    assert "1 patch added; 2 points" in second
    assert "organ: 5 of 2" in second

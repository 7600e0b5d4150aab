"""What an experiment depends on: a change is refused by every command, with both values; what only looks changed is not."""

from __future__ import annotations

import gzip
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from fake_members import fake_tools, fake_train

from conftest import PLANNED, TINY
from nnactive_ext.cli import change, query, report, run, status
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment import input_files
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.inputs import INPUTS, Inputs
from nnactive_ext.files import read_json, write_json
from nnactive_ext.labelling.annotators import SimulatedAnnotator
from nnactive_ext.labelling.labels import check_values
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.opening import open_experiment
from nnactive_ext.labelling.relabel import annotator_of, write_labels
from nnactive_ext.members.evaluation import evaluate
from nnactive_ext.querying.pool import pool_cases

QUERY = "-d 101 --method random -device cpu --disable_progress_bar"
QUIET = "--disable_progress_bar"


def contents(*folders: Path) -> dict[Path, bytes]:
    """Every file below ``folders``, but for locks."""
    files = (file for folder in folders for file in sorted(folder.rglob("*")))
    return {file: file.read_bytes() for file in files if file.is_file() and ".lock" not in file.name}


def edited(file: Path, edit: Callable[[np.ndarray], None]) -> None:
    """Write an image again with other voxels, on the same grid."""
    image = sitk.ReadImage(str(file))
    array = sitk.GetArrayFromImage(image)
    edit(array)
    changed = sitk.GetImageFromArray(array)
    changed.CopyInformation(image)
    sitk.WriteImage(changed, str(file), useCompression=True)


def placed(file: Path, **where: Any) -> None:
    """Write an image again with another ``Spacing``, ``Origin`` or ``Direction``."""
    image = sitk.ReadImage(str(file))
    for what, value in where.items():
        getattr(image, f"Set{what}")(value)
    sitk.WriteImage(image, str(file), useCompression=True)


def in_json(file: Path, **keys: Any) -> None:
    content = {**read_json(file), **keys}
    write_json(file, {key: value for key, value in content.items() if value is not None})


def source(experiment: Experiment) -> Path:
    return experiment.source.folder


def old(experiment: Experiment) -> Experiment:
    """The experiment as an earlier version left it."""
    (experiment.raw / INPUTS).unlink()
    preprocessed_by_nnunet(experiment)
    return experiment


def preprocessed_by_nnunet(experiment: Experiment) -> None:
    """Without what nnU-Net does not write beside its cases."""
    for file in experiment.preprocessed.data_folder.glob("*.pkl"):
        properties = pickle.loads(file.read_bytes())
        file.write_bytes(pickle.dumps({key: value for key, value in properties.items() if key != "nnactive"}))


def refused(call: Callable, words: str, capsys: pytest.CaptureFixture) -> str:
    """What the command says when it ends with an error."""
    with pytest.raises(SystemExit) as ended:
        call(words.split())
    assert ended.value.code == 1
    return capsys.readouterr().err


def first(experiment: Experiment, test: bool = False) -> str:
    return experiment.plan.test[0] if test else next(iter(experiment.state["annotated"]))


def label(experiment: Experiment, case: str) -> Path:
    return source(experiment) / "labelsTr" / f"{case}.nii.gz"


def image(experiment: Experiment, case: str) -> Path:
    return source(experiment) / "imagesTr" / f"{case}_0001.nii.gz"


def cut_inside(file: Path) -> None:
    """Half of the voxels are gone, and the file is whole for whoever looks at its checksum: ITK reads zeros."""
    content = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(content[: 352 + (len(content) - 352) // 2]))


def shortened(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 3 // 4])


def linked(file: Path, other: Path) -> None:
    file.unlink()
    file.symlink_to(other)


def swap_channels(experiment: Experiment) -> None:
    content = read_json(experiment.raw / "dataset.json")
    entry = content["dataset"][first(experiment)]
    entry["images"] = entry["images"][::-1]
    write_json(experiment.raw / "dataset.json", content)


LABELS = {"background": 0, "organ": 1, "lesion": 2}
OWN = {**LABELS, "ignore": 3}
CHANGES: dict[str, tuple[Callable[[Experiment], None], list[str]]] = {
    "a class added in the source": (
        lambda e: in_json(source(e) / "dataset.json", labels={**LABELS, "vessel": 3}),
        ["organ=1, lesion=2 then", "vessel=3 now", TINY],
    ),
    "a class added in the experiment": (
        lambda e: in_json(e.raw / "dataset.json", labels={**LABELS, "vessel": 3, "ignore": 4}),
        ["ignore=3 then", "vessel=3, ignore=4 now", "-plans restore"],
    ),
    "a class taken out of the source": (
        lambda e: in_json(source(e) / "dataset.json", labels={"background": 0, "organ": 1}),
        ["lesion=2 then", "organ=1 now"],
    ),
    "classes swapped": (
        lambda e: in_json(source(e) / "dataset.json", labels={"background": 0, "lesion": 1, "organ": 2}),
        ["organ=1, lesion=2 then", "lesion=1, organ=2 now"],
    ),
    "a class renamed": (
        lambda e: in_json(e.raw / "dataset.json", labels={"background": 0, "liver": 1, "lesion": 2, "ignore": 3}),
        ["organ=1", "liver=1"],
    ),
    "the ignore value": (
        lambda e: in_json(e.raw / "dataset.json", labels={**LABELS, "ignore": 4}),
        ["ignore=3 then", "ignore=4 now"],
    ),
    "an ignore value in the source": (
        lambda e: in_json(source(e) / "dataset.json", labels=OWN),
        ["lesion=2 then", "ignore=3 now"],
    ),
    "the reader": (
        lambda e: in_json(e.raw / "dataset.json", overwrite_image_reader_writer="NibabelIOWithReorient"),
        ["SimpleITKIO then", "NibabelIOWithReorient now"],
    ),
    "the source's reader": (
        lambda e: in_json(source(e) / "dataset.json", overwrite_image_reader_writer="NibabelIO"),
        ["nothing then", "NibabelIO now"],
    ),
    "regions_class_order": (
        lambda e: in_json(source(e) / "dataset.json", regions_class_order=[2, 1]),
        ["regions_class_order", "nothing then", "[2, 1] now"],
    ),
    "channel names": (
        lambda e: in_json(e.raw / "dataset.json", channel_names={"0": "T2", "1": "T1"}),
        ['0="T1"', '0="T2"'],
    ),
    "channels in another order": (swap_channels, ["another order", "_0000.nii.gz", "_0001.nii.gz"]),
    "a label file": (
        lambda e: edited(label(e, first(e)), lambda a: a.fill(0)),
        ["labelsTr/tiny_", "bytes", "-references reread"],
    ),
    "a label file of the test set": (
        lambda e: edited(label(e, first(e, test=True)), lambda a: np.copyto(a, 1 - a % 2)),
        ["labelsTr/tiny_", "-references reread"],
    ),
    "a label file is gone": (lambda e: label(e, first(e)).unlink(), ["no such file", "labelsTr/tiny_"]),
    "an image with another spacing": (
        lambda e: placed(image(e, first(e)), Spacing=(3.0, 3.0, 3.0)),
        ["_0001.nii.gz", "spacing 2", "spacing 3 3 3"],
    ),
    "an image of the test set elsewhere": (
        lambda e: placed(image(e, first(e, test=True)), Origin=(1.0, 2.0, 300.0)),
        ["_0001.nii.gz", "origin 1 2 300"],
    ),
    "a label file cut before it was compressed": (lambda e: cut_inside(label(e, first(e))), ["labelsTr/tiny_", "reread"]),
    "a label file that is a link to another": (
        lambda e: linked(label(e, first(e)), label(e, first(e, test=True))),
        ["labelsTr/tiny_", "-references reread"],
    ),
    "an image cut before it was compressed": (
        lambda e: cut_inside(image(e, first(e))),
        ["_0001.nii.gz", "truncated before it was compressed", "Restore the images"],
    ),
    "an image of the test set cut short": (
        lambda e: shortened(image(e, first(e, test=True))),
        ["_0001.nii.gz", "damaged or truncated", "Restore the images"],
    ),
    "an image is gone": (lambda e: image(e, first(e)).unlink(), ["no such file", "-drop"]),
    "plans": (
        lambda e: in_json(e.preprocessed.folder / "nnUNetPlans.json", transpose_forward=[0, 1, 2]),
        ["transpose_forward", "[0, 1, 2] now", "-plans restore"],
    ),
    "the plans are gone": (lambda e: (e.preprocessed.folder / "nnUNetPlans.json").unlink(), ["no such file", "-plans"]),
    "nnU-Net's copy of the labels": (
        lambda e: in_json(e.preprocessed.folder / "dataset.json", labels=LABELS),
        ["ignore=3 then", "lesion=2 now", "-plans restore"],
    ),
    "cases preprocessed by nnU-Net": (
        preprocessed_by_nnunet,
        ["preprocessed by another program", "-plans restore"],
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_refused_and_nothing_is_touched(planned, nnunet_folders, what, capsys):
    make, words = CHANGES[what]
    make(planned)
    before = contents(*vars(nnunet_folders).values())
    error = refused(query.main, QUERY, capsys)
    assert contents(*vars(nnunet_folders).values()) == before
    assert [word for word in words if word not in error] == [], error


@pytest.mark.parametrize("kind", ["a class added in the source", "a label file", "plans"])
def test_every_command_refuses(planned, kind, capsys):
    CHANGES[kind][0](planned)
    for call, words in (
        (status.main, "-d 101"),
        (run.main, f"-d 101 -device cpu {QUIET}"),
        (report.main, f"-d 101 -device none {QUIET}"),
        (change.main, f"-d 101 -cycles 9 {QUIET}"),
        (query.main, f"{QUERY} -num_parts 2 -part_id 0"),
    ):
        refused(call, words, capsys)


def _resaved(experiment: Experiment) -> None:
    edited(image(experiment, first(experiment)), lambda a: a.__iadd__(1))


def _told_otherwise(experiment: Experiment) -> None:
    """The same with other keys, in another order and layout."""
    for folder in (source(experiment), experiment.raw):
        content = {"description": "new", **dict(reversed(read_json(folder / "dataset.json").items()))}
        content["labels"] = dict(reversed(content["labels"].items()))
        write_json(folder / "dataset.json", content)
    plans = experiment.preprocessed.folder / "nnUNetPlans.json"
    write_json(plans, dict(reversed(read_json(plans).items())))


SAME: dict[str, Callable[[Experiment], None]] = {
    "touched label files": lambda e: [os.utime(label(e, case)) for case in (*e.plan.pool, *e.plan.test)] and None,
    "images saved again": _resaved,
    "JSON in another order": _told_otherwise,
}


@pytest.mark.parametrize("what", SAME)
def test_what_only_looks_changed_is_used(planned, what, monkeypatch):
    SAME[what](planned)
    status.main(["-d", "101"])
    query.main(QUERY.split())
    assert planned.last_loop == 1
    monkeypatch.setattr(input_files, "sha256", lambda file: pytest.fail(f"{file} is read again"))
    monkeypatch.setattr(input_files, "stated_geometry", lambda file: pytest.fail(f"{file} is read again"))
    status.main(["-d", "101"])  # size and time were stored by the query


def test_a_copy_elsewhere_goes_on(planned, tmp_path, monkeypatch):
    for name in ("raw", "preprocessed", "results"):
        moved = tmp_path / "elsewhere" / name
        shutil.copytree(os.environ[f"nnUNet_{name}"], moved, copy_function=shutil.copyfile)
        shutil.rmtree(os.environ[f"nnUNet_{name}"])
        monkeypatch.setenv(f"nnUNet_{name}", str(moved))
    query.main(QUERY.split())
    assert Experiment(PLANNED).last_loop == 1


def test_keys_of_later_versions_are_kept(planned):
    frozen = Inputs.read(planned.raw)
    frozen.having(future={"a": 1}).write()
    os.utime(label(planned, first(planned)))
    query.main(QUERY.split())
    after = Inputs.read(planned.raw)
    assert after.content["future"] == {"a": 1}
    assert after.part("references") != frozen.part("references")


def test_a_damaged_file_is_named(planned, capsys):
    (planned.raw / INPUTS).write_text("[1]")
    assert INPUTS in refused(status.main, "-d 101", capsys)


class TestReadWithTheirChecksum:
    """A label file that was changed with its size and time kept is found by whoever reads it."""

    @pytest.fixture
    def hidden(self, planned):
        for case in (*planned.plan.pool, *planned.plan.test):
            file = label(planned, case)
            edited(file, lambda a: np.copyto(a, a[::-1].copy()))
            entry = {"size": file.stat().st_size, "mtime_ns": file.stat().st_mtime_ns}
            frozen = Inputs.read(planned.raw)
            references = dict(frozen.part("references"))
            references[case] = {**references[case], **entry}
            frozen.having(references=references).write()
        open_experiment(101)  # sizes and times agree
        return planned

    def test_annotating(self, hidden):
        before = contents(hidden.raw / "labelsTr")
        with pytest.raises(NnActiveError, match="reread"):
            write_labels(hidden, 0, list(hidden.plan.pool), progress=False)
        assert contents(hidden.raw / "labelsTr") == before

    def test_evaluating(self, hidden):
        for fold in hidden.folds():
            fake_train(hidden, fold)
        with pytest.raises(NnActiveError, match="reread"):
            evaluate(hidden, lambda folds: fake_tools().open_ensemble(hidden, folds), hidden.folds(), progress=False)
        assert not hidden.results.joinpath("cycle_000.json").exists()

    def test_methods_that_see_references(self, hidden):
        pool = pool_cases(hidden, references=True)
        with pytest.raises(NnActiveError, match="reread"):
            pool[first(hidden)].load_reference()


class TestUnknownValues:
    """Values that are no label are never written, whatever cast would make of them."""

    @pytest.mark.parametrize("value", [7, 3, 300, -1, 1.5, 256.0])
    def test_of_a_reference(self, planned, value):
        case = list(planned.state["annotated"])[-1]
        file = label(planned, case)
        given = sitk.ReadImage(str(file))
        array = sitk.GetArrayFromImage(given).astype(np.int16 if isinstance(value, int) else np.float32)
        array[...] = value
        changed = sitk.GetImageFromArray(array)
        changed.CopyInformation(given)
        sitk.WriteImage(changed, str(file))
        (planned.raw / INPUTS).unlink()  # as if nobody had frozen it
        before = contents(planned.raw / "labelsTr")
        with pytest.raises(NnActiveError, match=f"{case}.*{value:g}"):
            write_labels(planned, 0, list(planned.state["annotated"]), progress=False)
        assert contents(planned.raw / "labelsTr") == before

    def test_of_a_reference_outside_the_patches(self, planned):
        """What is not copied is not looked at: it says nothing about unannotated voxels."""
        case = first(planned)
        patches = [p for p in planned.annotated_patches() if p.case == case]
        inside = np.zeros(planned.plan.pool[case].shape, bool)
        for patch in patches:
            inside[patch.slices] = True
        expected, _ = annotator_of(planned).annotate(case, patches)
        edited(label(planned, case), lambda a: np.putmask(a, ~inside, 99))
        found, _ = SimulatedAnnotator(planned.source).annotate(case, patches)
        np.testing.assert_array_equal(found, expected)

    def test_whole_numbers_kept_as_floats_are_labels(self):
        check_values(np.array([0.0, 2.0]), {0, 1, 2}, "a", Path("a.nii.gz"))
        for value in (2.0001, np.nan, -np.inf):
            with pytest.raises(NnActiveError):
                check_values(np.array([0.0, value]), {0, 1, 2}, "a", Path("a.nii.gz"))

    @pytest.mark.parametrize("what", ["given", "answer"])
    def test_of_what_people_handed_in(self, tasks, what, monkeypatch):
        """A file that was edited after it was taken."""
        tasks.hand_in(more="--accept_unchanged")
        case = tasks.patch(tasks.seen[0]).case
        file = tasks.experiment.raw / "labelsTr" / f"{case}.nii.gz"
        before = file.read_bytes()
        if what == "given":
            keep = tasks.experiment.annotation / "given" / f"{case}.nii.gz"
            keep.parent.mkdir(exist_ok=True)
            shutil.copy(file, keep)
            value = 8
            edited(keep, lambda a: np.putmask(a, a == 3, value))
        else:
            shape, value = tasks.patch(tasks.seen[0]).size, 300  # 44 in a file of bytes
            monkeypatch.setattr(Ledger, "read_answer", lambda ledger, place: np.full(shape, value, np.uint16))
        with pytest.raises(NnActiveError, match=rf"{case}.* {value} "):
            write_labels(tasks.experiment, 0, [case], progress=False)
        assert file.read_bytes() == before


class TestEarlierVersions:
    """An experiment without the file is frozen by the first command that holds its lock."""

    def test_it_goes_on(self, planned):
        frozen = Inputs.read(planned.raw)
        old(planned)
        status.main(["-d", "101"])
        assert Inputs.read(planned.raw) is None, "a command without the lock wrote"
        query.main(QUERY.split())
        assert planned.last_loop == 1
        after = Inputs.read(planned.raw)
        assert {part: after.part(part) for part in frozen.content} == frozen.content

    @pytest.mark.parametrize("what", ["a class added in the source", "a class added in the experiment", "classes swapped"])
    @pytest.mark.parametrize("call", [(status.main, "-d 101"), (query.main, QUERY)], ids=["status", "query"])
    def test_labels_that_disagree_are_refused(self, planned, what, call, capsys):
        old(planned)
        CHANGES[what][0](planned)
        error = refused(*call, capsys)
        assert "organ=1" in error
        assert Inputs.read(planned.raw) is None

    def test_an_image_that_is_not_the_planned_one(self, planned, capsys):
        old(planned)
        placed(source(planned) / "imagesTr" / f"{first(planned)}_0000.nii.gz", Spacing=(4.0, 1.0, 1.0))
        assert "spacing 4 1 1" in refused(query.main, QUERY, capsys)

    def test_a_file_that_was_deleted_is_not_frozen_again_silently(self, planned, capsys):
        (planned.raw / INPUTS).unlink()
        edited(label(planned, first(planned)), lambda a: a.fill(0))
        assert INPUTS in refused(status.main, "-d 101", capsys)
        change.main(f"-d 101 -references reread -who anna {QUIET}".split())
        status.main(["-d", "101"])


def test_a_case_whose_image_is_gone_can_be_dropped(planned, capsys):
    case = first(planned)
    image(planned, case).unlink()
    refused(change.main, f"-d 101 -drop {next(c for c in planned.state['annotated'] if c != case)} {QUIET}", capsys)
    change.main(f"-d 101 -drop {case} {QUIET}".split())
    query.main(QUERY.split())
    assert Experiment(PLANNED).last_loop == 1

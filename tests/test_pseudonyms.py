"""Tasks sent out with pseudonyms: nothing in them names a patient or a folder, and their answers come back all the same."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Sequence
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import scripted_expert as expert
from phantoms import cardiac
from rollout_states import POINTS
from rollouts import Rollout, assert_simulated
from test_intake_dicom import write_series

from nnactive_ext.cli import annotate, plan
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.pseudonyms import FILE, give_pseudonyms, pseudonyms
from nnactive_ext.files import read_json
from nnactive_ext.labelling.tasks import all_tasks, find_task
from nnactive_ext.pages.vendored import NIIVUE

PATIENTS = ("Meier_Jo_1961", "Öztürk_Ayşe", "MRN-471108152931")
CASES = ("Meier_Jo_1961", "Ozturk_Ayse", "MRN-471108152931")
SECRETS = ("born 1961-04-03", "St. Elsewhere", "referred by Dr Grey")


def pieces(file: Path) -> list[bytes]:
    """The bytes of a file, of what is packed in it, and of the pictures in a page."""
    content = file.read_bytes()
    if file.name == NIIVUE.name.replace(".umd", "") and content == NIIVUE.read_bytes():
        return []  # the same for everybody, and long enough to hold any four digits
    found = [content]
    body = content.partition(b"\n\n")[2] if content.startswith(b"NRRD") else content
    if body.startswith(b"\x1f\x8b"):
        assert body[3] & 0b11100 == 0, "gzip's header may hold a name or a comment"
        found.append(gzip.decompress(body))
    if file.suffix in (".html", ".js"):
        found += [base64.b64decode(text) for text in re.findall(rb"base64,([A-Za-z0-9+/=]+)", content)]
        found[0] = re.sub(rb"base64,[A-Za-z0-9+/=]+", b"", content)  # four letters are in it by chance
    if file.name == "annotate.html":
        packed = re.findall(rb'"(H4sI[A-Za-z0-9+/=]+)"', content)
        assert len(packed) >= 2, "images and labels"
        assert all(base64.b64decode(text)[3] & 0b11100 == 0 for text in packed)
        found += [gzip.decompress(base64.b64decode(text)) for text in packed]
        found[0] = re.sub(rb'"H4sI[A-Za-z0-9+/=]+"', b"", found[0])  # the same
    return found


def leaks(folder: Path, words: Sequence[str]) -> set[str]:
    """Which of ``words`` are in a name or in the bytes of any file below ``folder``, in any of the usual spellings."""
    found = set()
    for path in sorted(folder.rglob("*")):
        parts = [str(path.relative_to(folder)).encode(), *(pieces(path) if path.is_file() else [])]
        for word in words:
            spelt = {word.encode(), word.encode("utf-16-le"), json.dumps(word)[1:-1].encode(), ascii(word)[1:-1].encode()}
            if any(one.lower() in part.lower() for one in spelt for part in parts):
                found.add(word)
    return found


def nifti_folder(folder: Path) -> None:
    for number, patient in enumerate(PATIENTS):
        made = cardiac(number)
        image = nibabel.Nifti1Image(made.channels[0].transpose(2, 1, 0).astype(np.int16), np.diag([1.5, 1.5, 8.0, 1.0]))
        image.header["descrip"], image.header["aux_file"] = SECRETS[0].encode(), SECRETS[1].encode()
        image.header["db_name"] = SECRETS[2].encode()[:17]
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", " ".join(SECRETS).encode()))
        nibabel.save(image, folder / f"{patient}.nii.gz")


def nrrd_folder(folder: Path) -> None:
    for number, patient in enumerate(PATIENTS):
        image = cardiac(number).channels[0].transpose(2, 1, 0).astype(np.int16)
        header = {
            "space": "left-posterior-superior",
            "space directions": np.diag([1.5, 1.5, 8.0]),
            "space origin": [0.0, 0.0, 0.0],
            "content": SECRETS[1],
            "PatientName": SECRETS[2],
            "PatientHistory": " ".join(SECRETS),
        }
        file = folder / f"{patient}.nrrd"
        nrrd.write(str(file), image, header)
        file.write_bytes(file.read_bytes().replace(b"\n", f"\n# {patient}: {SECRETS[0]}\n".encode(), 1))


def dicom_folder(folder: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    for number, patient in enumerate(PATIENTS):
        write_series(folder / patient, cardiac(number).channels[0].astype(np.int16))
        for file in (folder / patient).iterdir():
            slice_ = pydicom.dcmread(file)
            slice_.PatientName = patient.encode("ascii", "replace").decode()
            slice_.PatientID, slice_.PatientComments = SECRETS[:2]
            slice_.InstitutionName, slice_.ImageComments = SECRETS[1], SECRETS[2]
            slice_.save_as(file)


@pytest.mark.parametrize("write", [nifti_folder, nrrd_folder, dicom_folder])
def test_not_a_byte_names_a_patient_or_a_folder(nnunet_folders, tmp_path, write):
    hospital = tmp_path / "ward_7_oncology"
    hospital.mkdir()
    write(hospital)
    options = (
        "--labels blood muscle -patch_size 4 16 16 -starting_budget 6 -query_size 2 -cycles 2 -folds 2 --preset cpu "
        "-training_hours 1 -np 1 --disable_progress_bar"
    )
    plan.main(["-i", str(hospital), "-o", "601", "-name", "Heart", *options.split()])
    experiment = Experiment.find(601)
    assert set(experiment.plan.pool) == set(CASES)
    rows = "".join(f"{case},blood,20,20,4\n" for case in CASES)
    (tmp_path / "points.csv").write_text(f"case,class,i,j,k\n{rows}")
    annotate.main(["points", "-d", "601", str(tmp_path / "points.csv")])
    words = (*PATIENTS, *CASES, *SECRETS, hospital.name, str(tmp_path), "Meier", "Ayse", "471108152931")

    def export(name: str, *more: str) -> Path:
        annotate.main(["export", "-d", "601", "-o", str(tmp_path / name), "--disable_progress_bar", *more])
        return tmp_path / name

    private = export("private", "--pseudonyms")
    assert len([path for path in private.iterdir() if path.is_dir()]) == len(all_tasks(experiment))
    assert {task.patch.case for task in all_tasks(experiment)} == set(CASES)
    assert leaks(private, words) == set()
    found = leaks(export("named"), words)
    assert {*CASES, str(tmp_path)} <= found, "else this test looks at nothing"
    assert not {*SECRETS} & found, "texts of headers are never sent out"


@pytest.fixture
def sent(rollout, tmp_path) -> list[expert.Seen]:
    """The tasks of cycle 0 of the tiny roll-out, exported with pseudonyms."""
    rollout.plan()
    (tmp_path / "points.csv").write_text(POINTS)
    rollout.annotate(f"points {tmp_path / 'points.csv'}")
    return look(rollout, rollout.export, tmp_path / "out")


def look(rollout: Rollout, export, folder: Path) -> list[expert.Seen]:
    """What an expert sees who knows the anatomy behind each pseudonym."""
    anatomy = rollout.label
    rollout.label = lambda case: anatomy({name: c for c, name in pseudonyms(rollout.experiment.annotation).items()}[case])
    try:
        return export(folder, "--blank --pseudonyms")
    finally:
        rollout.label = anatomy


def test_answers_come_back_and_a_later_cycle_has_the_same_pseudonyms(rollout, sent, tmp_path, capsys):
    before = pseudonyms(rollout.experiment.annotation)
    assert set(before) == set(rollout.experiment.plan.pool)
    assert len(set(before.values())) == len(before)
    for task in sent:
        assert "tiny" not in task.id
        expert.in_place(task)
    rollout.annotate(f"import {tmp_path / 'out'} -who anna --accept_unchanged --disable_progress_bar")
    rollout.annotate("close --disable_progress_bar")
    rollout.run()
    assert_simulated(rollout, tmp_path)
    capsys.readouterr()
    from nnactive_ext.loop.status import next_step

    assert "--pseudonyms" in next_step(rollout.experiment)
    later = look(rollout, rollout.export, tmp_path / "later")
    assert pseudonyms(rollout.experiment.annotation) == before
    assert leaks(tmp_path / "later", [*before, str(tmp_path)]) == set()
    assert {task.id.rpartition("_")[2] for task in later} <= set(before.values())
    assert "import" in next_step(rollout.experiment), "the tasks are seen to be out"
    # A single file, by its name and by its task.
    first, second, *_ = (task for task in later if task.truth[task.box].any())
    rollout.annotate(f"import {expert.in_place(first)} -who anna --disable_progress_bar")
    moved = expert.in_place(second).rename(tmp_path / "answer.nii.gz")
    rollout.annotate(f"import {moved} -task {second.id} -who anna --disable_progress_bar")
    own = {name: task.id for task in all_tasks(rollout.experiment) for name in task.names}
    said = capsys.readouterr().out
    assert all(f"{own[task.id]}: done" in said for task in (first, second)), "who imports is told the real task"


def test_untouched_and_edited_label_maps_are_known_by_their_own_names(rollout, sent, tmp_path, capsys):
    edited = expert.in_place(next(task for task in sent if task.truth[task.box].any()))
    content = edited.read_bytes()
    rollout.annotate(f"export -o {tmp_path / 'out'} --pseudonyms --blank --disable_progress_bar")
    assert edited.read_bytes() == content
    capsys.readouterr()
    rollout.annotate(f"import {tmp_path / 'out'} -who anna --disable_progress_bar")
    said = capsys.readouterr().out
    assert said.count(": done") == 1
    assert "not saved after the export" in said


def test_tasks_with_and_without_names_do_not_share_a_folder(rollout, sent, tmp_path, capsys):
    for first, then in (("", "--pseudonyms"), ("--pseudonyms", "")):
        folder = tmp_path / f"mixed{first}"
        rollout.annotate(f"export -o {folder} {first} --blank --disable_progress_bar")
        files = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        with pytest.raises(SystemExit):
            rollout.annotate(f"export -o {folder} {then} --blank --disable_progress_bar")
        assert "Choose another folder" in capsys.readouterr().err
        assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == files


def test_a_task_is_found_by_both_of_its_names(rollout, sent):
    for task in all_tasks(rollout.experiment):
        assert find_task(rollout.experiment, task.names[0]) == find_task(rollout.experiment, task.names[1]) == task
        assert task.disguised.id == task.names[1]


def test_pseudonyms_stay_and_say_nothing(tmp_path):
    cases = [f"case_{n:02d}" for n in range(40)]
    first = give_pseudonyms(tmp_path / "one", cases[:30])
    more = give_pseudonyms(tmp_path / "one", cases)
    assert {case: more[case] for case in cases[:30]} == first
    assert pseudonyms(tmp_path / "one") == more
    assert len(set(more.values())) == 40
    assert not any(character.isdigit() for name in more.values() for character in name)
    other = give_pseudonyms(tmp_path / "two", cases)
    assert not set(other.values()) & set(more.values()), "neither the seed nor the name tells a pseudonym"


@pytest.mark.parametrize("content", ["[1]", '{"a": "x", "b": "x"}', "{"])
def test_a_damaged_table_is_refused(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(NnActiveError, match=re.escape(FILE)):
        give_pseudonyms(tmp_path, ["a", "b", "c"])
    assert (tmp_path / FILE).read_bytes() == before


def test_an_experiment_without_a_table_is_as_before(tasks):
    assert pseudonyms(tasks.experiment.annotation) == {}
    assert all(task.names == (task.id,) for task in all_tasks(tasks.experiment))
    assert not (tasks.experiment.annotation / FILE).exists()
    assert read_json(tasks.seen[0].folder / "task.json")["case"].startswith("tiny")

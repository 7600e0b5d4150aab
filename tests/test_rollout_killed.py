"""`nnactive_annotate` killed with SIGKILL before any file or line is in place: the same command then ends as if undisturbed."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import blosc2
import numpy as np
import pytest
import rollout_states
import scripted_expert as expert
import SimpleITK as sitk
from forked import died
from rollout_states import SMALL_OPTIONS, State, some_of

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs fork, to start a command without importing nnU-Net anew")
POINTS = "case,class,i,j,k\ntiny_0,organ,7,13,12\ntiny_1,lesion,6,13,14\ntiny_2,organ,7,12,12\n"
MOMENTS = pytest.mark.parametrize(
    "most", [pytest.param(2, marks=pytest.mark.slow), pytest.param(99, marks=pytest.mark.long)], ids=["some", "all"]
)
"""How many of the moments are tried, spread over the command."""


def _command(folders: dict[str, str], plans: str, words: list[str], die_at: int = 0, count=None) -> None:
    """``nnactive_annotate``; dies by SIGKILL right before the ``die_at``-th file or line of the ledger would be in place,
    or when half of that line is written. ``count``: how many moments there are."""
    os.environ.update(folders)
    from nnactive_ext.cli import annotate
    from nnactive_ext.labelling import ledger, prepare
    from nnactive_ext.nnunet import fingerprint

    replace, add, done = os.replace, ledger.Ledger.add, 0

    def moment(before_death=lambda: None):
        nonlocal done
        done += 1
        if done == die_at:
            before_death()
            os.kill(os.getpid(), signal.SIGKILL)

    def replacing(source, target):
        moment()
        replace(source, target)

    def adding(self, *arguments, **facts):
        def half_a_line():
            self.folder.mkdir(exist_ok=True)
            with open(self.folder / ledger.LEDGER, "a") as file:
                file.write(f'{{"event": {len(list(self.events()))}, "what": "ans')

        moment(half_a_line)
        made = add(self, *arguments, **facts)
        moment()
        return made

    def quick_plans(experiment):
        shutil.copy(plans, experiment.preprocessed.folder / "nnUNetOtherPlans.json")
        return "nnUNetOtherPlans"  # not what a plan says before the cycle is closed

    os.replace, ledger.Ledger.add = replacing, adding
    prepare.nnunet_plans, fingerprint._SAMPLES = quick_plans, 1e5
    annotate.main(words)
    if count is not None:
        count.value = done


class Killer:
    def __init__(self, plans: Path):
        self.plans = plans

    def call(self, folders: SimpleNamespace, words: list, die_at: int = 0, refused: bool = False) -> int:
        """The moments there were, 0 if it was killed."""
        text = [words[0], "-d", "601", *map(str, words[1:]), "--disable_progress_bar"]
        return died(_command, folders, self.plans, text, die_at, refused)


def answer_all_but_two(made: State, killer: Killer) -> None:
    """All but the last two painted tasks."""
    open_ones = [task.id for task in made.painted[-2:]]
    files = [expert.in_place(task) for task in made.seen if task.id not in open_ones]
    killer.call(made.folders, ["import", *files, "--accept_unchanged", "-who", "anna"])


@pytest.fixture(scope="module")
def killer(planned_template) -> Killer:
    return Killer(planned_template.preprocessed / "Dataset101_Tiny" / "nnUNetPlans.json")


@pytest.fixture(scope="module")
def template(tmp_path_factory, tiny_template) -> State:
    """Of three patients, so that closing takes little time."""
    small = some_of(tiny_template, tmp_path_factory.mktemp("small"), range(3, 8))
    with pytest.MonkeyPatch.context() as patch:
        return rollout_states.exported(small, tmp_path_factory.mktemp("exported"), patch, SMALL_OPTIONS, POINTS)


@pytest.fixture(scope="module")
def answered(template, tmp_path_factory, killer) -> State:
    """All but the last two painted tasks are answered."""
    with pytest.MonkeyPatch.context() as patch:
        made = template.copy(tmp_path_factory.mktemp("answered"), patch)
    answer_all_but_two(made, killer)
    return made


@pytest.fixture(scope="module")
def closed(answered, tmp_path_factory, killer) -> State:
    with pytest.MonkeyPatch.context() as patch:
        made = answered.copy(tmp_path_factory.mktemp("closed"), patch)
    killer.call(made.folders, ["close", "-share", "0.5"])
    return made


def result(folders: SimpleNamespace) -> dict[str, object]:
    """Everything that a later step reads: answers, loops, labels, preprocessed labels, splits, state, the plans' name."""
    raw, preprocessed = folders.raw / "Dataset601_Tiny", folders.preprocessed / "Dataset601_Tiny"
    names = [*raw.glob("loop_*.json"), *preprocessed.glob("*.json"), raw / "nnactive_plan.json"]
    found: dict[str, object] = {file.name: file.read_bytes() for file in names}
    found |= {f"answers/{file.name}": array(file) for file in raw.glob("annotation/answers/*.nii.gz")}
    found |= {f"labels/{file.name}": array(file) for file in raw.glob("labelsTr/*.nii.gz")}
    for file in preprocessed.glob("nnUNet*Plans_3d_fullres/*"):
        if file.name.endswith(".b2nd"):
            found[file.name] = np.asarray(blosc2.open(str(file), mode="r")[:]).tobytes()
        elif file.suffix == ".pkl":
            locations = pickle.loads(file.read_bytes())["class_locations"]
            found[file.name] = {key: np.asarray(value).tobytes() for key, value in locations.items()}
    from nnactive_ext.labelling.answers import CountingAnswers
    from nnactive_ext.labelling.ledger import Ledger

    book = CountingAnswers.of(Ledger(raw / "annotation"))
    found["book"] = {task: [(a.who, a.place, a.unsure) for a in answers] for task, answers in book.answers.items()}
    found["left over"] = [str(file.relative_to(raw)) for file in raw.rglob(".nnactive_tmp_*")]
    return found


def array(file: Path) -> bytes:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file))).tobytes()


def assert_killed_anywhere(state: State, words_of, killer: Killer, tmp_path: Path, monkeypatch, most: int) -> None:
    """``words_of`` gives the command for a copy of ``state``. At most so many of the moments are tried."""
    copy = state.copy(tmp_path / "undisturbed", monkeypatch)
    moments = killer.call(copy.folders, words_of(copy))
    expected = result(copy.folders)
    assert moments > 2
    for at in sorted({round(at) for at in np.linspace(1, moments, min(moments, most))}):
        copy = state.copy(tmp_path / str(at), monkeypatch)
        words = words_of(copy)
        assert killer.call(copy.folders, words, at) == 0, "it was to be killed"
        killer.call(copy.folders, words)
        found = result(copy.folders)
        assert found.keys() == expected.keys()
        assert [name for name in expected if found[name] != expected[name]] == [], f"killed at {at} of {moments}"
        shutil.rmtree(tmp_path / str(at))


@MOMENTS
def test_import(template, killer, tmp_path, monkeypatch, most):
    def words(state):
        return ["import", *map(expert.in_place, state.painted[:2]), "-who", "anna"]

    assert_killed_anywhere(template, words, killer, tmp_path, monkeypatch, most)


@MOMENTS
def test_close(answered, killer, tmp_path, monkeypatch, most):
    assert_killed_anywhere(answered, lambda state: ["close", "-share", "0.5"], killer, tmp_path, monkeypatch, most=most)


@MOMENTS
def test_a_late_import(closed, killer, tmp_path, monkeypatch, most):
    """Killed between an answer and its labels, it has nothing new to take the second time, and still writes them."""

    def words(state):
        return ["import", *map(expert.in_place, state.painted[-2:]), "-who", "anna"]

    assert_killed_anywhere(closed, words, killer, tmp_path, monkeypatch, most=most)


@MOMENTS
def test_points(template, killer, tmp_path, monkeypatch, most):
    points = tmp_path / "more.csv"
    points.write_text("case,class,i,j,k\ntiny_0,organ,2,3,4\ntiny_1,organ,2,3,4\ntiny_0,lesion,2,3,4\n")
    assert_killed_anywhere(template, lambda state: ["points", points, "-who", "anna"], killer, tmp_path, monkeypatch, most)


@MOMENTS
def test_export(template, killer, tmp_path, monkeypatch, most):
    """What a killed export left is no answer of anybody, and no file stays half-written."""

    def words(state):
        return ["export", "--blank", "-o", state.out.parent / "new"]

    copy = template.copy(tmp_path / "undisturbed", monkeypatch)
    (copy.folders.raw / "Dataset601_Tiny" / "annotation" / "exported.json").unlink()
    moments = killer.call(copy.folders, words(copy))
    expected = {file.relative_to(copy.out.parent): file.stat().st_size for file in (copy.out.parent / "new").rglob("*")}
    for at in sorted({round(at) for at in np.linspace(1, moments, min(moments, most))}):
        copy = template.copy(tmp_path / str(at), monkeypatch)
        (copy.folders.raw / "Dataset601_Tiny" / "annotation" / "exported.json").unlink()
        assert killer.call(copy.folders, words(copy), at) == 0
        new = copy.out.parent / "new"
        killer.call(copy.folders, ["import", new], refused=True)
        assert not list(copy.folders.raw.rglob("answers/*")), f"killed at {at}: a prediction was taken for an answer"
        killer.call(copy.folders, words(copy))
        killer.call(copy.folders, ["import", new], refused=True)
        assert not list(copy.folders.raw.rglob("answers/*"))
        found = {file.relative_to(copy.out.parent) for file in new.rglob("*")}
        assert found == expected.keys()
        assert len(expert.look(new, copy.rollout.label)) == len(template.seen)


@pytest.mark.slow
def test_withdraw(closed, killer, tmp_path, monkeypatch):
    """The second time it is not carried out again; the labels follow all the same."""
    full = closed.copy(tmp_path / "full", monkeypatch)
    killer.call(full.folders, ["import", *map(expert.in_place, full.painted[-2:]), "-who", "anna"])
    task = full.painted[-1]
    assert_killed_anywhere(full, lambda state: ["withdraw", task.id], killer, tmp_path, monkeypatch, 4)

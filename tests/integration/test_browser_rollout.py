"""A whole roll-out on real MRIs in the browser: a scripted expert marks, paints and hands in, and members are trained."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from browser_commands import printed, running
from browser_expert import Anatomy, BrowserExpert, LightHand, Worked
from rollouts import NUMBER, Rollout, assert_simulated, of_hippocampus
from slicer_hand import SlicerHand

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.result import read_results
from nnactive_ext.labelling.answers import CountingAnswers, labels_of
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import all_tasks, find_task
from nnactive_ext.loop.status import cycles_done
from nnactive_ext.serve.slicer_process import installed

pytestmark = [pytest.mark.realdata, pytest.mark.skipif(os.name == "nt", reason="the commands end by SIGINT")]
IGNORE = 3
WORKING = {"width": 900, "height": 640}
"""Pixels of the window: without a graphics card a larger one takes longer to draw."""
PLAN = "--labels anterior posterior -channels MRI -folds 2 --preset cpu -np 1 --disable_progress_bar"


@pytest.fixture
def hospital(hippocampus: Path, tmp_path: Path, nnunet_folders, monkeypatch) -> Rollout:
    monkeypatch.setattr("nnactive_ext.nnunet.fingerprint._SAMPLES", 1e6)
    return of_hippocampus(hippocampus, tmp_path, 8)


def pictures(folder: Path) -> Any:
    """Keeps a picture of each step in ``folder``, at two widths."""
    folder.mkdir(exist_ok=True)
    number = 0

    def look(page: Any, what: str) -> None:
        nonlocal number
        number += 1
        for width in (1024, 1280) if os.environ.get("NNACTIVE_PICTURES") else ():
            page.set_viewport_size({"width": width, "height": 768 if width == 1024 else 800})
            page.wait_for_timeout(300)
            page.screenshot(path=folder / f"{number:03d}_{what}_{width}.png")
        page.set_viewport_size(WORKING)

    return look


def complaint(message: Any) -> bool:
    """Whether the console shows an error of our pages; trame's page in the frame has errors of its own."""
    return message.type == "error" and "/slicer/" not in message.location["url"]


@contextmanager
def expert(hospital: Rollout, browser: Any, folder: Path, both: bool = False, **environment: str) -> Iterator[BrowserExpert]:
    """The server of the roll-out, and the expert at its first page, who came in with the printed address; ``both``: the expert
    uses 3D Slicer's editor, too, where it is installed."""
    line = f"nnactive_annotate serve -d {NUMBER} -who anna -device cpu -start_above 0 --no_browser"
    with running(line, folder / "serve.log", **environment) as server:
        address = printed(server, folder / "serve.log", "http").split()[-1]
        context = browser.new_context(viewport=WORKING)
        page = context.new_page()
        said: list[str] = []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text) if complaint(message) else None)
        page.goto(address)
        look = pictures(Path(os.environ.get("NNACTIVE_PICTURES", folder / "pictures")))
        light = LightHand(np.random.default_rng(0), look)
        hands = [light, SlicerHand(light)] if both and installed() else [light]
        page.wait_for_url(address.partition("?")[0])
        try:
            yield BrowserExpert(page, address.partition("/?")[0], lambda case: Anatomy.of(hospital.label(case)), hands, look)
            assert said == []
        finally:
            context.close()


@dataclass
class Training:
    """``begin``: what the expert does when enough tasks are answered; ``end`` waits for the end of the last cycle."""

    begin: Callable[[], None]
    end: Callable[[], None]


def training(anna: BrowserExpert, cycles: int) -> Training:
    """By the button *Train now* in the queue of an experiment of ``cycles``."""
    page = anna.page

    def press() -> None:
        page.goto(f"{anna.address}/")
        anna.look(page, "train")
        page.get_by_role("button", name="Train now").click()
        page.wait_for_timeout(3000)
        anna.look(page, "training")

    def all_done() -> bool:
        page.goto(f"{anna.address}/")
        return cycles_done(cycles) in page.locator("main").text_content()

    return Training(press, lambda: wait_for(all_done))


def wait_for(what: Callable[[], bool], seconds: float = 1200) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(2)


def trained(anna: BrowserExpert, cycle: int) -> None:
    """Wait, in the queue, until the tasks of ``cycle`` are there."""

    def there() -> bool:
        anna.page.goto(f"{anna.address}/")
        return f"cycle {cycle}" in anna.page.locator("h1").text_content()

    wait_for(there)


def check_answers(worked: Sequence[Worked], hospital: Rollout) -> None:
    """What was left unsure holds what the page showed, and is right where it says something."""
    experiment = hospital.experiment
    ledger = Ledger(experiment.annotation)
    for one in worked:
        answer = labels_of(ledger, CountingAnswers.of(ledger), one.task, IGNORE)
        patch = find_task(experiment, one.task).patch
        truth = sitk.GetArrayFromImage(sitk.ReadImage(str(hospital.label(patch.case))))[patch.slices]
        values, numbers = np.unique(answer, return_counts=True)
        found = dict(zip(values.tolist(), numbers.tolist(), strict=True))
        if one.unsure:
            assert found == {IGNORE: one.labels[0], **{v: n for v, n in one.labels.items() if v}}
            np.testing.assert_array_equal(answer[answer != IGNORE], truth[answer != IGNORE])
        else:
            assert found == one.labels
            np.testing.assert_array_equal(answer, truth)


def check_marks(marked: Sequence[tuple[str, str, np.ndarray]], experiment: Experiment) -> None:
    """Each marked place lies in a patch of its case."""
    patches = [task.patch for task in all_tasks(experiment)]
    for case, _, ras in marked:
        image = sitk.ReadImage(str(experiment.dataset.entries[case].images[0]))
        voxel = image.TransformPhysicalPointToIndex((ras * [-1, -1, 1]).tolist())[::-1]
        assert any(
            patch.case == case and all(a <= v < a + n for a, v, n in zip(patch.start, voxel, patch.size, strict=True))
            for patch in patches
        )


@pytest.mark.slow
def test_one_cycle_of_two_tasks(hospital, browser, tmp_path):
    hospital.plan(f"{PLAN} -patch_size 5 9 9 -starting_budget 2 -query_size 2 -cycles 1")
    quick = {"nnactive_iterations_per_epoch": "1", "nnactive_val_iterations_per_epoch": "1"}
    with expert(hospital, browser, tmp_path, **quick) as anna:
        check_marks(anna.mark(2, [1]), hospital.experiment)
        train = training(anna, 1)
        worked = anna.answer()
        train.begin()
        train.end()
    assert len(worked) == 2
    assert [result.cycle for result in read_results(hospital.experiment.results)] == [0]
    check_answers(worked, hospital)
    assert_simulated(hospital, tmp_path)


@pytest.mark.long
def test_two_cycles_in_the_browser_alone(hospital, browser, tmp_path):
    """In the second one the tasks start with what real members predict. 3D Slicer's editor takes its turn in the first one."""
    hospital.plan(f"{PLAN} -patch_size 6 12 12 -starting_budget 2 -query_size 3 -cycles 2 -share 0.6")
    fewer = {"nnactive_iterations_per_epoch": "5", "nnactive_val_iterations_per_epoch": "1"}
    with expert(hospital, browser, tmp_path, both=True, **fewer) as anna:
        check_marks(anna.mark(2, [1, 2]), hospital.experiment)
        train = training(anna, 2)
        first = anna.answer(unsure=1)
        assert len(first) == 4
        assert all("starts blank" in one.start for one in first)
        train.begin()
        trained(anna, 1)
        in_slicer = [hand.used["draw"] for hand in anna.hands[1:]]
        assert all(strokes > 3 for strokes in in_slicer), "outlines were drawn in Slicer"
        anna.hands = anna.hands[:1]
        second = anna.answer(unsure=1)
        assert len(second) == 3
        assert all("the model predicts" in one.start for one in second)
        train.begin()
        train.end()
        anna.page.goto(f"{anna.address}/")
        anna.look(anna.page, "end")
    used = anna.hands[0].used
    assert set(used) == {"o", "p", "x", "undo"}, used
    assert [result.cycle for result in read_results(hospital.experiment.results)] == [0, 1]
    check_answers([*first, *second], hospital)
    assert_simulated(hospital, tmp_path, left_out=[one.task for one in [*first, *second] if one.unsure])

"""Crops of the server: made anew where what they start with has changed, whole, by a child that says what is wrong."""

from __future__ import annotations

import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scripted_expert as expert
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from serving import client

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.space import Space
from nnactive_ext.serve.crops import Cache, Children, in_child
from nnactive_ext.serve.make_crop import AHEAD, make
from nnactive_ext.serve.site import NotFound, Site
from nnactive_ext.serve.thin import thin


def start(asking, task, folder) -> np.ndarray:
    (folder / "start.nii.gz").write_bytes(asking.get(f"/tasks/{task.id}/label").content)
    return sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "start.nii.gz")))


def test_an_answer_in_a_patch_that_overlaps_is_seen(tasks, tmp_path):
    first, last = tasks.seen[2], tasks.seen[6]
    assert tasks.patch(first).overlaps(tasks.patch(last))
    with client(601) as asking:
        before = start(asking, last, tmp_path)
        tasks.hand_in(first.write(first.answer()))
        after = start(asking, last, tmp_path)
    assert (before != after).any()
    tasks.export(tmp_path / "again")
    exported = expert.look(tmp_path / "again", tasks.label)[6]
    np.testing.assert_array_equal(after, sitk.GetArrayFromImage(exported.shown))


def test_a_crop_is_made_once(tasks):
    made = []
    site = Site(601, "anna", {"blank": True})

    def noted(asked):
        made.append(asked["task"])
        in_child(asked)

    cache, experiment = Cache(site, noted), site.experiment
    task = site.task(experiment, tasks.seen[0].id)
    one, two = cache.task(experiment, task), Cache(site, noted).task(experiment, task)  # as after a restart
    assert one == two
    assert made == [task.id]


def test_a_crop_that_is_there_is_not_waited_for(tasks):
    """Members may take minutes to predict the next one."""
    began, go_on = threading.Event(), threading.Event()
    site = Site(601, "anna", {"blank": True})
    first, second = (site.task(site.experiment, seen.id) for seen in tasks.seen[:2])

    def slow(asked):
        if asked["task"] == second.id:
            began.set()
            assert go_on.wait(60)
        make(asked)

    cache = Cache(site, slow)
    cache.task(site.experiment, first)
    with ThreadPoolExecutor(2) as others:
        others.submit(cache.task, site.experiment, second)
        assert began.wait(60)
        try:
            others.submit(cache.task, site.experiment, first).result(timeout=30)
        finally:
            go_on.set()


@pytest.mark.parametrize("damage", ["truncated", "gone"])
def test_an_image_that_cannot_be_read_is_named(tasks, damage, tmp_path):
    shared = tasks.experiment.dataset.entries[tasks.patch(tasks.seen[1]).case].images[1]
    image = tmp_path / shared.name  # other tests read the shared one at the same time
    image.write_bytes(shared.read_bytes()[:-200])
    if damage == "gone":
        image.unlink()
    dataset = tasks.experiment.raw / "dataset.json"
    dataset.write_text(dataset.read_text().replace(str(shared), str(image)))
    site = Site(601, "anna", {"blank": True})
    cache, experiment = Cache(site), site.experiment
    task = site.task(experiment, tasks.seen[1].id)
    assert experiment.dataset.entries[task.patch.case].images[1] == image
    with pytest.raises(NnActiveError, match=image.name):
        cache.task(experiment, task)
    assert list(site.folder.glob("crops/*")) == []
    with pytest.raises(NotFound):
        site.task(experiment, "..")
    with pytest.raises(NotFound):
        cache.overview(experiment, "../..")


@given(st.tuples(*[st.integers(1, 14)] * 3), st.tuples(*[st.floats(0.5, 6)] * 3), st.integers(1, 900))
def test_a_thinned_image_has_its_voxels_in_place(shape, spacing, most):
    space = Space(shape, spacing, (3.0, -8.0, 2.5), (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    array = np.arange(np.prod(shape)).reshape(shape)
    found, thinner = thin(array, space, most)
    assert found.shape == thinner.shape
    assert found.size <= most
    for index in np.argwhere(np.ones(found.shape, bool))[::7].tolist():
        there = np.rint(space.to_index(thinner.to_world(index))).astype(int)
        np.testing.assert_allclose(space.to_world(there), thinner.to_world(index), atol=1e-6)
        assert array[tuple(there)] == found[tuple(index)]


def waiting(children: Children) -> subprocess.Popen:
    """The child that is started when the one before has ended."""
    end = time.monotonic() + 60
    while children._next is None or children._next.poll() is not None:
        assert time.monotonic() < end, "no child was started"
        time.sleep(0.01)
    return children._next


@pytest.mark.slow
def test_a_child_that_waits_ends_with_the_server_and_one_that_died_is_replaced(tasks, tmp_path):
    """The next child is there before it is asked, makes what an own one makes, and reads the end of its input."""
    children = Children(pause=0)
    asked = {"task": tasks.seen[0].id, "options": {"blank": True}, "made_from": "x", "number": 601}
    children.prepare()
    first = children._next
    children({**asked, "target": str(tmp_path / "one")})
    assert first.poll() == 0
    second = waiting(children)
    children({**asked, "target": str(tmp_path / "ahead"), AHEAD: True})
    assert children._next is second, "it waits for somebody, and nobody waits for what is made ahead"
    second.kill()
    second.wait()
    children({**asked, "target": str(tmp_path / "two")})
    in_child({**asked, "target": str(tmp_path / "three")})
    files = [
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("one", "two", "three", "ahead")
    ]
    assert all(made == files[0] for made in files)
    last = waiting(children)
    children.close()
    assert last.poll() == 0


def test_two_servers_make_crops_at_the_same_time(tasks, tmp_path):
    """None of them takes away what another one is writing; both of one task are whole."""
    asked = [{"task": seen.id, "options": {"blank": True}, "made_from": "x", "number": 601} for seen in tasks.seen[:3]]
    folders = [str(tmp_path / "crops" / one["task"]) for one in asked]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(make, [{**one, "target": folder} for one, folder in zip(asked, folders, strict=True)] * 2))
    assert sorted(file.name for file in (tmp_path / "crops").iterdir()) == sorted(one["task"] for one in asked)
    assert all((tmp_path / "crops" / one["task"] / "page.json").is_file() for one in asked)

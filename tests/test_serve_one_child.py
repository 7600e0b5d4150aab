"""The server's memory does not depend on images: one child at a time reads them, and what it made is given out from files."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import nibabel
import pytest
import SimpleITK as sitk
from serving import TOKEN, client

from nnactive_ext.errors import NnActiveError
from nnactive_ext.serve.app import build
from nnactive_ext.serve.crops import Cache, in_child
from nnactive_ext.serve.make_crop import make
from nnactive_ext.serve.safety import Guard
from nnactive_ext.serve.server import serve
from nnactive_ext.serve.site import Site
from nnactive_ext.serve.task_pages import TaskPages


@pytest.fixture
def site(tasks) -> Site:
    return Site(601, "anna", {"blank": True})


def test_children_do_not_run_at_the_same_time(site):
    running, most, made = [], [0], []

    def noted(asked: Any) -> None:
        running.append(1)
        most[0] = max(most[0], len(running))
        made.append(asked.get("task") or asked["case"])
        time.sleep(0.02)
        make(asked)
        running.pop()

    cache, experiment = Cache(site, noted), site.experiment
    tasks, case = site.tasks(experiment), next(iter(experiment.plan.pool))
    cache.ahead(experiment, tasks)
    with ThreadPoolExecutor(12) as several:
        asked = [several.submit(cache.task, experiment, task) for task in tasks for _ in range(3)]
        asked += [several.submit(cache.overview, experiment, case) for _ in range(3)]
        folders = {future.result()[0] for future in asked}
    cache.close()
    assert most == [1]
    assert sorted(made) == sorted([*(task.id for task in tasks), case]), "each was made once"
    assert len(folders) == len(tasks) + 1


def test_what_was_made_is_given_out_while_a_child_is_at_work(site):
    begun, go_on = threading.Event(), threading.Event()

    def slow(asked: Any) -> None:
        if asked["task"] != first.id:
            begun.set()
            assert go_on.wait(30)
        make(asked)

    cache, experiment = Cache(site, slow), site.experiment
    first, second = site.tasks(experiment)[:2]
    cache.task(experiment, first)
    cache.ahead(experiment, [second])
    assert begun.wait(30)
    with ThreadPoolExecutor(1) as other:
        try:
            assert other.submit(cache.task, experiment, first).result(10)[1]["id"] == first.id
        finally:
            go_on.set()
            cache.close()


@pytest.mark.slow
def test_the_server_reads_no_image_itself(site, tasks, monkeypatch):
    """Neither for pages and crops nor for the points page and answers; each image is read by a child."""
    read: list[str] = []

    execute, load = sitk.ImageFileReader.Execute, nibabel.load  # ReadImage uses the one; its header alone may be read
    monkeypatch.setattr(sitk.ImageFileReader, "Execute", lambda self: (read.append(self.GetFileName()), execute(self))[1])
    monkeypatch.setattr(nibabel, "load", lambda file, **more: (read.append(str(file)), load(file, **more))[1])
    children: list[Any] = []
    cache = Cache(site, lambda asked: (children.append(asked), in_child(asked)))
    app = Guard(build(site, cache), TOKEN)
    first = tasks.seen[0]
    with client(601, site=site, app=app) as asking:
        for address in ("/", f"/tasks/{first.id}", f"/tasks/{first.id}/crop", f"/tasks/{first.id}/image/0", "/points"):
            assert asking.get(address).status_code == 200
        label = asking.get(f"/tasks/{first.id}/label").content
        answer = asking.put(f"/tasks/{first.id}", params={"label_version": 0, "seconds": 1}, content=label)
        assert answer.json()["taken"]
        assert asking.get(f"/tasks/{first.id}/label").status_code == 200
        assert asking.get("/points/tiny_1/image").status_code == 200
        cache.close()
        assert {one.get("task") or one["case"] for one in children} >= {first.id, "tiny_1"}
    images = {str(file) for entry in tasks.experiment.dataset.entries.values() for file in entry.images}
    assert not images & set(read)
    assert any(name.endswith("start.nii.gz") for name in read), "the test sees what is read"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux says what a process has mapped")
def test_the_command_keeps_neither_images_nor_networks_in_memory(tasks):
    command = [
        sys.executable,
        "-m",
        "nnactive_ext.cli.annotate",
        "serve",
        "-d",
        "601",
        "-who",
        "anna",
        "--no_browser",
        "--blank",
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
    try:
        address = re.search(r"http://\S+", server.stdout.readline())[0]
        with httpx.Client(base_url=address.split("?")[0], timeout=60) as asking:
            assert asking.get("/", params={"token": address.partition("=")[2]}).status_code == 200
            for path in (
                "/",
                "/points/tiny_1/facts",
                *(f"/tasks/{tasks.seen[0].id}{end}" for end in ("", "/crop", "/image/0")),
            ):
                assert asking.get(path).status_code == 200, path
        assert not _mapped(server.pid, ("imagesTr", "hospital", "libtorch", "b2nd"))
        (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
        assert int(peak) < 500_000
    finally:
        server.terminate()
        server.communicate(timeout=30)


def test_whoever_opens_the_printed_address_at_once_waits_for_the_server(site):
    seen = []

    def look(text: str) -> None:
        if found := re.search(r"http://([^:]+):(\d+)", text):
            socket.create_connection((found[1], int(found[2])), timeout=5).close()
            seen.append(text)
            raise KeyboardInterrupt

    serve(site, browser=False, say=look)
    assert len(seen) == 1


def _mapped(process: int, words: Sequence[str]) -> list[str]:
    """Files with one of ``words`` in their path that a process has mapped or open."""
    found = [line.split(None, 5)[-1] for line in Path(f"/proc/{process}/maps").read_text().splitlines()]
    found += [os.readlink(link) for link in Path(f"/proc/{process}/fd").iterdir() if link.is_symlink()]
    return [path for path in found if any(word in path for word in words)]


def test_the_first_crops_are_made_while_somebody_looks_at_the_queue(tasks):
    """Those of the next two tasks that are not done, each once, however often the page asks."""
    made: list[str] = []
    waiting = threading.Event()

    def make(facts) -> None:
        waiting.wait(10)
        made.append(facts["task"])
        raise NnActiveError("nothing is made here")

    site = Site(601, "anna", {"blank": True})
    cache = Cache(site, make)
    pages = TaskPages(site, cache)
    shown = pages.rows(site.experiment, "anna")
    for _ in range(5):
        pages.prepare(site.experiment, shown)
    waiting.set()
    cache._ahead.shutdown(wait=True)
    assert made == [row.id for row in shown if row.status != "done"][:2]


def test_who_waits_for_a_crop_comes_before_those_made_ahead(tasks):
    """Of three that would be made ahead, the one that was begun ends; then comes the one that somebody asks for."""
    made: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def make(facts) -> None:
        begun.set()
        go_on.wait(10)
        made.append(facts["task"])
        raise NnActiveError("nothing is made here")

    site = Site(601, "anna", {"blank": True})
    cache = Cache(site, make)
    first, second, third, asked, *_ = site.tasks(site.experiment)
    cache.ahead(site.experiment, [first, second, third])
    assert begun.wait(10)

    def ask() -> None:
        with pytest.raises(NnActiveError):
            cache.task(site.experiment, asked)

    with ThreadPoolExecutor(1) as person:
        waiting = person.submit(ask)
        time.sleep(0.2)
        go_on.set()
        waiting.result(20)
    cache._ahead.shutdown(wait=True)
    assert made == [first.id, asked.id, second.id, third.id]

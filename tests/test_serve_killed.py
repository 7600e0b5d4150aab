"""The server is killed while answers and verdicts come in: what it acknowledged is there, whole, and the experiment goes on."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import SimpleITK as sitk
from forked import PROCESSES
from serving import TOKEN, serving_at

from nnactive_ext.labelling.answers import CountingAnswers, read_answer
from nnactive_ext.labelling.closing import close_cycle


def serve(environment: dict[str, str], port: int) -> None:
    os.environ.update(environment)
    serving_at(601, port)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def entered(port: int) -> httpx.Client:
    asking = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
    end = time.monotonic() + 60
    while True:
        try:
            assert asking.get("/", params={"token": TOKEN}).status_code == 200
            return asking
        except httpx.TransportError:
            assert time.monotonic() < end
            time.sleep(0.02)


def packed(labels: np.ndarray, like: sitk.Image, folder: Path) -> bytes:
    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(like)
    file = folder / "sent.nii.gz"
    sitk.WriteImage(image, str(file), True)
    return file.read_bytes()


def check_killed(tasks: Any, nnunet_folders: Any, tmp_path: Path, moments: int) -> None:
    environment = {f"nnUNet_{name}": str(folder) for name, folder in vars(nnunet_folders).items()}
    rng, seen = np.random.default_rng(5), tasks.seen
    acknowledged: dict[str, list[np.ndarray]] = {one.id: [] for one in seen}
    sent: dict[str, list[np.ndarray]] = {one.id: [] for one in seen}
    asked, said = set[str](), set[str]()  # the reasons of verdicts, each of which is given once
    for moment in range(moments):
        port = free_port()
        process = PROCESSES.Process(target=serve, args=(environment, port))
        process.start()
        asking = entered(port)
        if moment == 0:  # the crops are made once; they are no answers
            for one in seen:
                assert asking.get(f"/tasks/{one.id}/crop").status_code == 200
        threading.Timer(rng.uniform(0.01, 1.5), process.kill).start()
        try:
            for number in range(10_000):
                one = seen[number % len(seen)]
                labels = np.full(one.truth.shape, one.names["ignore"], np.uint8)
                labels[one.box] = rng.integers(0, 3, one.truth[one.box].shape)
                sent[one.id].append(labels[one.box])
                query = {"label_version": 0, "seconds": 1.0}
                reply = asking.put(f"/tasks/{one.id}", params=query, content=packed(labels, one.shown, tmp_path))
                assert reply.status_code == 200, reply.text
                acknowledged[one.id].append(labels[one.box])
                if number % 3 == 0:
                    asked.add(why := f"{moment} {number}")
                    form = {"verdict": ("irrelevant", "relevant")[number % 2], "about": "patch", "why": why}
                    reply = asking.post(f"/tasks/{one.id}/verdict", data=form)
                    assert reply.status_code == 200, reply.text
                    said.add(why)
        except httpx.TransportError:
            pass
        process.join()
        ledger = tasks.ledger
        counted = CountingAnswers.of(ledger)  # which refuses a damaged line
        kept = [vote.why for votes in counted.opinions.votes.values() for vote in votes]
        assert said <= set(kept) <= asked, "each verdict is there or not"
        assert len(kept) == len(set(kept))
        for one in seen:
            found = [read_answer(ledger, counted, answer) for answer in counted.handed_in if answer.task == one.id]
            for labels in found:
                assert any(np.array_equal(labels, known) for known in sent[one.id])
            for labels in acknowledged[one.id]:
                assert any(np.array_equal(labels, answer) for answer in found)
            last = counted.answers.get(one.id)
            if acknowledged[one.id]:
                assert last
    assert sum(map(len, acknowledged.values())) > moments / 2
    assert said
    with tasks.experiment.lock():
        pass  # nothing stands in the way of the next command
    for one in seen:
        tasks.hand_in(one.write(one.answer()))
    close_cycle(tasks.experiment, 0, progress=False)
    for one in seen:
        case = one.id.split("_", 2)[2]
        np.testing.assert_array_equal(tasks.labels(case)[tasks.patch(one).slices], one.truth[one.box])


@pytest.mark.slow
def test_killed_at_20_moments(tasks, nnunet_folders, tmp_path):
    check_killed(tasks, nnunet_folders, tmp_path, 20)


@pytest.mark.long
def test_killed_at_200_moments(tasks, nnunet_folders, tmp_path):
    check_killed(tasks, nnunet_folders, tmp_path, 200)

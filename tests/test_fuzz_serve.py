"""Bodies and addresses damaged at random: the server replies with a refusal in words or takes them; it never fails."""

from __future__ import annotations

import errno
import json
import random

import pytest
from fuzzing import VALUES, damaged_bytes, damaged_gz, damaged_json
from serving import client
from test_serve_attacks import NUMBERS

from nnactive_ext.files import sha256
from nnactive_ext.serve.drafts import Drafts

FEW, SOME, MANY = 12, 300, 1000
FORM = b"verdict=irrelevant&about=patch&why=a+knee"


def asked(server, tasks, number: int, seed: int) -> list[str]:
    """Requests that were neither taken nor refused in words; a refusal changes nothing in the ledger."""
    rng, wrong = random.Random(seed), []
    tasks_there, file = tasks.seen, tasks.ledger.folder / "ledger.jsonl"
    points = json.dumps([{"case": "tiny_1", "class": "organ", "ras": [0.0, 0.0, 0.0]}]).encode()
    for n in range(number):
        task = tasks_there[n % len(tasks_there)]
        address = f"/tasks/{task.id}"
        numbers = dict(NUMBERS)
        if rng.random() < 0.3:
            numbers[rng.choice(list(numbers))] = str(rng.choice(VALUES)).encode(errors="replace").decode()[:300]
        before = sha256(file)
        kind = n % 4
        if kind == 0:
            reply = server.put(address, params=numbers, content=damaged_gz(task.label.read_bytes(), rng))
        elif kind == 1:
            content = damaged_gz(task.label.read_bytes(), rng)
            reply = server.put(f"{address}/draft", params={**numbers, "tab": "a"}, content=content)
        elif kind == 2:
            reply = server.post("/points", content=damaged_json(points, rng))
        else:
            content = damaged_bytes(FORM, rng)
            header = {"content-type": "application/x-www-form-urlencoded"}
            reply = server.post(f"{address}/verdict", content=content, headers=header)
        fine = reply.status_code < 400 or (reply.status_code < 500 and reply.text.strip())
        if not fine or (reply.status_code >= 400 and sha256(file) != before):
            wrong.append(f"{reply.request.method} {reply.request.url}: {reply.status_code} {reply.text[:200]}")
    return wrong


@pytest.fixture
def server(tasks):
    with client(601) as asking:
        yield asking


def test_some_requests(server, tasks):
    assert asked(server, tasks, FEW, 1) == []


@pytest.mark.slow
def test_hundreds_of_requests(server, tasks):
    assert asked(server, tasks, SOME, 2) == []


@pytest.mark.long
def test_a_thousand_requests(server, tasks):
    assert asked(server, tasks, MANY, 3) == []


def test_an_error_of_the_machine_is_said(server, tasks, monkeypatch, capsys):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    task = tasks.seen[0]
    monkeypatch.setattr(Drafts, "write", full)
    reply = server.put(f"/tasks/{task.id}/draft", params={**NUMBERS, "tab": "a"}, content=task.label.read_bytes())
    assert reply.status_code == 503
    assert "No space left" in reply.json()["error"]
    assert capsys.readouterr().err.count("ERROR: PUT") == 1

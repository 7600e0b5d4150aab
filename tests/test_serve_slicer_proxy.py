"""Requests on their way to a person's process, for which something smaller stands in: who is let through, and what arrives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

import pytest
from serving import TOKEN, client
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from nnactive_ext.errors import NnActiveError
from nnactive_ext.serve import slicer_process
from nnactive_ext.serve.app import build
from nnactive_ext.serve.safety import Guard
from nnactive_ext.serve.slicer_people import People
from nnactive_ext.serve.slicer_process import SlicerProcess

pytest.importorskip("httpx")
pytest.importorskip("websockets")
ORIGIN = {"origin": "http://127.0.0.1:8000"}
STAND_IN = """
import asyncio, json, os, sys, threading
from http import HTTPStatus
from websockets.asyncio.server import serve

secret, where = sys.stdin.readline().strip(), sys.argv[1]

def page(connection, request):
    if request.headers.get("x-nnactive-secret") != secret:
        return connection.respond(HTTPStatus.FORBIDDEN, "no")
    if request.path.startswith("/ws"):
        return None
    reply = connection.respond(HTTPStatus.OK, f"<script>1 + 1</script>{request.path} {'cookie' in request.headers}")
    del reply.headers["content-type"]
    reply.headers["content-type"] = "text/html"
    return reply

async def echo(socket):
    async for message in socket:
        await socket.send(message)

async def main():
    async with serve(echo, "127.0.0.1", 0, process_request=page, max_size=None) as server:
        print(json.dumps({"ready": server.sockets[0].getsockname()[1]}), flush=True)
        await asyncio.to_thread(lines)

def lines():
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "die":
            os._exit(1)
        print(json.dumps({"error": "not today"} if asked["do"] == "fail" else asked), flush=True)
    open(where, "w").write("ended")

asyncio.run(main())
"""


@pytest.fixture
def stand_in(tmp_path) -> list[str]:
    script = tmp_path / "stand_in.py"
    script.write_text(textwrap.dedent(STAND_IN))
    return [sys.executable, str(script), str(tmp_path / "ended")]


@pytest.fixture
def people(stand_in) -> Iterator[People]:
    people = People(lambda: SlicerProcess(command=stand_in))
    yield people
    people.close()


@pytest.fixture
def asking(tasks, people) -> Iterator[TestClient]:
    with client(601) as one:
        one.made = Guard(build(one.site, people=people), TOKEN)
        two = TestClient(one.made, base_url="http://127.0.0.1:8000")
        two.cookies = one.cookies
        yield two


def test_a_process_answers_and_ends_with_the_server(people, tmp_path):
    process = people.process("anna")
    assert people.process("anna") is process
    assert people.process("bert") is not process
    assert process.ask(do="say", what="x") == {"do": "say", "what": "x"}
    with pytest.raises(NnActiveError, match="not today"):
        process.ask(do="fail")
    people.close()
    assert not process.alive
    assert (tmp_path / "ended").read_text() == "ended"  # it could keep its work


def test_a_process_that_died_is_told_and_replaced(people):
    process = people.process("anna")
    with pytest.raises(NnActiveError, match="has ended"):
        process.ask(do="die")
    assert people.has("anna") is None
    assert people.process("anna") is not process


def test_nobody_uses_it_and_it_ends(stand_in):
    now = [0.0]
    people = People(lambda: SlicerProcess(command=stand_in, clock=lambda: now[0]), idle=100)
    process = people.process("anna")
    process.ask(do="say")
    now[0] = 99.0
    people.end_idle()
    assert process.alive
    now[0] = 101.0
    people.end_idle()
    assert not process.alive
    people.close()


def test_pages_come_through_with_the_secret_and_a_policy_of_their_own(asking, people):
    assert asking.get("/slicer/index.html").status_code == 404  # no process yet
    people.process("anna").ask(do="say")
    reply = asking.get("/slicer/index.html?a=1")
    assert reply.text == "<script>1 + 1</script>/index.html?a=1 False"  # our cookies stay here
    policy = dict(part.strip().partition(" ")[::2] for part in reply.headers["content-security-policy"].split(";"))
    assert policy["frame-ancestors"] == "'self'"
    assert "unsafe-inline" not in policy["script-src"]
    assert "sha256-" in policy["script-src"]
    assert "'unsafe-eval'" not in asking.get("/").headers["content-security-policy"]
    assert asking.post("/slicer/index.html", headers=ORIGIN).status_code == 405


@pytest.mark.parametrize("message", ["hello", "x" * (5 << 20)])
def test_messages_come_through_whole(asking, people, message):
    people.process("anna").ask(do="say")
    with asking.websocket_connect("ws://127.0.0.1:8000/slicer/ws", headers=ORIGIN) as socket:
        socket.send_text(message)
        assert socket.receive_text() == message
        socket.send_bytes(message.encode())
        assert socket.receive_bytes() == message.encode()


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "null"},
        {},
        {**ORIGIN, "host": "evil.example"},
        {"origin": "http://evil.example", "host": "evil.example"},
    ],
)
def test_sockets_of_other_pages_are_refused(asking, people, headers):
    people.process("anna").ask(do="say")
    with pytest.raises(WebSocketDisconnect), asking.websocket_connect("/slicer/ws", headers=headers):
        pass


def test_without_the_token_no_socket_and_no_page(asking, people):
    people.process("anna").ask(do="say")
    asking.cookies.clear()
    with pytest.raises(WebSocketDisconnect), asking.websocket_connect("/slicer/ws", headers=ORIGIN):
        pass
    assert asking.get("/slicer/index.html").status_code == 403


def test_nobody_gets_the_process_of_somebody_else(asking, people):
    people.process("bert").ask(do="say")
    assert asking.get("/slicer/index.html").status_code == 404


def test_without_the_extra_the_page_says_what_to_install(tasks, monkeypatch):
    monkeypatch.setattr(slicer_process, "find_spec", lambda name: None)
    with client(601) as one:
        task = f"/tasks/{tasks.seen[0].id}"
        for reply in (one.get(f"{task}/slicer"), one.post(f"{task}/slicer/open")):
            assert reply.status_code == 422
            assert 'pip install "nnactive-ext[slicer]"' in reply.json()["error"]


def test_a_killed_server_takes_the_process_along(stand_in, tmp_path):
    script = (
        "import sys, time; from nnactive_ext.serve.slicer_process import SlicerProcess; "
        "one = SlicerProcess(command=sys.argv[1:]); one.ask(do='say'); print(one.id, flush=True); time.sleep(100)"
    )
    server = subprocess.Popen([sys.executable, "-c", script, *stand_in], stdout=subprocess.PIPE, text=True)
    server.stdout.readline()
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    end = time.monotonic() + 20
    while not (tmp_path / "ended").exists():
        assert time.monotonic() < end
        time.sleep(0.05)

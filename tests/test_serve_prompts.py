"""Prompts for nnInteractive without a browser: what leaves the machine, sessions, refusals; the client's real code is used."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest
import SimpleITK as sitk
from nninteractive_server import StandIn, grown, stand_in, until
from serving import Client, client

from nnactive_ext.errors import NnActiveError
from nnactive_ext.serve import interactive as interactive_module
from nnactive_ext.serve import remote
from nnactive_ext.serve.interactive import Interactive, Prompt, interactive_at
from nnactive_ext.serve.site import Site


class Asking:
    """Sends prompts as the page does; arrays run along (z, y, x)."""

    def __init__(self, client: Client, server: StandIn, task: str):
        self.client, self.server, self.address = client, server, f"/tasks/{task}/prompt"
        self.page = client.get(f"/tasks/{task}/crop").json()
        self.shape = tuple(self.page["shape"])
        files = client.site.folder / "crops" / task
        self.images = [sitk.GetArrayFromImage(sitk.ReadImage(str(files / f"image_{i}.nii.gz"))) for i in range(2)]

    def voxel(self, *place: int) -> np.ndarray:
        mask = np.zeros(self.shape, bool)
        mask[place or tuple(n // 2 for n in self.shape)] = True
        return mask

    def reply(self, drawn: Any = None, start: Any = None, content: bytes | None = None, **query: Any) -> Any:
        drawn = self.voxel() if drawn is None else drawn
        voxels = 2 * drawn.astype(np.uint8) + (0 if start is None else start.astype(np.uint8))
        asked = {"kind": "point", "include": 1, "channel": 0, "after": 0, **query}
        content = gzip.compress(voxels.tobytes()) if content is None else content
        return self.client.post(self.address, params=asked, content=content)

    def __call__(self, *given: Any, **query: Any) -> tuple[np.ndarray, int]:
        reply = self.reply(*given, **query)
        assert reply.status_code == 200, reply.text
        found = np.frombuffer(gzip.decompress(base64.b64decode(reply.json()["object"])), np.uint8).reshape(self.shape)
        return found == 1, reply.json()["number"]

    def refused(self, *given: Any, **query: Any) -> str:
        reply = self.reply(*given, **query)
        assert reply.status_code in (404, 413, 422), reply.text
        return reply.json()["error"]


@contextmanager
def asking(tasks, patience: float = 10.0, url: str = "", **server: Any) -> Iterator[Asking]:
    with stand_in(**server) as other:
        site = Site(601, "anna", {"blank": True}, patience=2.0, interactive=Interactive(url or other.url, patience))
        with client(601, site=site) as inside:
            yield Asking(inside, other, tasks.seen[0].id)
        site.interactive.close()


@pytest.fixture
def here(tasks):
    with asking(tasks) as made:
        yield made


def test_a_prompt_is_answered_in_the_whole_crop(here):
    found, number = here()
    assert number == 1
    np.testing.assert_array_equal(found, grown(here.images[0].astype(float), here.voxel()))
    (image,) = here.server.images
    np.testing.assert_array_equal(image, here.images[0][None])
    assert image.dtype == here.images[0].dtype  # as it is, not rescaled


def test_only_voxels_leave_the_machine(here, tasks):
    here()
    here(kind="scribble", after=1)
    told = json.dumps([here.server.headers, [what for name, what in here.server.calls if name == "set_image"]])
    for name in (tasks.patch(tasks.seen[0]).case, "tiny", "anna", "c000", str(tasks.experiment.raw), "601", "organ", "lesion"):
        assert name not in told, name
    assert [what for name, what in here.server.calls if name == "set_image"] == [{"image_properties": {}}]


def test_the_image_is_sent_once_and_anew_for_another_channel(here):
    for after in (0, 1, 0):
        here(after=after)
    assert here.server.names() == ["claim", "set_image", "reset", "point", "point", "reset", "point"]
    _, number = here(channel=1, after=3)
    np.testing.assert_array_equal(here.server.images[1], here.images[1][None])
    assert here.server.names()[-3:] == ["set_image", "reset", "point"]
    here(channel=1, after=number)
    assert here.server.names()[-1:] == ["point"]
    assert len(here.server.images) == 2


def test_what_is_painted_is_what_the_object_begins_with(here):
    region = grown(here.images[0].astype(float), here.voxel())
    start = here.voxel(*np.argwhere(~region)[0])
    found, number = here(start=start)
    np.testing.assert_array_equal(found, region | start)
    found, _ = here(start=start, include=0, after=number)
    np.testing.assert_array_equal(found, start)
    assert here.server.names() == ["claim", "set_image", "initial", "point", "point"]


def test_undone_in_the_page_is_undone_there(here):
    first, one = here()
    _, two = here(include=0, after=one)
    again, three = here(here.voxel(0, 0, 0), after=one)  # the page shows the first result again
    assert here.server.names()[-2:] == ["undo", "point"]
    np.testing.assert_array_equal(again & first, first)
    assert (one, two, three) == (1, 2, 3)
    here(after=two)  # of no result that is left: from what is painted
    assert here.server.names()[-2:] == ["reset", "point"]


def test_a_server_without_undo_begins_with_what_is_painted(tasks):
    with asking(tasks, supports_undo=False) as here:
        first, one = here()
        here(include=0, after=one)
        here(start=first, after=one)
        assert here.server.names()[-2:] == ["initial", "point"]


def test_each_person_has_a_session_and_gives_it_back(here, tasks):
    here()
    with client(601, "ben", here.client.site, here.client.made) as other:
        Asking(other, here.server, tasks.seen[0].id)()
        assert len(here.server.sessions) == 2
        assert here.client.post(f"{here.address}/left").status_code == 204
        until(lambda: len(here.server.sessions) == 1)
        here.client.site.interactive.close()
        assert here.server.sessions == {}


def test_sessions_that_nobody_uses_are_given_back(here, monkeypatch):
    here()
    here.client.site.interactive.ask("ben", "other", lambda: here.images[0], a_prompt(here.voxel()))
    monkeypatch.setattr(interactive_module, "IDLE", -1.0)
    here.client.site.interactive._sweep()
    until(lambda: here.server.sessions == {})


def a_prompt(mask: np.ndarray) -> Prompt:
    return Prompt("point", True, mask, 0, np.zeros(mask.shape, bool), 0)


def test_a_session_that_the_server_forgot_is_begun_anew(here):
    found, number = here()
    here.server.sessions.clear()
    again, other = here(after=number)
    np.testing.assert_array_equal(found, again)
    assert other != number
    assert here.server.names().count("set_image") == 2


def test_a_wrong_answer_is_refused_and_the_next_one_counts(here):
    wrong = {
        "shape": "voxels for the region",
        "outside": "voxels for the region",
        "values": "other than 0 and 1",
        "image": "took an image",
        "damaged": "did not answer as an nnInteractive server does",
        "text": "did not answer as an nnInteractive server does",
        "error": "entirely zero",
    }
    for kind, words in wrong.items():
        here.client.post(f"{here.address}/left")  # the image is sent again, too
        until(lambda: here.server.sessions == {})
        here.server.wrong = kind
        assert words in here.refused(), kind
        here.server.wrong = ""
        found, _ = here()
        np.testing.assert_array_equal(found, grown(here.images[0].astype(float), here.voxel()))
        until(lambda: len(here.server.sessions) == 1)  # the broken one was given back


def test_a_server_that_is_not_there(tasks):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with asking(tasks, url=f"http://127.0.0.1:{port}") as here:
        said = here.refused()
        assert "cannot be reached" in said
        assert "nninteractive-server" in said
        assert "WARNING" in here.client.site.interactive.greeting()


def test_a_server_that_does_not_answer_in_time(tasks):
    with asking(tasks, patience=0.5, delay=3.0) as here:
        assert "did not answer within 0.5 s" in here.refused()
        here.server.delay = 0.0
        here()
    with asking(tasks, patience=0.5, image_delay=3.0) as here:
        assert "did not answer within 0.5 s" in here.refused()


def test_something_else_that_listens_there(tasks):
    with asking(tasks) as other, asking(tasks, url=f"{other.server.url}/elsewhere") as here:
        assert "refused the prompt: 404" in here.refused()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def nonsense() -> None:
            talk, _ = listening.accept()
            talk.recv(1000)
            talk.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
            talk.close()

        threading.Thread(target=nonsense, daemon=True).start()
        with asking(tasks, url=f"http://127.0.0.1:{listening.getsockname()[1]}") as here:
            assert "broke" in here.refused()


def test_a_full_server_says_so(tasks):
    with asking(tasks, most=0) as here:
        assert "no free session" in here.refused()


def test_the_key_comes_from_the_environment(tasks, monkeypatch):
    with asking(tasks, key="secret") as here:
        assert "NN_INTERACTIVE_API_KEY" in here.refused()
        monkeypatch.setenv("NN_INTERACTIVE_API_KEY", "secret")
        here()


def test_what_the_model_cannot_do_is_said(tasks):
    with asking(tasks, supports={"points": True, "scribble": False, "lasso": True}, supports_start=False) as here:
        assert "no prompt of the kind scribble" in here.refused(kind="scribble")
        assert "New object" in here.refused(start=here.voxel())
        here()


def test_a_redirect_is_not_followed(tasks):
    """Images go to the address that was given, and nowhere else."""
    with asking(tasks) as other, socket.create_server(("127.0.0.1", 0)) as listening:
        reply = f"HTTP/1.1 307 Moved\r\nlocation: {other.server.url}/claim\r\ncontent-length: 0\r\n\r\n"

        def move() -> None:
            talk, _ = listening.accept()
            talk.recv(1000)
            talk.sendall(reply.encode())

        threading.Thread(target=move, daemon=True).start()
        with asking(tasks, url=f"http://127.0.0.1:{listening.getsockname()[1]}") as here:
            assert "307" in here.refused()
        assert other.server.sessions == {}


def test_what_no_page_sends_is_refused(here):
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"kind": "box"}, "a prompt is one of"),
        ({"channel": 2}, "2 channels"),
        ({"channel": -1}, "2 channels"),
        ({"include": "x"}, "no number"),
        ({"content": b"not a gzip"}, "not packed"),
        ({"content": gzip.compress(b"\0" * 50)}, "voxels of the crop"),
        ({"content": b"\0" * (1 << 20)}, "bytes"),
        ({"content": gzip.compress(b"\0" * (1 << 23))}, "voxels of the crop"),
    ]
    for query, words in wrong:
        assert words in here.refused(**query), query
    assert here.server.calls == []


def test_a_point_is_one_voxel_and_a_prompt_is_not_empty(here):
    assert "0 voxels" in here.refused(np.zeros(here.shape, bool), kind="lasso")
    assert "2 voxels" in here.refused(here.voxel() | here.voxel(0, 0, 0))
    assert here.server.calls == []


def test_another_task_or_no_token_is_refused(here):
    assert here.client.post("/tasks/c009_001_tiny_1/prompt").status_code == 404
    here.client.cookies.clear()
    assert here.client.post(here.address).status_code == 403
    assert here.client.post(f"{here.address}/left").status_code == 403


def test_without_the_flag_there_is_no_such_address(tasks):
    with client(601) as plain:
        page = plain.get(f"/tasks/{tasks.seen[0].id}").text
        assert "interactive.js" not in page
        assert "nnInteractive" not in page
        assert plain.post(f"/tasks/{tasks.seen[0].id}/prompt").status_code == 404


def test_the_page_says_where_images_go_and_under_which_licence(tasks):
    with stand_in(licence="CC BY-NC-SA 4.0 <b>") as server:
        here = Interactive(server.url)
        said = here.greeting()
        assert server.url in said
        assert "CC BY-NC-SA 4.0" in said
        assert "sent to" not in said  # it is this machine
        until(lambda: server.sessions == {})
        with client(601, site=Site(601, "anna", {"blank": True}, patience=2.0, interactive=here)) as inside:
            page = inside.get(f"/tasks/{tasks.seen[0].id}").text
            assert "CC BY-NC-SA 4.0 &lt;b&gt;" in page
            assert "send the image" not in page
    away = Interactive("http://gpu-box.invalid:1527/", 0.5)
    assert away.away == "gpu-box.invalid"
    assert "sent to gpu-box.invalid" in away.greeting()
    with client(601, site=Site(601, "anna", {"blank": True}, patience=2.0, interactive=away)) as inside:
        page = inside.get(f"/tasks/{tasks.seen[0].id}")
        assert "send the image of the task to gpu-box.invalid" in page.text
        assert "gpu-box" not in page.headers["content-security-policy"]  # the browser talks to this server only


@pytest.mark.parametrize(
    "url", ["gpu-box:1527", "ftp://gpu-box", "file:///etc/passwd", "", "http://", "http://[", "http://x:0", "http://x/?a=1"]
)
def test_only_addresses_of_servers_are_taken(url):
    with pytest.raises(NnActiveError, match="-nninteractive"):
        interactive_at(url)


def test_a_password_in_the_address_is_refused_and_not_repeated():
    with pytest.raises(NnActiveError, match="NN_INTERACTIVE_API_KEY") as error:
        interactive_at("http://anna:hunter2@gpu-box:1527")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.0.0.5"])
def test_this_machine_is_not_away(host):
    assert interactive_at(f"http://{host}:1527").away == ""


def test_without_the_client_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "nnInteractive.inference.remote", None)
    with pytest.raises(NnActiveError, match=r"nnactive-ext\[nninteractive\]"):
        interactive_at("http://gpu-box:1527")


def test_the_client_brings_no_torch_into_the_server():
    script = "import sys; from nnactive_ext.serve.remote import client; client(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_thickness_and_licence_that_no_server_should_state():
    class Odd:
        license = None
        preferred_scribble_thickness = None

    made = remote.Remote(Odd())
    assert (made.licence, made.thickness) == ("", 2)
    here = Interactive("http://x")
    for licence in ("", "!!MISSING!!"):
        here.licence = licence
        assert "not stated" in here.terms


def page_of(address: str) -> bytes:
    end = time.monotonic() + 20
    while True:
        try:
            return urlopen(address).read()
        except URLError:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_the_command_says_where_images_go(tasks):
    with stand_in() as server:
        command = [sys.executable, "-m", "nnactive_ext.cli.annotate", "serve", "-d", "601", "--no_browser"]
        started = subprocess.Popen(
            [*command, "-nninteractive", server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
        )
        try:
            lines = [started.stdout.readline() for _ in range(2)]
            address = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", lines[0])[0]
            assert page_of(address)
        finally:
            started.send_signal(2)
            _, error = started.communicate(timeout=30)
    assert server.url in lines[1]
    assert "CC BY-NC-SA 4.0" in lines[1]
    assert "Traceback" not in error

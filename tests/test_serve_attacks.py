"""What somebody else tries: another program or page of this machine, another name of it, broken requests, hostile names."""

from __future__ import annotations

import gzip
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import TOKEN, Client, Serving, client, person, serving
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from nnactive_ext.cli import plan
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.labelling.tasks import all_tasks
from nnactive_ext.serve.answers import TooLarge, check_size
from nnactive_ext.serve.safety import Guard

PAGE = {"shape": (10, 20, 30)}
NUMBERS = {"label_version": 0, "seconds": 0, "revision": 0}


@pytest.fixture
def inside(tasks) -> Iterator[Client]:
    with client(601) as asking:
        yield asking


def raw(served: Serving, *parts: bytes) -> bytes:
    """What the server replies to bytes of a socket."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=120) as sending:
        for part in parts:
            sending.sendall(part)
        found = b""
        while more := sending.recv(1 << 16):
            found += more
    return found


def head(served: Serving, request: str, *more: str, host: str = "127.0.0.1", inside: bool = True) -> bytes:
    cookie = [f"Cookie: {Guard(served, TOKEN).cookie}={TOKEN}"] if inside else []
    return "\r\n".join([request, f"Host: {host}", "Connection: close", *cookie, *more, "", ""]).encode("latin-1")


def status(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1])


# Token and cookie.


def test_two_servers_of_one_machine_keep_their_people(inside):
    """Cookies know no ports: a browser sends those of one server to the other."""
    jar: dict[str, str] = {}
    guards = [Guard(inside.made.app, token) for token in (TOKEN, "the-token-of-another-server")]

    def ask(guard: Guard, **more: Any) -> httpx.Response:
        reply = TestClient(guard, base_url="http://127.0.0.1:8000", cookies=jar).get("/", **more)
        jar.update(reply.cookies)
        return reply

    first, second = guards
    assert ask(first, params={"token": first.token}).status_code == 200
    assert ask(second).status_code == 403, "the cookie of one opens the other"
    assert ask(second, params={"token": second.token}).status_code == 200
    assert [ask(guard).status_code for guard in guards] == [200, 200], "one has logged the other out"
    swapped = {first.cookie: second.token, second.cookie: first.token}
    for guard in guards:
        assert TestClient(guard, base_url="http://127.0.0.1:8000", cookies=swapped).get("/").status_code == 403


@pytest.mark.parametrize(
    "others",
    ['theme={"dark": true}', "a=b c; d", "=x", 'session="un;closed', "ä=ö", "expires=Thu, 01 Jan 1970", "x=" + "y" * 4000],
)
def test_cookies_of_other_programs_keep_nobody_out(inside, others):
    own = f"{Guard(inside.made, TOKEN).cookie}={TOKEN}"
    asking = TestClient(inside.made, base_url="http://127.0.0.1:8000")
    for line in (f"{others}; {own}", f"{own}; {others}"):
        assert asking.get("/", headers={"cookie": line.encode("latin-1")}).status_code == 200, line
    assert asking.get("/", headers={"cookie": others.encode("latin-1")}).status_code == 403
    overwritten = f"{Guard(inside.made, TOKEN).cookie}=other; {own}"
    assert asking.get("/", headers={"cookie": overwritten}).status_code == 200, "another program has logged people out"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "QUERY"])
def test_the_token_lets_in_by_its_address_only(tasks, method):
    with client(601, inside=False) as outside:
        reply = outside.request(method, "/", params={"token": TOKEN})
        assert reply.status_code == 403
        assert "set-cookie" not in reply.headers
        for header in ({"authorization": f"Bearer {TOKEN}"}, {"referer": f"http://127.0.0.1:8000/?token={TOKEN}"}):
            assert outside.get("/", headers=header).status_code == 403


def test_no_reply_repeats_the_token(inside, tasks):
    entered = inside.get("/", params={"token": TOKEN})
    assert entered.headers["referrer-policy"] == "no-referrer"
    replies = [entered, *map(inside.get, ("/", f"/tasks/{tasks.seen[0].id}", "/points", "/nothing", f"/tasks/{TOKEN[:3]}"))]
    for reply in replies:
        assert TOKEN not in reply.text
        assert TOKEN not in str([value for name, value in reply.headers.items() if name != "set-cookie"])


def test_a_browser_hands_the_token_to_nobody(tasks, browser):
    with serving(601) as served, person(browser, served) as one:
        asked: list[Any] = []
        one.page.on("request", lambda request: asked.append(request))
        one.page.goto(served.entry)
        one.page.wait_for_url(f"{served.address}/")
        one.page.locator("a.annotate").first.click()
        one.ready()
        assert one.page.evaluate("document.cookie") == ""
        referers = [request.all_headers().get("referer", "") for request in asked if request.url.startswith("http")]
    assert len(asked) > 5
    assert not [referer for referer in referers if TOKEN in referer]
    for request in asked[1:]:
        assert TOKEN not in request.url
        assert request.url.startswith((served.address, "blob:", "data:")), "nothing is loaded from elsewhere"


# Host and origin.


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example:8000",
            "127.0.0.1@evil.example",
            "[::1].evil.example",
            "[::ffff:10.0.0.7]:8000",
            "0.0.0.0:8000",
            "127.1",
        ),
        *("2130706433", "localhost.", "127.0.0.1.nip.io", "127.0.0.1:8000:1", "127.0.0.1, evil.example", "localhost evil"),
        *("[::1]evil:80", ":8000", "127.0.0.1/evil", "[fe80::1%25eth0]"),
    ],
)
def test_a_name_that_may_point_anywhere_is_refused(inside, host):
    assert inside.get("/", headers={"host": host}).status_code == 403
    assert inside.get("/", params={"token": TOKEN}, headers={"host": host}).status_code == 403
    for header in ("x-forwarded-host", "forwarded"):
        assert inside.get("/", headers={"host": host, header: "127.0.0.1"}).status_code == 403


def test_a_server_for_the_network_takes_no_name_for_granted(inside):
    for host in ("evil.example", "", "localhost.evil.example", "::"):
        guard = Guard(inside.made.app, TOKEN, "")
        assert TestClient(guard, base_url="http://x").get("/", headers={"host": host}).status_code == 403


@pytest.mark.parametrize(
    "origin", ["null", "http://[evil", "file://", "", "http://127.0.0.1", "http://localhost:8000", "http://127.0.0.1:8000.evil"]
)
def test_a_strange_origin_changes_nothing(inside, tasks, origin):
    task = tasks.seen[0].id
    for method, address in (("PUT", f"/tasks/{task}"), ("POST", f"/tasks/{task}/here"), ("POST", "/who"), ("POST", "/points")):
        assert inside.request(method, address, headers={"origin": origin}).status_code == 403
    assert tasks.events() == []


@pytest.mark.parametrize("site", ["same-site", "cross-site"])
def test_pages_of_other_ports_load_nothing(inside, tasks, site):
    """A browser sends the cookie along with what a page of another port asks for."""
    task = f"/tasks/{tasks.seen[0].id}"
    for address in ("/", task, f"{task}/image/0", f"{task}/crop", "/points/tiny_1/facts", "/assets/task.js"):
        for mode in ("no-cors", "cors", "same-origin", "websocket"):
            headers = {"sec-fetch-site": site, "sec-fetch-mode": mode}
            assert inside.get(address, headers=headers).status_code == 403
    for where, mode in ((site, "navigate"), ("none", "navigate"), ("same-origin", "cors")):
        assert inside.get("/", headers={"sec-fetch-site": where, "sec-fetch-mode": mode}).status_code == 200
    assert inside.get("/").headers["cross-origin-resource-policy"] == "same-origin"


def test_a_page_of_another_port_gets_nothing_in_a_real_browser(tasks, browser):
    """With the cookie in the browser: by fetch, image, script, frame and form."""
    with serving(601) as served, serving(601) as other, person(browser, served, quiet=False) as one:
        task = f"{served.address}/tasks/{tasks.seen[0].id}"
        one.page.route(f"{other.address}/evil", lambda route: route.fulfill(content_type="text/html", body="<h1>evil</h1>"))
        one.page.goto(f"{other.address}/evil")
        found = one.page.evaluate(
            """async task => {
              const tried = async given => {
                try { return (await fetch(task + "/crop", given)).status; } catch { return "failed"; }
              };
              const loaded = (name, url) => new Promise(done => {
                const made = document.createElement(name);
                made.onload = () => done("loaded");
                made.onerror = () => done("failed");
                made.src = url;
                document.body.append(made);
              });
              const opaque = {credentials: "include", mode: "no-cors"};
              return [
                await tried({credentials: "include"}),
                await tried({credentials: "include", method: "PUT", body: "x"}),
                await loaded("img", task + "/picture/0"),
                await loaded("script", task + "/crop"),
                await tried(opaque),
                await fetch(task + "/here?tab=evil", {...opaque, method: "POST"}).then(() => "sent", () => "failed"),
              ];
            }""",
            task,
        )
        assert found[:5] == ["failed"] * 5
        one.page.goto(served.address)
        assert one.page.locator(".taken").count() == 0, "another port's page has opened a task"
        assert one.page.locator("[data-task]").count() == len(tasks.seen), "and the cookie is still there"


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        ({"origin": "http://127.0.0.1:8000"}, True),
        ({}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://127.0.0.1:3000"}, False),
        ({"origin": "http://127.0.0.1:8000", "host": "evil.example"}, False),
        ({"origin": "http://127.0.0.1:8000", "cookie": "other=1"}, False),
    ],
)
def test_only_pages_of_the_server_open_a_websocket(headers, taken):
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close()

    guard = Guard(Starlette(routes=[WebSocketRoute("/", echo)]), TOKEN)
    asking = TestClient(guard, base_url="http://127.0.0.1:8000")
    given = {"host": "127.0.0.1:8000", "cookie": f"{guard.cookie}={TOKEN}", **headers}
    if taken:
        with asking.websocket_connect("/", headers=given) as opened:
            opened.send_text("hello")
            assert opened.receive_text() == "hello"
    else:
        for address in ("/", f"/?token={TOKEN}"):
            with pytest.raises(WebSocketDisconnect), asking.websocket_connect(address, headers=given):
                pass


# Bytes on the wire.


def test_broken_requests_are_refused_and_the_server_goes_on(tasks):
    with serving(601) as served:
        task = f"/tasks/{tasks.seen[0].id}"
        for request, *more in (
            ("GET / HTTP/1.1", "Host: evil.example"),  # a second one
            ("GET http://evil.example/ HTTP/1.1", "X: 1"),
            ("GET /tasks/%2e%2e/%2e%2e/etc/passwd HTTP/1.1",),
            (f"GET {task}/..%2f..%2f..%2fdataset.json HTTP/1.1",),
            (f"GET {task}%00/label HTTP/1.1",),
            ("GET /tasks/%ff%fe/label HTTP/1.1",),
            ("GET /points/%5c..%5c..%5c/image HTTP/1.1",),
            ("GET /assets/%252e%252e%252fapp.py HTTP/1.1",),
            ("GET //evil.example/%2e%2e HTTP/1.1",),
            ("GET / HTTP/1.1", "X: " + "y" * (1 << 20)),
            (f"PUT {task}?label_version=0&seconds=0 HTTP/1.1", "Content-Length: -1"),
            (f"PUT {task}?label_version=0&seconds=0 HTTP/1.1", "Content-Length: 1", "Transfer-Encoding: chunked"),
            ("\0\1\2",),
        ):
            try:
                reply = raw(served, head(served, request, *more), b"0\r\n\r\n")
            except ConnectionError:
                continue
            if reply:
                assert status(reply) in (400, 403, 404, 405, 413, 422, 431), (request, reply[:300])
                assert b"root:" not in reply
                assert b"Traceback" not in reply
        assert status(raw(served, head(served, "GET / HTTP/1.1"))) == 200
    assert tasks.events() == []


def test_an_upgrade_of_somebody_else_is_refused(tasks):
    with serving(601) as served:
        upgrade = (
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        )
        for address in ("/", f"/tasks/{tasks.seen[0].id}", f"/tasks/{tasks.seen[0].id}/slicer"):
            for more in (("Origin: http://evil.example",), ("Origin: null",)):
                with socket.create_connection(("127.0.0.1", served.port), timeout=120) as sending:
                    sending.sendall(head(served, f"GET {address} HTTP/1.1", *upgrade, *more))
                    assert b" 101 " not in sending.recv(1 << 12)[:20]


def test_an_upload_without_a_length_is_cut_off(tasks):
    with serving(601) as served:
        request = head(
            served, f"PUT /tasks/{tasks.seen[0].id}?label_version=0&seconds=0 HTTP/1.1", "Transfer-Encoding: chunked"
        )
        chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
        sent, reply = 0, b""
        with socket.create_connection(("127.0.0.1", served.port), timeout=120) as sending:
            sending.sendall(request)
            try:
                while sent < 1 << 30:
                    sending.sendall(chunk)
                    sent += len(chunk)
            except (ConnectionError, TimeoutError):
                pass
            try:
                reply = sending.recv(1 << 12)
            except ConnectionError:
                pass
        assert sent < 64 << 20, "a gigabyte was read"
        assert not reply or status(reply) == 413
    assert tasks.events() == []


def test_a_slow_upload_keeps_nobody_waiting(tasks):
    """Nobody holds the experiment, or a place at the server, while bytes come in."""
    with serving(601) as served:
        address = f"/tasks/{tasks.seen[0].id}?label_version=0&seconds=0&revision=0"
        slow = []
        for _ in range(60):  # more than there are threads
            sending = socket.create_connection(("127.0.0.1", served.port), timeout=120)
            sending.sendall(head(served, f"PUT {address} HTTP/1.1", "Content-Length: 100") + b"x")
            slow.append(sending)
        time.sleep(0.5)
        with httpx.Client(base_url=served.address, timeout=120) as asking:
            assert asking.get("/", params={"token": TOKEN}).status_code == 200
            assert asking.get("/").status_code == 200
            content = asking.get(f"/tasks/{tasks.seen[1].id}/label").content
            reply = asking.put(f"/tasks/{tasks.seen[1].id}", params=NUMBERS, content=content)
            assert reply.status_code in (200, 422)
        for sending in slow:
            sending.close()
    assert {event["task"] for event in tasks.events()} <= {tasks.seen[1].id}


# What is sent.


def nifti(shape: tuple[int, ...], kind: int = 2, size: int = 1, magic: bytes = b"n+1\0", offset: float = 352) -> bytes:
    """A NIfTI header with one byte behind it."""
    made = bytearray(353)
    struct.pack_into("<i", made, 0, 348)
    struct.pack_into("<8h", made, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<2h", made, 70, kind, 8 * size)
    struct.pack_into("<8f", made, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", made, 108, offset)
    made[344:348] = magic
    return bytes(made)


@pytest.mark.parametrize(
    "content",
    [
        nifti((30000, 30000, 30000)),
        nifti((2000, 2000, 2000), 64, 8),
        nifti((1, 1, 1), magic=b"ni1\0"),
        nifti((5, 5, 5), offset=1e9),
        nifti((-5, 5, 5)),
        nifti((3, 3, 3, 3, 3, 3, 3)),
    ],
)
def test_a_header_that_lies_takes_no_memory(inside, tasks, content):
    def most() -> int:
        (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1])

    task = f"/tasks/{tasks.seen[0].id}"
    inside.get(f"{task}/crop")
    before = most() if os.path.exists("/proc/self/status") else 0
    for packed in (gzip.compress(content), content):
        assert inside.put(task, params=NUMBERS, content=packed).status_code in (413, 422)
    if before:
        assert most() - before < 200_000, "kB"
    assert tasks.events() == []


def test_a_bomb_is_not_unpacked():
    small, bomb = gzip.compress(bytes(100)), gzip.compress(bytes(1 << 24))
    check_size(small, PAGE)
    for content in (bomb[: len(bomb) // 2], bomb):
        with pytest.raises(TooLarge):
            check_size(content, PAGE)
    for content in (small + small, small + b"\0" * 10, small + b"more"):  # readers go on behind the end
        with pytest.raises(TooLarge):
            check_size(content, PAGE)
    twice = gzip.compress(bomb)
    check_size(twice, PAGE)  # which unpacks once, to less than a crop


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"[" * 100_000,
            b'[{"case": "tiny_1", "class": "organ", "ras": [1' + b"0" * 400 + b", 0, 0]}]",
            b"\xff\xfe",
            b"{}",
            b"1",
        ),
        *(
            b'[{"case": {}, "class": [], "ras": [NaN, Infinity, 0]}]',
            b'[{"case": "tiny_1", "class": "organ", "ras": [1e999, 0, 0]}]',
        ),
        b'[{"case": "../../etc", "class": "organ", "ras": [0, 0, 0]}]',
        b'[{"case": "tiny_1\\nx,y", "class": "organ", "ras": [0, 0, 0]}]',
    ],
)
def test_points_that_are_none_are_refused(inside, tasks, content):
    before = tasks.events("points")
    assert inside.post("/points", content=content).status_code == 422
    assert tasks.events("points") == before


def test_another_datasets_ids_are_unknown(inside, tasks):
    """Also an id that another experiment of the same machine has, for reading and for writing."""
    for task in ("c000_001_liver_1", "c001_001_tiny_1", tasks.seen[0].id.upper(), tasks.seen[0].id + " ", tasks.seen[0].id[:8]):
        assert inside.get(f"/tasks/{task}/label").status_code == 404
        assert inside.put(f"/tasks/{task}", params=NUMBERS, content=b"x").status_code == 404
        assert inside.put(f"/tasks/{task}/draft", params=NUMBERS, content=b"x").status_code == 404
        assert inside.post(f"/tasks/{task}/here").status_code == 404
    assert tasks.events() == []
    assert not list((tasks.experiment.annotation / "browser").glob("drafts/*"))


# Text in names.

EVIL = "'><img src=x onerror=alert(1)><script>alert(2)</script>&lt;</script>${alert(3)}{{7*7}}\u202etfel"


@pytest.mark.slow
def test_hostile_names_are_shown_as_text(rollout, browser, tmp_path):
    """Of classes, cases and people, in Chromium: nothing runs, and the pages show what was given."""
    evil = EVIL.replace("/", "").replace(" ", "_")
    for file in list(rollout.images.iterdir()):
        file.rename(file.with_name(file.name.replace("_T", f"{evil}_T")))
    options = (
        "-channels T1 T2 -patch_size 5 5 3 -starting_budget 6 -query_size 4 -cycles 3 -folds 2 --preset cpu -np 1 "
        "--disable_progress_bar"
    )
    plan.main(["-i", str(rollout.images), "-o", "601", "-name", "Tiny", "--labels", EVIL, "lesion", *options.split()])
    experiment = Experiment.find(601)
    assert EVIL in experiment.dataset.labels.names
    task = all_tasks(experiment)[0]
    with serving(601, who=EVIL) as served, person(browser, served, quiet=False) as one:
        alerts: list[str] = []
        one.page.on("dialog", lambda dialog: (dialog.type == "alert" and alerts.append(dialog.message), dialog.accept()))
        one.page.locator("a.annotate").first.click()
        one.ready()
        assert one.page.locator(".labels b").first.text_content() == EVIL
        assert EVIL in one.page.locator("header").text_content()
        assert one.page.locator("h1").text_content() == task.id
        one.page.goto(f"{served.address}/points")
        one.ready()
        one.key("m")
        assert EVIL in one.page.locator("#marks").text_content()
        one.page.goto(f"{served.address}/tasks/{EVIL.replace('/', '')}")
        for page in ("/", "/points"):
            one.page.goto(served.address + page)
            assert one.page.evaluate("document.querySelectorAll('img[src=x]').length") == 0
            assert "49" not in one.page.locator("header").text_content()
        assert alerts == []

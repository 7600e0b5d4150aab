"""Each line of what keeps others out, asked as somebody else would ask."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from serving import TOKEN, Client, client
from starlette.testclient import TestClient

from nnactive_ext.cli import annotate
from nnactive_ext.errors import NnActiveError
from nnactive_ext.serve.answers import TooLarge, check_size
from nnactive_ext.serve.safety import LOOPBACK, Guard, check_host, new_token

PAGE = {"shape": (10, 20, 30)}


@pytest.fixture
def inside(tasks):
    with client(601) as asking:
        yield asking


@pytest.fixture
def outside(tasks):
    with client(601, inside=False) as asking:
        yield asking


def addresses(tasks) -> list[tuple[str, str]]:
    task = f"/tasks/{tasks.seen[0].id}"
    return [
        *(("GET", address) for address in ("/", task, f"{task}/crop", f"{task}/image/0", f"{task}/label", "/points")),
        *(("GET", address) for address in ("/points/tiny_1/facts", "/points/tiny_1/image", "/assets/niivue.js")),
        *(("PUT", address) for address in (task, f"{task}/draft")),
        *(("POST", address) for address in (f"{task}/here", f"{task}/left", "/points", "/who")),
    ]


def test_without_the_token_nothing_is_answered(outside, tasks):
    for method, address in addresses(tasks):
        for query in ("", "?token=wrong", f"?token={TOKEN[:-1]}", "?token=") if address == "/" else ("", f"?token={TOKEN}"):
            reply = outside.request(method, address + query)
            assert reply.status_code == 403, (method, address, query)
            assert "tiny" not in reply.text


def test_a_wrong_cookie_is_none(outside):
    name = Guard(outside.made, TOKEN).cookie
    for value in ("", "wrong", TOKEN + "x"):
        outside.cookies.set(name, value)
        assert outside.get("/").status_code == 403
    outside.cookies.set(name, TOKEN)
    assert outside.get("/").status_code == 200


def test_the_cookie_is_for_this_server_only_and_for_no_script(outside):
    cookie = outside.get("/", params={"token": TOKEN}).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Domain" not in cookie
    assert new_token() != new_token()
    assert len(new_token()) >= 43  # 256 bits


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8000", "10.0.0.7", "", "localhost.x"])
def test_another_host_name_is_refused(inside, host):
    assert inside.get("/", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9", "127.0.0.1:65000", "[::1]:8", "LOCALHOST:80"])
def test_the_port_may_be_that_of_a_tunnel(inside, host):
    assert inside.get("/", headers={"host": host}).status_code == 200


def test_for_the_network_only_addresses_and_the_own_name_are_taken(inside):
    guard = Guard(inside.made.app, TOKEN, "0.0.0.0")
    asking = TestClient(guard, base_url="http://192.168.3.4:8000")
    assert asking.get("/", params={"token": TOKEN}).status_code == 200
    assert asking.get("/").status_code == 200
    assert asking.get("/", headers={"host": "evil.example"}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},  # another port of this machine
    ],
)
def test_pages_of_others_change_nothing(inside, tasks, headers):
    for method, address in addresses(tasks):
        if method != "GET":
            assert inside.request(method, address, headers=headers).status_code == 403, address
    assert tasks.events() == []
    own = {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}
    assert inside.post(f"/tasks/{tasks.seen[0].id}/here", headers=own).status_code == 200


def test_no_other_origin_may_read_or_be_loaded(inside, outside, tasks):
    for asking in (inside, outside):
        for method, address in addresses(tasks):
            headers = asking.request(method, address, headers={"origin": "http://evil.example"}).headers
            assert not [name for name in headers if name.startswith("access-control")]
            policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
            assert policy["default-src"] == "'none'"
            assert policy["frame-ancestors"] == "'none'"
            assert policy["script-src"] == "'self'"
            assert not [word for sources in policy.values() for word in sources.split() if "http" in word or "*" in word]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
    preflight = {"origin": "http://evil.example", "access-control-request-method": "PUT"}
    assert inside.options("/", headers=preflight).status_code == 403
    for page in (inside.get("/").text, inside.get(f"/tasks/{tasks.seen[0].id}").text, inside.get("/points").text):
        assert not re.findall(r"(?:src|href|action)=[\"']?(?:https?:|//)", page)


@pytest.mark.parametrize(
    "address",
    [
        "/tasks/../../../etc/passwd",
        "/tasks/%2e%2e%2f%2e%2e/label",
        "/tasks/..%2f..%2fdataset.json/label",
        "/tasks/c000_001/label",
        "/tasks/c000_999_tiny_1/crop",
        "/tasks/c000_001_liver_1/image/0",
        "/points/..%2f..%2f/image",
        "/points/tiny_7%2f..%2f/facts",
        "/points/%2e%2e/facts",
        "/assets/..%2fapp.py",
        "/assets/pages.css",
    ],
)
def test_nothing_else_can_be_reached(inside, address):
    reply = inside.get(address)
    assert reply.status_code == 404, reply.text
    assert "root:" not in reply.text


def test_a_channel_or_picture_that_is_not_there(inside, tasks):
    task = f"/tasks/{tasks.seen[0].id}"
    for address in ("image/2", "image/99", "picture/7"):
        reply = inside.get(f"{task}/{address}")
        assert reply.status_code == 404, reply.text
    for address in ("image/-1", "image/x", "picture/..%2fpage.json"):
        assert inside.get(f"{task}/{address}").status_code == 404


def test_an_upload_has_the_size_of_a_crop_at_most(inside, tasks):
    task = f"/tasks/{tasks.seen[0].id}"
    read = []

    def endless():
        for _ in range(1 << 20):
            read.append(1)
            yield b"\0" * 1024

    query = {"label_version": 0, "seconds": 0, "revision": 0}
    bomb = gzip.compress(b"\0" * (1 << 26))
    for more in ("", "/draft"):
        assert inside.put(task + more, params=query, content=bomb).status_code == 413
        assert inside.put(task + more, params=query, content=b"\0" * (1 << 20)).status_code == 413
    assert inside.put(task, params=query, content=b"", headers={"content-length": str(1 << 30)}).status_code == 413
    assert inside.put(task, params=query, content=endless()).status_code == 413
    assert inside.post("/points", content=b" " * (1 << 21)).status_code == 413
    assert inside.post("/who", content=b"who=" + b"a" * (1 << 13)).status_code == 413
    assert tasks.events() == []


def test_what_unpacks_to_a_crop_is_taken_and_more_is_not():
    check_size(gzip.compress(bytes(6000 + 352)), PAGE)
    with pytest.raises(TooLarge):
        check_size(gzip.compress(bytes(6000 + (1 << 15))), PAGE)
    with pytest.raises(TooLarge):
        check_size(np.random.default_rng(0).bytes(1 << 16), PAGE)


@pytest.mark.parametrize(
    "query", [{"seconds": "nan"}, {"seconds": -1}, {"seconds": "x"}, {"seconds": 1e9}, {"label_version": "1.5"}]
)
def test_numbers_that_are_none_are_refused(inside, tasks, query):
    task = f"/tasks/{tasks.seen[0].id}"
    assert inside.put(task, params={"label_version": 0, "seconds": 1, **query}, content=b"x").status_code == 422


def test_text_in_names_is_escaped(tasks):
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    with client(601, who=evil) as one:
        one.post(f"/tasks/{tasks.seen[0].id}/here", params={"tab": "1"})
        for address in ("/", f"/tasks/{tasks.seen[0].id}", "/points"):
            page = one.get(address).text
            assert "<script>alert" not in page
            assert "<img src=x" not in page
            assert "&lt;script&gt;alert" in page
        refused = one.get("/tasks/<img src=x>", headers={"accept": "text/html"})
        assert refused.status_code == 404
        assert "<img src=x" not in refused.text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "my.machine"])
def test_the_network_is_served_on_request_only(host):
    with pytest.raises(NnActiveError, match="--public"):
        check_host(host, public=False)
    check_host(host, public=True)


def test_this_machine_is_served():
    for host in LOOPBACK:
        check_host(host, public=False)


def test_the_command_refuses_the_network_and_says_why(tasks, capsys):
    with pytest.raises(SystemExit):
        annotate.main(["serve", "-d", "601", "-host", "0.0.0.0", "--no_browser"])
    said = capsys.readouterr().err
    assert "--public" in said
    assert "encrypted" in said


def test_the_command_serves_until_it_is_interrupted(tasks):
    """On this machine's own address, with a token of its own."""
    command = [sys.executable, "-m", "nnactive_ext.cli.annotate", "serve", "-d", "601", "-who", "anna", "--no_browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        line = server.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S{43,}", line)[0]
        end = time.monotonic() + 20
        while True:
            try:
                reply = urllib.request.urlopen(address)
                break
            except urllib.error.URLError:
                assert time.monotonic() < end
                time.sleep(0.1)
        assert reply.status == 200
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(address.split("?")[0])
    finally:
        server.send_signal(2)
        out, error = server.communicate(timeout=30)
    assert "has ended" in out
    assert "Traceback" not in error


def test_another_experiment_of_the_same_folder_is_not_served(inside: Client, tasks):
    """The address names tasks of one experiment only, whatever else lies in nnUNet_raw."""
    other = tasks.experiment.raw.parent / "Dataset700_Other"
    (other / "imagesTr").mkdir(parents=True)
    for address in ("/tasks/Dataset700_Other", "/tasks/..%2fDataset700_Other/label", "/points/Dataset700_Other/facts"):
        assert inside.get(address).status_code == 404

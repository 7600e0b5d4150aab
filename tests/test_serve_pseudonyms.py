"""Pages with pseudonyms: no byte that a browser gets names a case, whatever it asks for."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import SimpleITK as sitk
from serving import Client, client
from starlette.routing import Mount, Route
from test_pseudonyms import CASES, PATIENTS, SECRETS, nifti_folder

from nnactive_ext.cli import annotate, plan
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.pseudonyms import FILE, pseudonyms
from nnactive_ext.labelling.answers import CountingAnswers
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import all_tasks
from nnactive_ext.serve.disguise import WITHHELD, disguised
from nnactive_ext.serve.site import Site

WORDS = (*PATIENTS, *CASES, *SECRETS, "Meier", "Ayse", "Öztürk", "471108152931", "ward_7_oncology")
OPTIONS = (
    "--labels blood muscle -patch_size 4 16 16 -starting_budget 6 -query_size 2 -cycles 2 -folds 2 --preset cpu "
    "-training_hours 1 -np 1 --disable_progress_bar"
)


@pytest.fixture
def hospital(nnunet_folders: Any, tmp_path: Path) -> Experiment:
    """A roll-out on images whose names and headers name patients, with tasks around points."""
    folder = tmp_path / "ward_7_oncology"
    folder.mkdir()
    nifti_folder(folder)
    plan.main(["-i", str(folder), "-o", "601", "-name", "Heart", *OPTIONS.split()])
    rows = "".join(f"{case},blood,20,20,4\n" for case in CASES)
    (tmp_path / "points.csv").write_text(f"case,class,i,j,k\n{rows}")
    annotate.main(["points", "-d", "601", str(tmp_path / "points.csv")])
    return Experiment.find(601)


def private(number: int = 601, who: str = "anna") -> Any:
    site = Site(number, who, {"blank": True}, patience=2.0, private=True)
    site.give_pseudonyms()
    return client(number, who, site=site)


def spellings(word: str) -> set[bytes]:
    return {word.encode(), word.encode("utf-16-le"), json.dumps(word)[1:-1].encode(), ascii(word)[1:-1].encode()}


def named(reply: httpx.Response) -> set[str]:
    """Which words are in a reply: in its headers, its body, and what is packed in that."""
    body = reply.content
    parts = [body, *(part for pair in reply.headers.raw for part in pair)]
    if body.startswith(b"\x1f\x8b"):
        assert body[3] & 0b11100 == 0, "gzip's header may hold a name or a comment"
        parts.append(gzip.decompress(body))
    return {word for word in WORDS for one in spellings(word) if any(one.lower() in part.lower() for part in parts)}


def addresses(asking: Client, method: str) -> Iterator[str]:
    """Every address of the application that a browser can know, whichever routes there are."""
    site = asking.site
    experiment = site.experiment
    values = {
        "id": [site.shown(task).id for task in site.tasks(experiment)],
        "case": list(site.cases(experiment)),
        "channel": ["0", "7"],
        "number": ["0", "1", "2", "7"],
        "name": ["nothing.js"],  # the scripts are the same for every experiment
    }
    for route in asking.made.app.routes:
        if isinstance(route, Mount) and route.path == "/slicer":
            continue  # of 3D Slicer's own process, for a person who has one
        assert isinstance(route, Route), route
        if method in route.methods:
            paths = [route.path]
            for name in re.findall(r"\{(\w+)(?::\w+)?\}", route.path):
                pattern = re.compile(rf"\{{{name}(:\w+)?\}}")
                paths = [pattern.sub(value, path) for path in paths for value in values[name]]
            yield from paths


def packed(content: bytes, value: int, folder: Path) -> bytes:
    """A label map of a page with its patch painted."""
    file = folder / "sent.nii.gz"
    file.write_bytes(content)
    image = sitk.ReadImage(str(file))
    labels = sitk.GetArrayFromImage(image)
    labels[labels == 0] = value
    made = sitk.GetImageFromArray(labels)
    made.CopyInformation(image)
    sitk.WriteImage(made, str(file))
    return file.read_bytes()


def test_not_a_byte_names_a_patient(hospital, tmp_path, capfd):
    with private() as asking:
        accept = {"accept": "text/html"}
        before = [asking.get(address) for address in addresses(asking, "GET")]
        asked = len(before)
        replies = [*before, *(asking.get(address, headers=accept) for address in addresses(asking, "GET"))]
        labels = {str(reply.url): reply.content for reply in before if reply.url.path.endswith("/label")}
        numbers = {"label_version": 0, "seconds": 1, "revision": 0, "tab": "a"}
        for method in ("POST", "PUT"):
            for address in addresses(asking, method):
                if address.endswith("/slicer/open"):  # it reads no body
                    replies.append(asking.request(method, address, params=numbers))
                    continue
                label = next((c for url, c in labels.items() if url.endswith(f"{address.removesuffix('/draft')}/label")), b"")
                for body in (b"no NIfTI", gzip.compress(b"\0" * 500), label, label and packed(label, 1, tmp_path)):
                    replies.append(asking.request(method, address, params=numbers, content=body))
                replies.append(asking.request(method, address, content=label))
                replies.append(asking.request(method, address, params={**numbers, "tab": "b"}, content=label))
                replies.append(asking.request(method, address, params=numbers, content=bytes(3 << 20)))
        case = next(iter(asking.site.cases(hospital)))
        for ras in ([0, 0, 0], [-30.0, -30.0, 32.0], [9e5, 0, 0]):
            replies.append(asking.post("/points", json=[{"case": case, "class": "blood", "ras": ras}]))
        for names in ({"class": "no such"}, {"case": "no such"}):
            replies.append(asking.post("/points", json=[{"case": case, "class": "blood", "ras": [0, 0, 0], **names}]))
        replies += [asking.get(address) for address in addresses(asking, "GET")]
    assert asked > 30
    assert {reply.status_code for reply in replies} >= {200, 204, 404, 409, 413, 422}, "every kind of reply was seen"
    assert 500 not in {reply.status_code for reply in replies}
    for reply in replies:
        assert named(reply) == set(), (reply.request.method, str(reply.url), reply.text[:300])
    counted = CountingAnswers.of(Ledger(hospital.annotation))
    answered = {task.patch.case for task in all_tasks(hospital) if task.id in counted.answers}
    assert answered == set(CASES), "the ledger has the names"


def test_with_names_the_same_pages_have_them(hospital):
    with client(601) as asking:
        found = set().union(*(named(asking.get(address)) for address in addresses(asking, "GET")))
    assert {*CASES} <= found, "else the test before looks at nothing"
    assert not {*SECRETS} & found, "texts of headers are never sent out"


def test_a_name_does_not_tell_its_pseudonym(hospital, capfd):
    """Neither does a page for the name answer, nor does a message repeat one name as the other."""
    with private() as asking:
        names = pseudonyms(hospital.annotation)
        task = all_tasks(hospital)[0]
        shown = asking.site.shown(task).id
        for address in (f"/tasks/{task.id}", f"/tasks/{task.id}/crop", f"/points/{task.patch.case}/facts"):
            assert asking.get(address).status_code == 404
            assert asking.get(address).text == asking.get(address.replace(task.patch.case, "nobody")).text
        place = {"case": names[task.patch.case], "class": "blood", "ras": [0.0, 0.0, 0.0]}
        said = [
            asking.post("/points", json=[{**place, "case": task.patch.case}]),
            asking.post("/points", json=[{**place, "class": task.patch.case}]),
            asking.post("/points", json=[{task.patch.case: 1}]),
            asking.put(f"/tasks/{shown}", params={"seconds": task.patch.case, "label_version": 0}),
        ]
        for reply in said:
            assert reply.status_code in (404, 422)
            assert not [name for name in names.values() if name in reply.text], reply.text


def test_export_and_pages_use_the_same_pseudonyms(tasks, tmp_path, capsys):
    tasks.annotate(f"export -o {tmp_path / 'private'} --pseudonyms --blank --disable_progress_bar")
    with private() as asking:
        shown = {asking.site.shown(task).id for task in all_tasks(tasks.experiment)}
        page = asking.get("/").text
    assert shown == {path.name for path in (tmp_path / "private").iterdir() if path.is_dir()}
    assert all(name in page for name in shown)


def test_cases_that_came_later_are_not_shown_by_name(tasks):
    """A server that was started before has no pseudonym for them; it refuses, and the next start gives one."""
    with private() as asking:
        file = tasks.experiment.annotation / FILE
        names = json.loads(file.read_text())
        del names["tiny_1"]
        file.write_text(json.dumps(names))
        for address in ("/", "/points"):
            reply = asking.get(address)
            assert reply.status_code == 422
            assert "tiny" not in reply.text
            assert "again" in reply.text
        asking.site.give_pseudonyms()
        assert asking.get("/").status_code == 200
    assert set(pseudonyms(tasks.experiment.annotation)) == set(tasks.experiment.plan.pool)


def test_an_image_that_cannot_be_read_is_named_in_the_terminal_only(hospital, tmp_path, capfd):
    with private() as asking:
        task = all_tasks(hospital)[0]
        image = hospital.dataset.entries[task.patch.case].images[0]
        image.write_bytes(image.read_bytes()[:-200])
        reply = asking.get(f"/tasks/{asking.site.shown(task).id}/crop")
    assert (reply.status_code, reply.json()["error"]) == (422, WITHHELD)
    assert image.name in capfd.readouterr().err


def test_another_command_at_work_is_said_without_folders(hospital):
    with private() as asking:
        shown = asking.site.shown(all_tasks(hospital)[0]).id
        content = asking.get(f"/tasks/{shown}/label").content
        with hospital.lock():
            asking.site.patience = 0.0
            reply = asking.put(f"/tasks/{shown}", params={"label_version": 0, "seconds": 1}, content=content)
    assert reply.status_code == 503
    assert "working on this experiment" in reply.text
    assert named(reply) == set()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("c000_003_tiny_1: done", "c000_003: done"),
        ("C000_003_TINY_1: done", "c000_003: done"),
        ("tiny_1 and tiny_12, tiny_3.", "[case] and tiny_12, [case]."),
        ("row 3: outside tiny_1, at voxel (3, 4, 5) of 3 x 4 x 5", "row 3: outside [case], at voxel (3, 4, 5) of 3 x 4 x 5"),
        ("Export > reference volume; 1/2 of and/or", "Export > reference volume; 1/2 of and/or"),
        ("/data/ward/x.nii.gz: damaged", WITHHELD),
        ("the file '~/ward' is missing", WITHHELD),
        (r"C:\ward\x.nii.gz: damaged", WITHHELD),
        (r"\\server\ward: no", WITHHELD),
    ],
)
def test_messages_name_neither_cases_nor_folders(tasks, text, shown):
    assert disguised(text, tasks.experiment).casefold() == shown.casefold()


def test_the_warning_where_names_would_be_shown(tasks, monkeypatch, capsys):
    served: list[Site] = []
    monkeypatch.setattr("nnactive_ext.serve.server.serve", lambda site, *more: served.append(site))
    tasks.annotate("serve")
    assert "WARNING" not in capsys.readouterr().out
    tasks.annotate("serve --pseudonyms")
    served[-1].give_pseudonyms()
    assert "WARNING" not in capsys.readouterr().out
    tasks.annotate("serve")
    assert "WARNING" in capsys.readouterr().out
    assert [site.private for site in served] == [False, True, False]

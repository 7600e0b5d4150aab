"""Answers, drafts, times and points that the server takes, without a browser; they end where those of the import end."""

from __future__ import annotations

import gzip
import json
from urllib.parse import quote

import numpy as np
import pytest
import SimpleITK as sitk
from serving import TOKEN, client

from nnactive_ext.exchange.marking import marked
from nnactive_ext.experiment.locks import locked
from nnactive_ext.files import read_json
from nnactive_ext.labelling.closing import close_cycle
from nnactive_ext.labelling.tasks import tasks_of
from nnactive_ext.serve.drafts import Drafts
from nnactive_ext.serve.presence import GONE, Presence


def packed(labels: np.ndarray, like: sitk.Image, folder, spacing: float = 1.0) -> bytes:
    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(like)
    image.SetSpacing([mm * spacing for mm in image.GetSpacing()])
    file = folder / "sent.nii.gz"
    sitk.WriteImage(image, str(file), True)
    return file.read_bytes()


def labels_in(content: bytes, folder) -> np.ndarray:
    file = folder / "got.nii.gz"
    file.write_bytes(content)
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


def put(server, task: str, content: bytes, more: str = "", **query):
    query = {"label_version": 0, "seconds": 30.5, **query}
    return server.put(f"/tasks/{task}{more}", params=query, content=content)


@pytest.mark.parametrize("number", [0, 3])
def test_an_answer_is_what_an_imported_file_would_have_been(tasks, tmp_path, number):
    seen = tasks.seen[number]
    with client(601) as server:
        shown = server.get(f"/tasks/{seen.id}/crop").json()
        start = labels_in(server.get(f"/tasks/{seen.id}/label").content, tmp_path)
        # The crop and what it starts with are those of the export.
        np.testing.assert_array_equal(start, sitk.GetArrayFromImage(seen.shown))
        exported = sitk.GetArrayFromImage(sitk.ReadImage(str(seen.folder / "image_T2.nii.gz")))
        np.testing.assert_array_equal(labels_in(server.get(f"/tasks/{seen.id}/image/1").content, tmp_path), exported)
        assert shown["box"]["start"] == [s.start for s in seen.box]
        reply = put(server, seen.id, packed(seen.answer(), seen.shown, tmp_path))
        assert reply.status_code == 200, reply.text
        assert reply.json()["taken"]
        assert reply.json()["status"] == "done"
        assert reply.json()["next"] != f"/tasks/{seen.id}"
        # What comes back is the answer.
        np.testing.assert_array_equal(labels_in(server.get(f"/tasks/{seen.id}/label").content, tmp_path), seen.answer())
        put(server, seen.id, packed(seen.answer(), seen.shown, tmp_path))  # the page got no reply
        again = put(server, seen.id, packed(seen.answer(), seen.shown, tmp_path), seconds=0)
        assert not again.json()["taken"]
    np.testing.assert_array_equal(tasks.counted(seen), seen.truth[seen.box])
    (event,) = tasks.events()
    assert (event["who"], event["task"]) == ("anna", seen.id)
    (worked,) = tasks.events("time")
    assert (worked["task"], worked["seconds"], worked["answer"]) == (seen.id, 30.5, event["event"])


def test_answers_of_the_browser_are_trained_on_as_imported_ones(tasks, tmp_path):
    with client(601) as server:
        for seen in tasks.seen:
            assert put(server, seen.id, packed(seen.answer(), seen.shown, tmp_path)).status_code == 200
        assert "All tasks are done" in server.get("/").text
    close_cycle(tasks.experiment, 0, progress=False)
    for seen in tasks.seen:
        case = seen.id.split("_", 2)[2]
        np.testing.assert_array_equal(tasks.labels(case)[tasks.patch(seen).slices], seen.truth[seen.box])


def test_what_import_refuses_is_refused_in_the_same_words(tasks, tmp_path, capsys):
    one, other = tasks.seen[0], tasks.seen[1]
    resampled = packed(one.answer(), one.shown, tmp_path, spacing=1.25)
    strange = one.answer()
    strange[one.box][0, 0, 0] = 7
    nothing = np.full(one.truth.shape, one.names["ignore"], np.uint8)
    with client(601) as server:
        for content in (
            resampled,
            packed(strange, one.shown, tmp_path),
            packed(nothing, one.shown, tmp_path),
            gzip.compress(b"no NIfTI" * 50),
            b"not gzip either",
            resampled[: len(resampled) // 2],
            packed(other.answer(), other.shown, tmp_path),
        ):
            reply = put(server, one.id, content)
            assert reply.status_code == 422, reply.text
            file = tmp_path / f"{one.id}.nii.gz"
            file.write_bytes(content)
            with pytest.raises(SystemExit):
                tasks.hand_in(file)
            (said,) = (line for line in capsys.readouterr().err.split("\n") if line.startswith("ERROR: "))
            said = said.removeprefix(f"ERROR: {file}: ").replace(str(file), file.name)
            assert reply.json()["error"] in (f"{one.id}: {said}", said), content[:20]
    assert tasks.events() == []
    assert tasks.events("time") == []


def test_a_draft_is_gone_on_from_and_never_trained_on(tasks, tmp_path):
    seen = tasks.seen[2]
    unfinished = packed(np.where(seen.answer() == 1, 0, seen.answer()).astype(np.uint8), seen.shown, tmp_path)
    with client(601) as server:
        first = put(server, seen.id, unfinished, "/draft", revision=0, tab="a", seconds=12)
        assert first.json()["revision"] == 1
        put(server, seen.id, b"", "/draft", revision=1, tab="a", seconds=8)  # time alone
        assert server.get(f"/tasks/{seen.id}/label").content == unfinished
        assert "you have a draft" in server.get("/").text
        assert tasks.counted(seen) is None
    assert tasks.events("time") == []
    with client(601) as server:  # which was started anew
        assert server.get(f"/tasks/{seen.id}/crop").json()["draft"]
        assert put(server, seen.id, packed(seen.answer(), seen.shown, tmp_path), seconds=10).status_code == 200
        assert not server.get(f"/tasks/{seen.id}/crop").json()["draft"]
        put(server, seen.id, b"", "/draft", revision=0, tab="a", seconds=3)  # time alone is no unfinished work
        assert "you have a draft" not in server.get("/").text
    (worked,) = tasks.events("time")
    assert worked["seconds"] == 30


def test_a_second_tab_does_not_replace_the_draft_of_the_first(tasks, tmp_path):
    seen = tasks.seen[1]
    one, two = (packed(np.full_like(seen.answer(), value), seen.shown, tmp_path) for value in (1, 2))
    with client(601) as server:
        assert put(server, seen.id, one, "/draft", revision=0, tab="first").status_code == 200
        refused = put(server, seen.id, two, "/draft", revision=0, tab="second")
        assert refused.status_code == 409
        assert "another tab" in refused.json()["error"]
        assert server.get(f"/tasks/{seen.id}/label").content == one
        assert put(server, seen.id, two, "/draft", revision=0, tab="second", force="1").status_code == 200
        assert server.get(f"/tasks/{seen.id}/label").content == two
        # Someone else's draft is their own.
        server.cookies.set("nnactive_who", "ben")
        assert not server.get(f"/tasks/{seen.id}/crop").json()["draft"]


def test_a_draft_that_an_answer_followed_is_none(tasks, tmp_path):
    """As after a kill between the answer and the draft's removal."""
    seen = tasks.seen[0]
    with client(601) as server:
        put(server, seen.id, packed(seen.answer(), seen.shown, tmp_path), "/draft", revision=0, tab="a")
    tasks.hand_in(seen.write(seen.answer()))
    with client(601) as server:
        assert not server.get(f"/tasks/{seen.id}/crop").json()["draft"]


def test_a_damaged_draft_is_none(tmp_path):
    from nnactive_ext.serve.drafts import Draft

    drafts = Drafts(tmp_path)
    drafts.write(Draft("t", "anna", "a", 0, 1.0, 0, 0, b"labels"), 0)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole + b"x", whole.replace(b'"t"', b'"u"'), b"", b"{}\n"):
        file.write_bytes(damaged)
        assert drafts.read("t", "anna") is None
    file.write_bytes(whole)
    assert drafts.read("t", "anna").labels == b"labels"


def test_two_people_answer_one_task(tasks, tmp_path):
    seen = tasks.seen[0]
    with client(601) as anna, client(601, who="ben", site=anna.site, app=anna.made) as ben:
        assert anna.post(f"/tasks/{seen.id}/here", params={"tab": "1"}).json()["others"] == []
        assert ben.post(f"/tasks/{seen.id}/here", params={"tab": "2"}).json()["others"] == ["anna"]
        assert "open: anna, ben" in anna.get("/").text
        for server, value in ((anna, 1), (ben, 2)):
            answer = np.full(seen.truth.shape, seen.names["ignore"], np.uint8)
            answer[seen.box] = value
            assert put(server, seen.id, packed(answer, seen.shown, tmp_path)).json()["taken"]
        ben.post(f"/tasks/{seen.id}/left", params={"tab": "2"})
        assert anna.post(f"/tasks/{seen.id}/here", params={"tab": "1"}).json()["others"] == []
    assert [event["who"] for event in tasks.events()] == ["anna", "ben"]


def test_pages_that_are_not_heard_of_count_as_closed():
    now = [0.0]
    presence = Presence(lambda: now[0])
    presence.here("t", "anna", "1")
    now[0] = GONE - 1
    assert presence.others("t", "ben") == ["anna"]
    assert presence.others("t", "anna", "1") == []
    assert presence.others("t", "anna", "2") == ["anna"]  # the same person in another tab
    now[0] = GONE + 1
    assert presence.open() == {}


def test_another_command_at_work_is_waited_for_and_then_told(tasks, tmp_path, monkeypatch):
    import os
    import subprocess
    import sys
    import time

    seen = tasks.seen[0]
    code = (
        "import sys, time\nfrom nnactive_ext.experiment.locks import locked\n"
        "with locked(601):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ)
    try:
        assert holder.stdout.readline() == "held\n"
        with client(601) as server:
            began = time.monotonic()
            reply = put(server, seen.id, packed(seen.answer(), seen.shown, tmp_path))
            assert reply.status_code == 503
            assert "is working on" in reply.json()["error"]
            assert time.monotonic() - began >= 1
            draft = put(server, seen.id, packed(seen.answer(), seen.shown, tmp_path), "/draft", revision=0, tab="a")
            assert draft.status_code == 200  # a draft waits for nobody
            holder.kill()
            holder.wait()
            assert put(server, seen.id, packed(seen.answer(), seen.shown, tmp_path)).status_code == 200
    finally:
        holder.kill()
        holder.wait()
    assert locked is not None


@pytest.mark.parametrize("case", ["tiny_1", "tiny_2"])
def test_points_become_patches_as_those_of_the_command(rollout, tmp_path, case):
    """At the world position of a voxel, in images that are tilted."""
    experiment = rollout.plan()
    image = sitk.ReadImage(str(rollout.images / f"{case}_T1.nii.gz"))
    x, y, z = image.TransformIndexToPhysicalPoint((7, 13, 12))
    before = len(tasks_of(experiment, 0))
    with client(601) as server:
        sent = [{"case": case, "class": "organ", "ras": [-x, -y, z]}]
        reply = server.post("/points", content=json.dumps(sent))
        assert reply.status_code == 200, reply.text
        assert reply.json()["goals"]["organ"][0] == 1
        assert server.post("/points", content=json.dumps(sent)).json()["text"].startswith("0 patches added; 1 point lies")
        for wrong in ([], {}, [{"case": case}], [{**sent[0], "ras": [1, 2, "3"]}], [{**sent[0], "case": "nobody"}]):
            assert server.post("/points", content=json.dumps(wrong)).status_code == 422
        far = [{**sent[0], "ras": [900.0, 0, 0]}]
        assert "outside" in server.post("/points", content=json.dumps(far)).json()["error"]
    added = tasks_of(rollout.experiment, 0)[before:]
    assert [(task.patch.case, task.stratum) for task in added] == [(case, "marked: organ")]
    patch = added[0].patch
    assert all(a <= at < b for a, at, b in zip(patch.start, (12, 13, 7), patch.stop, strict=True))
    assert marked(rollout.experiment)["organ"][0] == 1
    assert read_json(rollout.experiment.raw / "loop_000.json")["patches"][-1]["point"] == [12, 13, 7]


def test_the_overview_of_a_case_has_its_voxels_in_place(rollout, tmp_path):
    rollout.plan()
    with client(601) as server:
        facts = server.get("/points/tiny_1/facts").json()
        content = server.get("/points/tiny_1/image").content
        assert server.get("/points/nobody/facts").status_code == 404
    (tmp_path / "o.nii.gz").write_bytes(content)
    found = sitk.ReadImage(str(tmp_path / "o.nii.gz"))
    image = sitk.ReadImage(str(rollout.images / "tiny_1_T1.nii.gz"))
    np.testing.assert_allclose(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(found.GetDirection(), image.GetDirection(), atol=1e-5)
    np.testing.assert_allclose(found.GetOrigin(), image.GetOrigin(), atol=1e-4)
    assert facts["window"][0] < facts["window"][1]


def test_the_name_that_a_person_gives_signs_their_answers(tasks, tmp_path):
    seen = tasks.seen[0]
    with client(601) as server:
        reply = server.post("/who", data={"who": "Dr. Zoë <b>"}, follow_redirects=False)
        assert reply.status_code == 303
        page = server.get("/").text
        assert "Zoë" in page
        assert '<b>"' not in page
        put(server, seen.id, packed(seen.answer(), seen.shown, tmp_path))
        assert server.post("/who", data={"who": "consensus"}).status_code == 422
    assert [event["who"] for event in tasks.events()] == ["Dr. Zoë <b>"]


def test_the_page_of_a_task_names_it_and_its_classes(tasks):
    seen = tasks.seen[4]
    with client(601) as server:
        page = server.get(f"/tasks/{quote(seen.id)}").text
    for words in (seen.id, "organ", "lesion", "Why this patch", "up to the frame", TOKEN[:0]):
        assert words in page

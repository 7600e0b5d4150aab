"""annotate.html in Chromium from disk: what the mouse painted is downloaded, imported, and trained on, voxel for voxel."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from disk_pages import NO_STORAGE, noted, paint, painted_in, reader
from html_page import Page
from rollouts import OPTIONS, Rollout
from test_page import EVIL, NAMES, a_view, an_image
from test_serve_editor import GEOMETRIES, orthonormal

from nnactive_ext.exchange import annotate_page
from nnactive_ext.exchange.annotate_page import PageWriter
from nnactive_ext.exchange.matching import candidates, match, saved_at
from nnactive_ext.exchange.page import card
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.writing import write_image
from nnactive_ext.labelling.closing import close_cycle
from nnactive_ext.labelling.tasks import tasks_of


def page_of(task: SimpleNamespace) -> Path:
    return task.folder / "annotate.html"


def test_what_the_mouse_painted_from_disk_is_trained_on(tasks, browser, tmp_path):
    downloads, drawn = tmp_path / "Downloads", []
    one, other = tasks.seen[0], tasks.seen[3]
    with reader(browser, downloads) as person:
        for task, button in ((one, "done"), (other, "unsure")):
            person.read(page_of(task))
            if task is one:  # a second channel
                person.page.evaluate("window.firstChannel = window.annotation.editor.nv.volumes[0]")
                person.page.locator("select[name=channel]").select_option("1")
                person.wait("(window.annotation.editor.nv.volumes[0] || window.firstChannel) !== window.firstChannel")
            drawn.append((task, paint(person), person.frame(), button))
            assert {1, 2, 3} <= set(np.unique(drawn[-1][1]).tolist())
            name = person.save(button).name
            assert name in person.page.locator("#said").text_content()
        assert set(person.asked) == {page_of(one).as_uri(), page_of(other).as_uri(), (tasks.out / "niivue.js").as_uri()}
    tasks.hand_in(*sorted(downloads.glob("*.nii.gz")))
    assert [event["outside"] for event in tasks.events()] == [0, 0]
    worked = tasks.events("time")
    assert [event["answer"] for event in worked] == [event["event"] for event in tasks.events()]
    assert all(0 < event["seconds"] < 600 for event in worked)
    close_cycle(tasks.experiment, 0, share=0, progress=False)
    for task, bitmap, frame, button in drawn:
        case = task.id.split("_", 2)[2]
        shown, found = painted_in(task.folder, bitmap, frame, tasks.experiment.raw / "labelsTr" / f"{case}.nii.gz")
        expected = np.where((button == "unsure") & (shown == 0), 3, shown)
        np.testing.assert_array_equal(found, expected)


FIVE = ("RAS", "LPS", "oblique", "sagittal slices", "coronal slices, flipped", "thick")


@pytest.mark.slow
def test_in_any_geometry(nnunet_folders, quick_planning, browser, tmp_path):
    rng, hospital = np.random.default_rng(3), tmp_path / "hospital"
    hospital.mkdir()
    rows = ["case,class,i,j,k"]
    for number, name in enumerate(FIVE):
        spacing, direction = GEOMETRIES[name]
        space = Space((14, 16, 18), spacing, (-31.0, 12.5 * number, 7.25), orthonormal(direction))
        for channel in ("T1", "T2"):
            write_image(
                hospital / f"p{number}_{channel}.nii.gz", space.image(rng.normal(100, 20, space.shape).astype(np.float32))
            )
        rows.append(f"p{number},organ,8,7,{6 + number % 2}")
    rollout = Rollout(hospital, hospital)
    rollout.plan(OPTIONS.replace("-patch_size 5 5 3", "-patch_size 5 6 7"))
    (tmp_path / "points.csv").write_text("\n".join(rows) + "\n")
    rollout.annotate(f"points {tmp_path / 'points.csv'}")
    out, downloads, drawn = tmp_path / "out", tmp_path / "Downloads", []
    rollout.annotate(f"export -o {out} --blank --disable_progress_bar")
    marked = [task for task in tasks_of(rollout.experiment, 0) if task.method == "points"]
    assert {task.patch.case for task in marked} == {f"p{number}" for number in range(len(FIVE))}
    with reader(browser, downloads, width=1280, height=800) as person:
        for task in marked:
            person.read(out / task.id / "annotate.html")
            drawn.append((task, paint(person), person.frame()))
            assert len(np.unique(drawn[-1][1])) == 4
            person.save()
    rollout.annotate(f"import {downloads} -who anna")
    close_cycle(rollout.experiment, 0, share=0, progress=False)
    for task, bitmap, frame in drawn:
        labels = rollout.experiment.raw / "labelsTr" / f"{task.patch.case}.nii.gz"
        shown, found = painted_in(out / task.id, bitmap, frame, labels)
        np.testing.assert_array_equal(found, shown, task.id)


@pytest.mark.slow
def test_a_reload_goes_on_from_the_draft_and_then_from_the_answer(tasks, browser, tmp_path):
    task, same = tasks.seen[0], "document.getElementById('start').textContent"
    with reader(browser, tmp_path / "Downloads") as person:
        person.read(page_of(task))
        before = paint(person)
        person.page.evaluate("window.annotation.draft()")
        assert "Draft kept in this browser" in person.page.locator("#kept").text_content()
        person.read(page_of(tasks.seen[1]))
        assert not person.bitmap().any(), "another task's page has another draft"
        person.read(page_of(task))
        assert "unfinished" in person.page.evaluate(same)
        np.testing.assert_array_equal(person.bitmap(), before)
        person.save()
        tasks.export(tasks.out)  # makes the page anew: the work of the person stays
        person.read(page_of(task))
        assert "The answer so far" in person.page.evaluate(same)
        assert "saved" in person.page.locator("#status").text_content()
        np.testing.assert_array_equal(person.bitmap(), before)


@pytest.mark.slow
def test_a_second_tab_does_not_replace_the_draft_of_the_first_unasked(tasks, browser, tmp_path):
    with reader(browser, tmp_path / "Downloads") as person:
        person.read(page_of(tasks.seen[0]))
        second = person.page.context.new_page()
        first, person.page = person.page, second
        person.read(page_of(tasks.seen[0]))
        paint(person)
        second.evaluate("window.annotation.draft()")
        person.page = first
        paint(person)
        first.evaluate("window.annotation.draft()")
        assert "Another tab" in first.locator("#said").text_content()
        person.do("mine")
        person.wait("document.getElementById('kept').textContent.startsWith('Draft kept')")


@pytest.mark.slow
def test_a_browser_that_keeps_nothing_says_so_and_saves_all_the_same(tasks, browser, tmp_path):
    with reader(browser, tmp_path / "Downloads", NO_STORAGE) as person:
        person.read(page_of(tasks.seen[0]))
        paint(person)
        person.page.evaluate("window.annotation.draft()")
        assert "keeps no drafts" in person.page.locator("#kept").text_content()
        asked: list[str] = []
        person.page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
        person.key(" ")
        for _ in range(200):
            person.page.wait_for_timeout(0 if asked else 100)
        assert asked == ["confirm"], "the work would be lost"
        tasks.hand_in(person.save())
    assert len(tasks.events()) == 1


@pytest.mark.slow
def test_the_later_of_two_saves_counts_whatever_browsers_call_it(tasks, browser, tmp_path):
    task, downloads = tasks.seen[0], tmp_path / "Downloads"
    with reader(browser, downloads) as person:
        person.read(page_of(task))
        paint(person)
        first = person.save()
        person.page.wait_for_timeout(1100)
        person.do("clear")
        person.key("2")
        person.drag("axial", *[[sum(side) // 2 for side in person.frame()]] * 2)
        expected = person.bitmap()
        second = person.save()
    assert sorted([second, first]) == [first, second]
    tasks.hand_in(second, first)  # in whatever order a shell gives them
    tasks.hand_in(downloads)
    assert len(tasks.events()) == 1
    values, counts = np.unique(tasks.counted(task), return_counts=True)
    shown = expected[tuple(slice(*side) for side in reversed(person_frame(task)))]
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == {
        int(value): int(number) for value, number in zip(*np.unique(shown, return_counts=True), strict=True)
    }


def test_the_name_says_which_save_is_the_last(tasks, tmp_path, capsys):
    task = tasks.seen[0]
    early, late = task.answer(), task.answer()
    late[task.box][0, 0, 0] = 1 if early[task.box][0, 0, 0] != 1 else 2
    files = [tmp_path / f"{task.id}_20261128T18133{n}Z{more}.nii.gz" for n, more in ((0, ""), (1, ""), (1, "(1)"))]
    for file, labels in zip(files, (early, late, late), strict=True):
        task.write(labels, file)
    tasks.hand_in(files[1], files[2], files[0])  # in whatever order a shell gives them
    np.testing.assert_array_equal(tasks.counted(task), late[task.box])
    for file in files[1:]:
        file.unlink()
    tasks.hand_in(files[0])  # somebody means it
    np.testing.assert_array_equal(tasks.counted(task), early[task.box])
    assert len(tasks.events()) == 2


def test_each_second_of_several_saves_counts_once(tasks, tmp_path):
    task = tasks.seen[0]
    early, late = task.answer(), task.answer()
    late[task.box][0, 0, 0] = 1 if early[task.box][0, 0, 0] != 1 else 2
    saves = [(early, 40, "ab12"), (late, 100, "ab12"), (late, 90, "ab12"), (late, 7, "cd34")]
    for number, (labels, seconds, page) in enumerate(saves):
        file = tmp_path / f"{task.id}_20261128T18133{number}Z.nii.gz"
        task.write(labels, file)
        tasks.hand_in(noted(file, f"nnactive labels=0 seconds={seconds} page={page}"))
    first, second = tasks.events()
    found = [(event["seconds"], event["answer"]) for event in tasks.events("time")]
    assert found == [(40, first["event"]), (60, second["event"]), (7, second["event"])]


@pytest.mark.parametrize(
    "note", ["", "3D Slicer", "nnactive labels=0 seconds=-5 page=a", "nnactive labels=0 seconds=5 page=a b"]
)
def test_what_other_programs_write_into_a_header_is_no_time(tasks, tmp_path, note):
    file = tmp_path / f"{tasks.seen[0].id}.nii.gz"
    tasks.seen[0].write(tasks.seen[0].answer(), file)
    tasks.hand_in(noted(file, note))
    assert len(tasks.events()) == 1
    assert not tasks.events("time")


def person_frame(task: SimpleNamespace) -> list[list[int]]:
    """The patch in RAS order, by nibabel."""
    import nibabel

    label = nibabel.load(task.label)
    inside = nibabel.as_closest_canonical(nibabel.Nifti1Image((np.asarray(label.dataobj) == 0).astype(np.uint8), label.affine))
    places = np.argwhere(np.asarray(inside.dataobj))
    return [[low, high + 1] for low, high in zip(places.min(0).tolist(), places.max(0).tolist(), strict=True)]


@pytest.mark.slow
def test_nothing_is_saved_where_nothing_is_annotated(tasks, browser, tmp_path):
    with reader(browser, tmp_path / "Downloads") as person:
        person.read(page_of(tasks.seen[0]))
        downloads: list[object] = []
        person.page.on("download", lambda download: downloads.append(download))
        person.do("unsure")
        person.wait("document.getElementById('said').className === 'error'")
        assert "nothing was saved" in person.page.locator("#said").text_content()
        assert downloads == []


def test_no_page_from_disk_reaches_another_address(tasks, browser, tmp_path):
    with reader(browser, tmp_path / "Downloads", quiet=False) as person:
        person.read(page_of(tasks.seen[0]))
        asked = list(person.asked)
        tried = """async () => {
          const failed = [];
          document.addEventListener("securitypolicyviolation", event => failed.push(event.effectiveDirective));
          await fetch("http://127.0.0.1:9/x").catch(() => {});
          document.body.append(Object.assign(new Image(), {src: "http://127.0.0.1:9/y.png"}));
          document.body.append(Object.assign(document.createElement("script"), {src: "http://127.0.0.1:9/z.js"}));
          document.body.append(Object.assign(document.createElement("script"), {textContent: "window.inline = 1"}));
          await new Promise(done => setTimeout(done, 300));
          return [failed.sort(), window.inline];
        }"""
        failed, inline = person.page.evaluate(tried)
        assert failed == ["connect-src", "img-src", "script-src-elem", "script-src-elem"]
        assert inline is None
        assert not any(address.startswith("http") for address in person.asked[len(asked) :] if "127.0.0.1:9" not in address)


@pytest.mark.slow
def test_a_page_alone_works_with_single_and_says_what_is_missing_without(tasks, browser, tmp_path):
    alone = tmp_path / "mail" / "annotate.html"
    alone.parent.mkdir()
    shutil.copy(page_of(tasks.seen[0]), alone)
    with reader(browser, tmp_path / "Downloads", quiet=False) as person:
        person.page.goto(alone.as_uri())
        person.wait("document.body.dataset.ready === 'failed'")
        assert "niivue.js is missing" in person.page.locator("#said").text_content()
    tasks.export(tmp_path / "singles", "--blank --single")
    assert not (tmp_path / "singles" / "niivue.js").exists()
    shutil.copy(tmp_path / "singles" / tasks.seen[0].id / "annotate.html", alone)
    with reader(browser, tmp_path / "Downloads") as person:
        person.read(alone)
        paint(person)
        tasks.hand_in(person.save())
        assert person.asked == [alone.as_uri()]
        assert person.page.locator("header a, button[data-do=next]").count() == 0
    assert len(tasks.events()) == 1


def test_exported_pages_are_linked_and_are_no_answers(tasks):
    index = Page((tasks.out / "index.html").read_text(encoding="utf-8"))
    links = [a["href"] for a in index.all("a")]
    assert links[0] == f"{tasks.seen[0].id}/annotate.html"
    assert {f"{task.id}/annotate.html" for task in tasks.seen} <= set(links)
    assert candidates(tasks.out).unread == ()


def a_page(tmp_path: Path, view, monkeypatch=None) -> tuple[bool, Path]:
    view = replace(view, folder=tmp_path, images=tuple(tmp_path / f"image_{n}.nii.gz" for n in range(len(view.channels))))
    voxels = an_image(view)
    for file, channel in zip(view.images, voxels, strict=True):
        write_image(file, view.space.image(channel))
    return PageWriter([view.task.id], 601).write(view, voxels, card(view, voxels)), tmp_path / "annotate.html"


def test_nobodys_text_becomes_markup(browser, tmp_path):
    names = {"background": 0, EVIL: 1, "ignore": 2}
    view = replace(a_view(names=names, case=EVIL), channels=(EVIL,))
    view = replace(view, task=replace(view.task, id=EVIL, stratum=EVIL, method=EVIL))
    made, file = a_page(tmp_path, view)
    assert made
    page = Page(file.read_text(encoding="utf-8"))
    assert page.all("img") == []
    assert len(page.all("script")) == 8  # two of data, niivue, five of ours
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_what_the_editor_cannot_do_gets_no_page(tmp_path, monkeypatch):
    made, file = a_page(tmp_path, a_view())
    assert made
    many = {**{name: value for name, value in NAMES.items() if name != "ignore"}, "ignore": 256}
    view = a_view()
    view = replace(view, names=many, labels=np.where(view.labels == 3, 256, view.labels).astype(np.uint16))
    assert a_page(tmp_path, view) == (False, file)
    assert not file.exists(), "one of an earlier export"
    monkeypatch.setattr(annotate_page, "LARGEST", 1000)
    assert a_page(tmp_path, a_view()) == (False, file)


@pytest.mark.parametrize("more", ["", " (1)", "(2)", "-3"])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_the_time_in_a_name_is_no_part_of_it(tasks, more, ending):
    task, *others = tasks_of(tasks.experiment, 0)
    file = Path(f"{task.id}_20261128T181330Z{more}{ending}")
    assert match(file, [task, *others], tasks.experiment.plan.pool) == ([task], False)
    assert saved_at(file) == "20261128T181330Z"
    assert saved_at(Path(f"{task.id}{ending}")) == ""

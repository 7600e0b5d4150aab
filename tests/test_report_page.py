"""The report read back by a parser: what it answers, what it says it does not know, and that nobody's text becomes markup."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shlex
import shutil
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import report_facts
import scripted_expert as expert
from fake_members import fake_tools
from html_page import Page
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from PIL import Image
from printed import understood

from nnactive_ext.cli import plan as plan_command_line
from nnactive_ext.cli import report
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import loop_file
from nnactive_ext.experiment.plan import ALL_LABELS
from nnactive_ext.files import read_json, write_json
from nnactive_ext.loop.cycles import run_cycles
from nnactive_ext.pages.charts import Dots, Series, lines, on_white, square
from nnactive_ext.pages.vendored import NIIVUE
from nnactive_ext.report import page as report_page
from nnactive_ext.report.facts import gather
from nnactive_ext.report.gallery import MEDIA_TYPE
from nnactive_ext.report.page import LARGEST, efforts, write_report
from nnactive_ext.report.section_queries import method_in_words, new_voxels, queries
from nnactive_ext.report.section_settings import commands, plan_command
from nnactive_ext.report.section_viewer import chosen, frame
from nnactive_ext.report.verdict import USED_UP

EVIL = """<script>alert('1')</script>"&'><img src=x onerror=alert(2)>"""
ANCHORS = ["now", "history", "queries", "viewer", "advice", "settings"]


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch):
    """Noise, as many bytes as there are pixels; what is really drawn has its own tests, and takes its time."""

    @cache
    def noise(size: int) -> bytes:
        file = io.BytesIO()
        pixels = np.random.default_rng(0).integers(0, 255, (size, size, 3), np.uint8)
        Image.fromarray(pixels).save(file, "WEBP", quality=80, method=0)
        return file.getvalue()

    monkeypatch.setattr("nnactive_ext.report.gallery.picture", lambda crop, colours, ignore, size: noise(size))


def read(folder: Path, facts, largest: int = LARGEST) -> Page:
    file = folder / "report.html"
    size, _ = write_report(facts, file, largest)
    assert size == file.stat().st_size
    return Page(file.read_text(encoding="utf-8"))


# What it says


def test_the_questions_are_answered_in_order(tmp_path):
    page = read(tmp_path, report_facts.facts())
    assert [a["id"] for tag, a in page.elements if tag == "section"] == ANCHORS
    assert [a["href"] for a in page.all("a")][:7] == ["#advice", *(f"#{anchor}" for anchor in ANCHORS)]
    for words in (
        "Mean Dice 45.0 % on 2 test cases; the weakest class is tumour (20.0 %)",  # at the top, as is the advice
        "Mean Dice 45.0 % 2 classes, 2 test cases",
        "Mean NSD 22.5 % within 3 mm",
        "+15.0 points",
        "liver 70.0 % 2 1,000 35.0 % 2 12.3 1 1",
        "AUBC 37.5 %",
        "clasp_pe alpha=0.5",
        "2 (open) 3 3 0 10.0 % 25.0 % –",
        "liver 3 of 4 3 of 4",
        "among the most uncertain about tumour (clasp_pe, score 0.3); 25 % of it asked before",
        "advice, not a result",
        "nnU-Net's settings of the network",
    ):
        assert words in page.text, words


def test_all_pictures_are_inside_and_described(tmp_path):
    images = [image for image in read(tmp_path, report_facts.facts()).all("img") if "src" in image]
    assert len(images) == 9
    for image in images:
        kind, data = image["src"].split(",")
        assert kind == f"data:{MEDIA_TYPE};base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (int(image["width"]), int(image["height"]))
        assert re.match(r"Slices through the patch: case_\d, cycle \d, R 2, A 2, H 77 mm", image["alt"])


def test_charts_have_words_and_their_values_are_in_a_table_too(tmp_path):
    page = read(tmp_path, report_facts.facts())
    said = [svg["aria-label"] for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(said) == 6
    assert "Dice per class (test set). liver: 50.0 % at 4, 70.0 % at 8; tumour: 10.0 % at 4, 20.0 % at 8" in said
    assert "liver 50.0 % 70.0 %" in page.text


def test_files_of_an_earlier_version_say_what_was_not_measured(tmp_path):
    old = [report_facts.result(cycle, {"liver": 0.5, "tumour": None}) for cycle in range(2)]
    text = read(tmp_path, report_facts.facts(results=old)).text
    assert "Mean NSD not measured" in text
    assert "How many patches hold each class was not measured" in text
    assert "HD95" not in text
    assert "Left out, because no test case shows or predicts them: tumour" in text
    table = text[text.index("Per class, on the test set") : text.index("Dice of every test case")]
    assert "liver 50.0 % 2 1,000" in table
    assert "tumour" not in table  # it is named above; a row without a number tells nothing


def test_without_a_test_set_cross_validation_is_said_to_be_no_test(tmp_path):
    found = {"dice_per_class": {"liver": 0.6, "tumour": None}, "mean_dice": 0.6, "voxels_per_class": {"liver": 9, "tumour": 0}}
    results = [
        report_facts.result(
            cycle, dict.fromkeys(report_facts.CLASSES), dice_per_case={}, cross_validation={**found, "cases": 3, "folds": 2}
        )
        for cycle in range(2)
    ]
    text = read(tmp_path, report_facts.facts(results=results, test=(), annotator="human", source=".")).text
    assert "Dice 60.0 % in cross-validation on annotated voxels; there is no test set" in text
    assert "not as a test result" in text
    assert "One seed" not in text
    assert "test case" not in text.partition("What should be done next")[0]


def test_what_is_not_known_is_said_to_be_unknown(tmp_path):
    human = {"test": (), "annotator": "human", "source": "."}
    empty = [report_facts.result(0, dict.fromkeys(report_facts.CLASSES), dice_per_case={}, cross_validation=None)]
    text = read(tmp_path, report_facts.facts(results=empty, **human)).text
    assert "There is no test set, so how good it is, is not known." in text
    assert "There is no learning curve" in text
    text = read(tmp_path, report_facts.facts(results=[], **human)).text
    assert "How good it is, is not known yet: no cycle has been evaluated." in text
    assert "No cycle has been evaluated yet." in text


def test_without_pictures_there_is_no_viewer_either(tmp_path):
    page = read(tmp_path, report_facts.facts(pictures=False))
    assert not page.all("canvas")
    assert [script.get("type") for script in page.all("script")] == [None]
    assert "No pictures" in page.text
    assert (tmp_path / "report.html").stat().st_size < 100_000


def test_new_voxels_of_older_files_are_differences():
    results = {cycle: report_facts.result(cycle, {"liver": 0.5}) for cycle in (0, 1)}
    assert new_voxels(results, 1) == {"background": 3000, "liver": 500}
    assert new_voxels(results, 0) == {"background": 3000, "liver": 500}
    assert new_voxels({1: results[1]}, 1) == {}  # the cycle before is missing
    fewer = {0: results[1], 1: replace(results[0], cycle=1)}  # answers were withdrawn
    assert new_voxels(fewer, 1) == {}


def test_a_change_over_a_missing_cycle_names_both_ends(tmp_path):
    first, second, third = (report_facts.measured(i, {"liver": 0.5 + 0.1 * i, "tumour": 0.2}) for i in range(3))
    text = read(tmp_path, report_facts.facts(results=[first, third], pictures=False)).text
    assert "From cycle 0 to cycle 2 +10.0 points of mean Dice, for 8 more patches" in text
    assert "Since the cycle before" not in text
    text = read(tmp_path, report_facts.facts(results=[second, third], pictures=False)).text
    assert "Since the cycle before +5.0 points of mean Dice, for 4 more patches" in text


def test_a_fall_is_told_at_the_top(tmp_path):
    results = [report_facts.measured(i, {"liver": 0.8 - 0.1 * i, "tumour": 0.5}) for i in range(2)]
    results = [replace(one, dice_per_case={f"case_{n}": one.dice_per_class for n in range(6)}) for one in results]
    text = read(tmp_path, report_facts.facts(results=results, pictures=False)).text
    assert "Look at it first: the Dice fell with the last query" in text
    assert "Another cycle: look at it first (the Dice fell with the last query)" in text, "in section 5, too"


def test_with_all_labels_nothing_is_said_of_queries(tmp_path):
    results = [report_facts.measured(0, {"liver": 0.8, "tumour": 0.5})]
    facts = report_facts.facts(results=results, purpose=ALL_LABELS, cycles=1, pictures=False)
    text = read(tmp_path, facts).text
    assert "All labels are in use: this is what the trainer can reach" in text
    assert "Nothing was queried" in text
    assert not any(words in text for words in ("No pictures", "Boxes are chosen by", "the last query", "still to come"))


def test_that_the_pool_is_used_up_is_read_from_the_last_loop_file(planned):
    with planned.lock():
        run_cycles(planned, fake_tools(classes=3), progress=False, say=lambda text: None)
    assert gather(planned, None, 0).advice.headline != USED_UP
    file = loop_file(planned.raw, 2)
    write_json(file, {**read_json(file), "missing": 2})
    assert gather(planned, None, 0).advice.headline == USED_UP


# Safe


def test_nobodys_text_becomes_markup(tmp_path):
    cases = tuple(f"{EVIL}{i}" for i in range(3))
    classes = (f"organ {EVIL}", f"</script><b>{EVIL}")
    changes = ({"what": "expert", "before": EVIL, "after": EVIL, "who": EVIL, "when": EVIL, "after_cycle": 0},)
    told = {"dataset": f"Dataset504_{EVIL}", "expert": EVIL, "method": EVIL, "trainer": EVIL, "test": (EVIL, "b")}
    told |= {"changes": changes, "decisions": ((EVIL, EVIL, EVIL),), "versions": {EVIL: EVIL}, "source": f"../{EVIL}"}
    facts = report_facts.facts(cases, classes, notes=(EVIL,), **told)
    facts = replace(facts, channels=[EVIL], network={EVIL: EVIL})
    page = read(tmp_path, facts)
    assert {image.get("src", "")[:15] for image in page.all("img")} == {f"data:{MEDIA_TYPE}"[:15], ""}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    allowed = {None, "text/plain", "application/json"}
    assert {script.get("type") for script in page.all("script")} == allowed
    assert len([script for script in page.all("script") if "type" not in script]) == 1
    assert page.text.count("<script>alert('1')</script>") > 30  # but said it is, wherever it belongs
    assert not page.all("b") or EVIL not in (tmp_path / "report.html").read_text(encoding="utf-8")
    for data in page.scripts["application/json"]:
        json.loads(data)


def test_no_script_runs_but_the_two_whose_hashes_are_in_the_policy(tmp_path):
    page = read(tmp_path, report_facts.facts())
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert "connect-src" not in rules
    sources = [*page.scripts[None], *page.scripts["text/plain"]]
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in sources}
    assert set(rules["script-src"].split()) == hashes
    assert len(hashes) == 2


@given(st.text())
def test_text_is_escaped_in_charts(text):
    page = Page(lines(text, text, text, [Series(text, [1, 2], [0.4, 0.5]), Series("b", [1], [0.5])]))
    assert {tag for tag, _ in page.elements} == {*"figure figcaption svg title path text circle ul li span".split()}
    if not re.search("[\r\x00\ud800-\udfff]", text):
        assert page.all("svg")[0]["aria-label"].startswith(f"{text}. {text}: 40.0 % at 1")


def test_bytes_that_are_no_text_can_be_written(tmp_path):
    """Names of files may hold them."""
    text = read(tmp_path, report_facts.facts(("case_\udcff", "case_1", "case_2"))).text
    assert "case_\\udcff at R 2" in text


def test_a_value_that_a_template_lacks_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("nnactive_ext.report.page.history", lambda facts: {"rows": []})
    with pytest.raises(UndefinedError):
        write_report(report_facts.facts(pictures=False), tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []


# Fitting


def smallest(facts, volumes: int) -> int:
    """Bytes of the page with all pictures, as small as they become, and so many volumes."""
    chosen = [effort for effort in efforts(3) if effort.pictures == 3 and effort.volumes == volumes][-1]
    words = "To keep the file below its largest size, pictures are smaller than usual."
    return len(report_page.page(facts, chosen, report_page._Drawn(facts), words).encode())


def test_a_report_that_is_too_large_shows_less_and_says_so(tmp_path):
    facts = report_facts.facts()
    whole, nothing = write_report(facts, tmp_path / "a.html")
    assert nothing == ""
    for largest, words in (
        (whole - 1, "smaller"),
        (smallest(facts, volumes=6) - 1, "the 3D viewer has 4 patches, not 6"),
        (60_000, "0 of the 3"),
    ):
        size, left_out = write_report(facts, tmp_path / "b.html", largest)
        assert size <= largest
        assert words in left_out
        assert left_out in Page((tmp_path / "b.html").read_text(encoding="utf-8")).text


def test_a_report_that_cannot_be_small_enough_is_not_written(tmp_path):
    with pytest.raises(NnActiveError, match="without a single picture"):
        write_report(report_facts.facts(), tmp_path / "a.html", 10_000)
    assert list(tmp_path.iterdir()) == []


@given(st.integers(0, 50))
def test_efforts_only_become_less(most):
    found = list(efforts(most))
    assert found[0].pictures == most
    assert found[-1].pictures == found[-1].volumes == 0
    for before, after in pairwise(found):
        assert after.pictures <= before.pictures
        assert after.size <= before.size
        assert after.volumes <= before.volumes


def test_the_same_facts_give_the_same_file(tmp_path):
    write_report(report_facts.facts(), tmp_path / "a.html")
    write_report(report_facts.facts(), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_reasons_have_one_order():
    """By name, not that of a set of texts, which is another one in each run of Python."""
    facts = report_facts.facts(pictures=False)
    tasks = [replace(facts.loops[0].tasks[0], stratum=name) for name in "tsrqponmtt"]
    facts = replace(facts, loops=[replace(facts.loops[0], tasks=tasks)])
    assert [row.name for row in queries(facts)["strata"]] == [*"mnopqrst"]


# Parts


def test_lines_rise_with_values_and_stop_where_one_is_unknown():
    chart = lines("t", "patches", "Dice", [Series("a", [1, 2, 3, 4], [0.2, 0.4, None, 0.6]), Series("b", [1, 2], [None, None])])
    marks = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="4.5"', chart)][:3]
    assert [y for _, y in marks] == sorted((y for _, y in marks), reverse=True)
    assert [x for x, _ in marks] == sorted(x for x, _ in marks)
    assert re.search(r'd="M[\d. ]+L[\d. ]+M[\d. ]+" fill="none"', chart)
    assert "b: not known" in chart
    assert "<span>b</span>" in chart
    assert lines("t", "x", "y", [Series("a", [1], [None])]) == ""


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.integers(1, 10**8))
def test_marks_stay_inside_the_chart(values, step):
    chart = lines("t", "x", "y", [Series("a", [step * (i + 1) for i in range(len(values))], values)])
    for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', chart):
        assert 40 <= float(x) <= 370
        assert 10 <= float(y) <= 207
    assert "nan" not in chart


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_colours_on_white_can_be_seen(colour):
    from nnactive_ext.pages.charts import _luminance

    assert 1.05 / (_luminance(on_white(colour)) + 0.05) >= 3


def test_dots_lie_where_they_should():
    chart = square("From the front", ("R", "L"), ("H", "F"), [Dots("cycle 0", [(0.0, 1.0), (1.0, 0.0)], (0, 0, 0))], side=140)
    assert re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', chart) == [("20.0", "120.0"), ("120.0", "20.0")]


def test_the_viewer_shows_each_reason_of_the_newest_queries_first():
    facts = report_facts.facts()
    found = chosen(facts, 4, 12)
    assert [(crop.cycle, crop.stratum) for crop in found] == [(2, "liver"), (2, "tumour"), (2, "all"), (1, "liver")]
    assert [crop.cycle for crop in chosen(facts, 4, 1)] == [2, 1, 0]
    unseen = {2: [replace(crop, prediction=None) for crop in facts.crops[2]]}
    assert [crop.cycle for crop in chosen(replace(facts, crops={**facts.crops, **unseen}), 4, 12)] == [1, 1, 1, 2]


def test_the_viewers_frame_is_the_box_in_ras():
    crop = report_facts.crop(1, "a", "liver")
    made = frame(crop)
    nodes = [(node["x"], node["y"], node["z"]) for node in made["nodes"]]
    # x: 8 to 16 voxels of 1.5 mm from -20 in LPS, the edge half a voxel before the centre; RAS has the other sign.
    assert (min(x for x, _, _ in nodes), max(x for x, _, _ in nodes)) == (-3.25 + 0.0, 8.75)
    assert (min(z for _, _, z in nodes), max(z for _, _, z in nodes)) == (66.5, 84.5)
    assert len(made["edges"]) == 12


# To repeat it


def test_the_command_is_understood_and_gives_the_same_plan():
    facts = report_facts.facts(preset="cpu", seed=3, tolerance_mm=2.5)
    options = plan_command_line.parser().parse_args(shlex.split(plan_command(facts).replace("\\\n", " "))[1:])
    assert (options.d, options.o, options.name) == ("4", 504, "Made")
    assert options.patch_size == ["18mm", "12mm", "12mm"]
    assert (options.query_size, options.starting_budget, options.cycles, options.seed) == (4, 4, 3, 3)
    assert options.method == ["clasp_pe", "alpha=0.5"]
    assert (options.folds, options.c, options.tr, options.pl) == (5, "3d_fullres", "nnActiveTrainer", "ExperimentPlanner")
    assert (options.preset, options.tolerance) == ("cpu", ["2.5"])


@pytest.mark.parametrize("where", ["../../data", "/data/of somebody"])
def test_a_dataset_outside_of_nnunets_folder_has_no_number_there(where):
    facts = report_facts.facts(source=f"{where}/Dataset004_Source")
    options = plan_command_line.parser().parse_args(shlex.split(plan_command(facts).replace("\\\n", " "))[1:])
    assert options.d == "FOLDER/Dataset004_Source"


def test_changes_are_commands_of_their_own():
    change = {"what": "cycles", "before": 3, "after": 5, "who": "a", "after_cycle": 2}
    facts = report_facts.facts(cycles=5, changes=(change, {**change, "what": "dropped", "before": None, "after": ["x y"]}))
    first, second, third, last = commands(facts)
    assert "-cycles 3" in first
    assert second.startswith("nnactive_change -d 504 -cycles 5")
    assert third.startswith("nnactive_change -d 504 -drop 'x y'")
    assert last == "nnactive_run -d 504"


def test_a_method_that_is_gone_is_called_by_its_name():
    assert method_in_words("/nowhere/my_methods.py:mine", {}) == ""
    assert "thesis" in method_in_words("clasp_pe", {"alpha": "0.5"})


# What is vendored


def test_niivue_is_the_file_that_its_readme_names():
    readme = (NIIVUE.parent / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(NIIVUE.read_bytes()).hexdigest() in readme
    assert "0.69.0" in readme
    assert "0.69.0" in (NIIVUE.parent / "niivue-LICENSE.txt").read_text(encoding="utf-8")


def test_niivue_can_stand_in_a_script():
    source = NIIVUE.read_text(encoding="utf-8")
    assert not re.search(r"</script|<!--", source, re.IGNORECASE)
    assert "\r" not in source  # a browser reads \n, and the hash would be another
    assert NIIVUE.stat().st_size < 4_000_000


# The command


def test_a_simulated_experiment(planned, capsys):
    run_cycles(planned, fake_tools(classes=3), progress=False, say=lambda text: None)
    report.main("-d 101 -device none -boxes 2 --disable_progress_bar".split())
    file = planned.results / "report.html"
    assert f"{file} (" in capsys.readouterr().out
    page = Page(file.read_text(encoding="utf-8"))
    assert "3 cycles of 3 evaluated" in page.text
    assert len(page.all("figure")) > 6
    leaving = ["nnactive_export_model_to_zip -d 101 -o model.zip", "nnactive_export_labels -d 101 -o labels -device cpu"]
    assert [line for line in leaving if line in page.text] == understood("\n".join(leaving)), "how the model leaves"
    assert str(planned.raw.parent) not in file.read_text(encoding="utf-8")  # it can be sent to others


def test_an_experiment_nobody_has_run_yet(planned, tmp_path):
    report.main(["-d", "101", "-o", str(tmp_path / "r.html"), "-device", "none", "--disable_progress_bar"])
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "no cycle has been evaluated" in text
    assert "Cycle 0: the starting budget, 6 patches" in text


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: {key: value for key, value in content.items() if key != "patches"},
        lambda content: {**content, "mean_dice": "good"},
        lambda content: [content],
    ],
    ids=["without a key", "no number", "no object"],
)
def test_a_damaged_results_file_is_refused_by_name(planned, capsys, damage):
    run_cycles(planned, fake_tools(classes=3), progress=False, say=lambda text: None)
    file = planned.results / "cycle_001.json"
    write_json(file, damage(read_json(file)))
    with pytest.raises(SystemExit):
        report.main("-d 101 -device none -boxes 0 --disable_progress_bar".split())
    said = capsys.readouterr().err
    assert "ERROR" in said
    assert str(file) in said
    assert "nnactive_run" in said  # which makes it again
    assert not (planned.results / "report.html").exists()


def test_a_rollout_needs_no_reference_labels(rollout, tmp_path):
    rollout.plan()
    points = tmp_path / "points.csv"
    points.write_text("case,class,i,j,k\ntiny_1,organ,7,13,12\ntiny_2,lesion,6,13,14\n")
    rollout.annotate(f"points {points}")
    for answered in (6, 1):
        for task in rollout.export(tmp_path / f"out{answered}")[:answered]:
            expert.in_place(task)
        rollout.annotate(f"import {tmp_path / f'out{answered}'} -who anna --disable_progress_bar")
        if answered == 6:
            rollout.annotate("close -share 0.6 --disable_progress_bar")
            rollout.run()
    shutil.rmtree(rollout.anatomy)
    report.main(["-d", "601", "-o", str(tmp_path / "r.html"), "-device", "none", "--disable_progress_bar"])
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "there is no test set" in text.lower()
    assert "Cycle 1: 4 patches, not all annotated yet" in text
    assert "annotated by people" in text


def test_wrong_words_are_told(planned, tmp_path, capsys):
    for words in (
        ["-d", "101", "-boxes", "-1"],
        ["-d", "101", "-o", str(tmp_path / "no" / "r.html")],
        ["-d", "101", "-o", str(tmp_path)],
        ["-d", "100"],
    ):
        with pytest.raises(SystemExit):
            report.main([*words, "-device", "none"])
        assert "ERROR" in capsys.readouterr().err
    assert Experiment(planned.name).results.exists() is False or not list(planned.results.glob("*.html"))

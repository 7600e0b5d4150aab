"""Commands that people are told to type: complete for their experiment, understood as printed, and spelt in one place only."""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from fake_members import fake_tools, fake_train
from printed import commands_in, understood

import nnactive_ext
from nnactive_ext.cli import query, report, status
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment import commands as spelt
from nnactive_ext.experiment.commands import Commands, device_in_use, hand_in, named_device, run_of
from nnactive_ext.experiment.environment import Environment
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import ENVIRONMENTS, MEMBER
from nnactive_ext.files import read_json, write_json
from nnactive_ext.loop.cycles import run_cycles
from nnactive_ext.loop.status import by_hand
from nnactive_ext.members.ensemble import check_members, fold_folder
from nnactive_ext.report.facts import gather

RESENC = {"preset": None, "plans_identifier": "nnUNetResEncUNetMPlans", "trainer": "nnActiveTrainer"}


@pytest.fixture(autouse=True)
def nothing_named():
    before = named_device.set("")
    yield
    named_device.reset(before)


def without_preset(experiment: Experiment, **changes) -> Experiment:
    """Written to its file, as another planner and no preset would have made it."""
    replace(experiment.plan, **{**RESENC, **changes}).write(experiment.raw)
    return Experiment(experiment.name)


def test_nnunets_commands_name_what_is_not_its_default(planned):
    plan = planned.plan
    trainer = plan.trainer
    assert Commands(plan, "cpu").train(0) == f"nnUNetv2_train 101 3d_fullres 0 -tr {trainer} -device cpu"
    resenc = Commands(replace(plan, **RESENC, configuration="3d_lowres"), "cuda")
    assert resenc.train("all") == "nnUNetv2_train 101 3d_lowres all -tr nnActiveTrainer -p nnUNetResEncUNetMPlans"
    predict = shlex.split(resenc.predict([0, 2])[-1])
    assert predict[predict.index("-f") : predict.index("-tr")] == ["-f", "0", "2"]
    assert predict[-2:] == ["-p", "nnUNetResEncUNetMPlans"]
    assert resenc.run == "nnactive_run -d 101"
    assert Commands(plan, "mps").query("-f", 0) == "nnactive_query -d 101 -f 0 -device mps"


@pytest.mark.parametrize("folder", ["tasks", "my tasks", "it's", "a;b"])
def test_names_are_words_of_a_shell(folder):
    assert shlex.split(hand_in(7, folder, "Dr No")) == ["nnactive_annotate", "import", "-d", "7", folder, "-who", "Dr No"]


def test_a_number_that_nnunet_mistakes_is_replaced_by_the_name(planned, nnunet_folders):
    assert " 101 " in planned.commands.train(0)
    (nnunet_folders.raw / "Dataset1012_Other").mkdir()
    assert f" {planned.name} " in planned.commands.train(0)
    assert f"-d {planned.name}" in planned.commands.predict([0])[-1]
    assert planned.commands.run.startswith("nnactive_run -d 101 ")  # ours go by the whole number


def test_the_device_is_the_presets_the_one_named_or_the_one_used_last(planned, monkeypatch):
    monkeypatch.setattr(spelt, "device_here", lambda: "cuda")
    named_device.set("mps")
    assert device_in_use(planned) == "cpu"
    experiment = without_preset(planned)
    assert device_in_use(experiment) == "mps"
    named_device.set("")
    assert device_in_use(experiment) == "cuda"
    assert "-device" not in experiment.commands.run
    fake_train(experiment, 1)
    mark = fold_folder(experiment, 1) / MEMBER
    write_json(mark, {**read_json(mark), ENVIRONMENTS: [{"versions": {}, "device": "mps"}]})
    assert experiment.commands.report == "nnactive_report -d 101 -device mps"


def test_without_a_gpu_and_without_anything_used_yet_the_cpu_is_named(planned):
    assert without_preset(planned).commands.run in ("nnactive_run -d 101 -device cpu", "nnactive_run -d 101")
    assert spelt.device_here() in ("cpu", "cuda", "mps")


def test_a_typed_device_is_named_and_a_default_is_not(planned, capsys, monkeypatch):
    without_preset(planned)
    monkeypatch.setattr(spelt, "device_here", lambda: "cuda")
    with pytest.raises(SystemExit):
        query.main("-d 101 -device cpu".split())
    assert "nnactive_run -d 101 -device cpu" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        query.main("-d 101".split())
    assert "-device" not in capsys.readouterr().err


@pytest.mark.parametrize("changes", [{}, {"preset": None}, RESENC, {**RESENC, "configuration": "2d"}])
def test_by_hand_is_complete(planned, changes):
    experiment = without_preset(planned, **changes) if changes else planned
    named_device.set("cpu")
    lines = [line.strip() for line in by_hand(experiment).splitlines()[1:]]
    assert lines[0] == 'eval "$(nnactive_env)"'
    plan = experiment.plan
    trained = [shlex.split(line) for line in lines[1:-1]]
    assert [words[:4] for words in trained] == [["nnUNetv2_train", "101", plan.configuration, str(f)] for f in (0, 1, 2)]
    for words in trained:
        assert words[words.index("-tr") + 1] == plan.trainer
        assert words[words.index("-device") + 1] == "cpu"
        given = words[words.index("-p") + 1] if "-p" in words else "nnUNetPlans"
        assert given == plan.plans_identifier
    assert lines[-1] == "nnactive_query -d 101 -device cpu"


def test_members_that_are_missing_are_named_with_what_trains_them(planned):
    fake_train(planned, 0)
    with pytest.raises(NnActiveError) as caught:
        check_members(planned, planned.folds())
    told = str(caught.value)
    assert planned.commands.train(0) not in told
    assert planned.commands.train(1) in told
    assert planned.commands.run in told
    understood(told)


def test_another_trainer_is_not_what_a_run_trains(planned):
    other = replace(planned, planned=replace(planned.plan, trainer="nnActiveTrainer_7epochs"))
    with pytest.raises(NnActiveError) as caught:
        check_members(other, [0])
    assert "-tr nnActiveTrainer_7epochs" in str(caught.value)
    assert "nnactive_run" not in str(caught.value)


def test_the_command_that_merges_parts_is_the_same_without_the_part(planned, capsys, monkeypatch):
    monkeypatch.setattr("nnactive_ext.querying.query.query_cycle", lambda *arguments: None)
    line = "-d 101 -num_p 3 -part 1 -f 2 0 --method clasp_pe alpha=0.5 -query_size 3 -precision half -device cpu --disable_prog"
    query.main(line.split())
    (merge,) = understood(capsys.readouterr().out)
    told = query.parser().parse_args(shlex.split(merge)[1:])
    assert (told.num_parts, told.part_id) == (1, 0)
    assert (told.f, told.method, told.query_size) == ([2, 0], ["clasp_pe", "alpha=0.5"], 3)
    assert (told.precision, told.device, told.disable_progress_bar) == ("half", "cpu", True)


def test_all_that_a_simulation_prints_is_understood(planned, capsys):
    status.main(["-d", "101"])
    printed = capsys.readouterr().out
    said: list[str] = []
    run_cycles(planned, fake_tools(classes=3), progress=False, say=said.append)
    status.main(["-d", "101"])
    printed += "\n".join([*said, capsys.readouterr().out])
    found = understood(printed)
    assert {shlex.split(line)[0] for line in found} >= {
        "nnactive_run",
        "nnactive_report",
        "nnactive_change",
        "nnUNetv2_predict",
        "eval",
    }
    assert all("-device cpu" in line for line in found if re.match("nnactive_(run|report)|nnUNetv2", line))
    facts = gather(Experiment(planned.name), None, 0, False)
    report.main(["-d", "101", "-device", "none", "-patches", "0", "--disable_progress_bar"])
    page = (planned.results / "report.html").read_text(encoding="utf-8")
    assert facts.commands.report in page
    assert facts.commands.run in page


def test_all_that_a_rollout_prints_is_understood(rollout, tmp_path, capsys):
    rollout.plan()
    rollout.export(tmp_path / "my tasks")
    with pytest.raises(SystemExit):
        rollout.annotate("close")
    told = capsys.readouterr()
    found = [*understood(told.out), *understood(told.err)]
    kinds = {" ".join(shlex.split(line)[:2]) for line in found}
    assert kinds >= {f"nnactive_annotate {kind}" for kind in ("points", "export", "import", "close")}
    page = (tmp_path / "my tasks" / "index.html").read_text(encoding="utf-8")
    assert "nnactive_annotate import -d 601 &#39;my tasks&#39; -who YOUR_NAME" in page
    readme = (tmp_path / "my tasks" / "README.txt").read_text(encoding="utf-8")
    assert understood(readme) == ["nnactive_annotate import -d 601 FOLDER -who NAME"]


def test_damaged_results_are_written_again_by_a_whole_command(planned):
    assert run_of(planned.results) == "nnactive_run -d 101 -device cpu"
    assert run_of(Path("elsewhere") / "Dataset999_Gone" / "nnactive").startswith("nnactive_run on the machine")


SPELLS = re.compile(
    r"nnactive_(annotate|bench|change|compare|plan|query|report|run|status) -(?!h\b)\w"
    r"|nnactive_(annotate|change|query|run|status|report) +(-d|\w+ -d)|nnUNetv2_\w+ +(\{|\d|-d)"
)
ALLOWED = {"demo.py", "experiment/commands.py"}


def test_no_other_module_spells_a_command():
    """Docstrings may; the demo types what it shows; help texts name commands without an experiment."""
    root, wrong = Path(nnactive_ext.__file__).parent, []
    for file in sorted(root.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        bodies = (n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef))
        docstrings = {id(n.body[0].value) for n in bodies if n.body and isinstance(n.body[0], ast.Expr)}
        for node in ast.walk(tree):
            text = ast.unparse(node) if isinstance(node, ast.JoinedStr) else getattr(node, "value", None)
            if isinstance(node, ast.JoinedStr | ast.Constant) and isinstance(text, str) and id(node) not in docstrings:
                if SPELLS.search(text) and file.relative_to(root).as_posix() not in ALLOWED:
                    wrong.append(f"{file.relative_to(root)}:{node.lineno}: {text[:80]}")
    assert not wrong, "\n".join(wrong)


def test_the_scan_finds_what_it_looks_for():
    assert SPELLS.search("f'Next: nnactive_run -d {number}'")
    assert SPELLS.search("f'nnUNetv2_train {number} 3d_fullres'")
    assert not SPELLS.search("nnactive_query --list_methods lists all methods")


def test_an_environment_of_a_member_is_read_whatever_else_is_there():
    assert Environment.of({"versions": {"torch": "2"}, "threads": "many", "later": 1}) == Environment(versions={"torch": "2"})
    assert Environment.of(None) is Environment.of({"versions": 3}) is None


def test_commands_are_found_in_what_is_printed():
    text = "Next: nnactive_run -d 5, then nnactive_status -d 5; or\n  nnUNetv2_train 5 2d 0\nsee nnactive_plan."
    assert commands_in(text) == ["nnactive_run -d 5", "nnactive_status -d 5", "nnUNetv2_train 5 2d 0"]

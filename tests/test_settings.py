"""A setting of nnactive_plan is declared once and reaches flag, help, benchmark file, plan and report; old flags stay."""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import report_facts

from nnactive_ext.bench import definition, runs
from nnactive_ext.cli import change, plan
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.plan import Geometry, Plan
from nnactive_ext.planning.changes import change_settings
from nnactive_ext.planning.options import (
    ROLLOUT,
    SIMULATION,
    check_kind,
    from_options,
    kept,
    options,
    planned_value,
    repeating,
    setting,
)
from nnactive_ext.planning.settings import DEFAULT_METHOD, Settings, command_of
from nnactive_ext.planning.simulation import without_budget
from nnactive_ext.query_methods import methods

COMMANDS = "annotate bench change compare env phantom plan query report run status".split()
FLAGS = Path(__file__).parent / "flags_before.txt"
WIDENED = {"_fold": "int"}
SINCE = {"-tolerance": {"type": "None", "nargs": "+"}, "-training_hours": {"default": "None"}, "-name": {"default": "None"}}
"""What is declared otherwise since: -tolerance also takes a table, hours are measured where none are given, and a phantom is
named after its kind."""
"""Types that take what another one took, and more."""
RENAMED = {"accumulators": "precision", "boxes": "patches", "minutes_per_box": "minutes_per_patch"}


@dataclass(frozen=True, kw_only=True)
class More(Settings):
    """One setting more than there is, declared in one place."""

    contrast: float = setting(
        1.5,
        "-contrast",
        "contrast of the images, in percent (%)",
        type=float,
        metavar="PERCENT",
        old=("-gamma",),
        benchmark=True,
        change="contrast from now on, in percent (%)",
    )


@pytest.fixture
def more(monkeypatch):
    for module in (plan, definition):
        monkeypatch.setattr(module, "Settings", More)


def read(words: str) -> Settings:
    return from_options(plan.Settings, plan.parser().parse_args(words.split()))


def planned(settings: Settings) -> Plan:
    made = without_budget(settings, "Liver", {"a": Geometry((8, 8, 8), (1, 1, 1))}, (4.0, 4.0, 4.0))
    return replace(made, query_size=1)


@pytest.mark.usefixtures("more")
def test_a_setting_declared_once_is_everywhere(tmp_path, capsys):
    with pytest.raises(SystemExit):
        plan.main(["-h"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "-contrast PERCENT contrast of the images, in percent (%) (default: 1.5)" in shown
    assert "-gamma" not in shown
    assert read("-d 4 -o 504").contrast == 1.5
    assert read("-d 4 -o 504 -gamma 2").contrast == 2
    settings = read("-d 4 -o 504 -contrast 2.5")
    made = replace(planned(settings), source="../Dataset004_Source")
    made.write(tmp_path)
    assert json.loads((tmp_path / "nnactive_plan.json").read_text())["settings"] == {"contrast": 2.5}
    assert planned_value(Plan.read(tmp_path), "contrast") == 2.5
    words = repeating(More, Plan.read(tmp_path))
    assert words[words.index("-contrast") + 1] == "2.5"
    assert read(shlex.join(words[1:])).contrast == 2.5


BENCHMARK = """
name = "small"
first_number = 300
methods = ["random"]
seeds = [1]
{}
[[datasets]]
dataset = 100
patch_sizes = [4]
regimes = {{ low = 40 }}
"""


@pytest.mark.usefixtures("more", "nnunet_folders")
def test_a_setting_declared_once_is_a_key_of_benchmark_files(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(BENCHMARK.format("contrast = 3"))
    (first, _) = runs.runs_of(definition.read_benchmark(file), remember=False)
    assert first.settings.contrast == 3
    assert planned(first.settings).settings == {"contrast": 3}
    file.write_text(BENCHMARK.format('contrast = "3"'))
    with pytest.raises(NnActiveError, match="contrast is '3'"):
        definition.read_benchmark(file)


def test_a_setting_that_may_change_is_a_flag_of_change_and_repeated_as_it_was(monkeypatch, tmp_path):
    for module in (plan, change):
        monkeypatch.setattr(module, "Settings", More)
    assert change.parser().parse_args(["-d", "504", "-contrast", "4"]).contrast == 4
    made = planned(read("-d 4 -o 504 -contrast 2"))
    for value in (4.0, 5.0):
        running = SimpleNamespace(plan=made, state={"cycle": 0}, last_loop=0, raw=tmp_path)
        change_settings(running, "anna", {"contrast": value, "cycles": None})
        made = Plan.read(tmp_path)
        assert planned_value(made, "contrast") == value
    words = repeating(More, made)
    assert words[words.index("-contrast") + 1] == "2"


def test_a_benchmark_file_has_no_key_for_other_settings(tmp_path):
    (tmp_path / "small.toml").write_text(BENCHMARK.format("contrast = 3"))
    with pytest.raises(NnActiveError, match=r"contrast unknown; there are name, .*cycles"):
        definition.read_benchmark(tmp_path / "small.toml")


def test_every_flag_of_planning_is_declared_in_the_table():
    declared = {flag for _, option in options(Settings) for flag in (option.flag, *option.old)}
    assert {flag for action in plan.parser()._actions for flag in action.option_strings} == declared | {
        "-h",
        "--help",
        "--disable_progress_bar",
        "-lock",
    }


def test_settings_at_their_defaults_leave_the_plan_as_it_was(tmp_path):
    assert kept(read("-d 4 -o 504"))["settings"] == {}
    planned(read("-d 4 -o 504")).write(tmp_path)
    assert "settings" not in json.loads((tmp_path / "nnactive_plan.json").read_text())


def test_what_only_the_cost_depends_on_is_kept_and_repeated():
    settings = read("-i images -o 601 --labels liver -minutes_per_box 7 -structures liver=20 -share 0.5")
    made = replace(planned(settings), annotator="human")
    assert made.settings == {"minutes_per_patch": 7.0, "structures": ["liver=20"]}
    words = command_of(replace(made, share=0.8, changes=({"what": "share", "before": 0.5},)), labels=["liver"], channels=["CT"])
    assert shlex.join(words).startswith("nnactive_plan -i FOLDER --labels liver -channels CT -o 601 -name Liver")
    again = read(shlex.join(words[1:]))
    assert (again.minutes_per_patch, again.share, again.labels, again.number) == (7, 0.5, ["liver"], 601)


@pytest.mark.parametrize(
    ("words", "kind", "flag"),
    [
        ("-d 4 -o 504 -channels CT", SIMULATION, "-channels"),
        ("-d 4 -o 504 -expert_rate 5", SIMULATION, "-expert_rate"),
        ("-i images -o 504 -tolerance 2", ROLLOUT, "-tolerance"),
        ("-i images -o 504 --all_labels", ROLLOUT, "--all_labels"),
        ("-i images -o 504 -test mine.txt", ROLLOUT, "-test"),
    ],
)
def test_a_setting_of_the_other_kind_is_refused(words, kind, flag):
    with pytest.raises(NnActiveError, match=f"{flag} is for"):
        check_kind(read(words), kind)


def test_the_table_names_the_default_method():
    assert DEFAULT_METHOD == methods.DEFAULT


def test_a_report_repeats_a_plan_word_for_word():
    facts = report_facts.facts(preset="cpu", tolerance_mm=2.5, protocol="standard")
    assert shlex.join(command_of(facts.plan)) == (
        "nnactive_plan -d 4 -o 504 -name Made -patch_size 18mm 12mm 12mm -query_size 4 -starting_budget 4 -cycles 3 "
        "-seed 7 --method clasp_pe alpha=0.5 -folds 5 -c 3d_fullres -tr nnActiveTrainer -pl ExperimentPlanner "
        "-tolerance 2.5 --preset cpu"
    )


def test_a_value_of_0_is_repeated():
    plan = report_facts.facts().plan
    words = command_of(replace(plan, seed=0, starting_budget=0))
    assert words[words.index("-seed") + 1] == "0"
    assert words[words.index("-starting_budget") + 1] == "0"


@pytest.mark.parametrize("name", sorted(file.stem for file in Path(plan.__file__).parent.glob("*.py")))
def test_a_command_runs_as_a_module_once_all_of_its_file_is_read(name):
    """``main()`` comes last: what it calls must be defined."""
    tree = ast.parse((Path(plan.__file__).parent / f"{name}.py").read_text(encoding="utf-8"))
    if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
        assert ast.unparse(tree.body[-1]) == "if __name__ == '__main__':\n    main()"


def test_changes_are_those_of_the_table():
    flags = {flag for action in change.parser()._actions for flag in action.option_strings}
    assert {option.flag for _, option in options(Settings) if option.change} == {
        "-cycles",
        "-seed",
        "-expert",
        "-repeat",
        "-share",
        "-air",
        "-series",
        "-screen",
        "-relevance",
        "-evaluate",
        "-evaluate_mirroring",
        "-evaluate_step",
    }
    assert flags >= {"-cycles", "-seed", "-expert", "-share", "-air", "-series"}


def actions(parser: argparse.ArgumentParser, title: str) -> dict[tuple[str, str], argparse.Action]:
    found = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                found |= actions(below, f"{title} {name}")
        for flag in action.option_strings or [action.dest]:
            found[title, flag] = action
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_there_ever_was_means_the_same(command):
    """flags_before.txt: command, flag, kind, type, nargs, default, choices and whether it is required, as they once were."""
    made = importlib.import_module(f"nnactive_ext.cli.{command}").parser()
    found = actions(made, made.prog)
    lines = [line.split("\t") for line in FLAGS.read_text().splitlines()]
    ours = [line for line in lines if line[0].split()[0] == made.prog]
    assert ours
    for title, flag, kind, type_, nargs, default, choices, required in ours:
        action = found[title, flag]
        now = action
        if action.default is argparse.SUPPRESS and action.nargs != 0:  # an old spelling: another flag has the default
            now = found[title, f"-{RENAMED[flag.lstrip('-')]}"]
            assert now.dest == action.dest
        assert action.dest == RENAMED.get(flag.lstrip("-"), flag.lstrip("-"))
        assert type(action).__name__ == kind
        since = SINCE.get(flag, {})
        type_, nargs, default = since.get("type", type_), since.get("nargs", nargs), since.get("default", default)
        now_type = str(getattr(action.type, "__name__", None))
        assert WIDENED.get(now_type, now_type) == type_
        assert str(action.nargs) == nargs
        assert repr(now.default) == default, flag
        assert str(None if action.choices is None else list(action.choices)) == choices
        assert str(action.required) == required


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_nothing_heavy(command):
    code = f"import sys, nnactive_ext.cli.{command} as c; c.parser().format_help(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"numpy", "torch", "nnunetv2"} & set(loaded)

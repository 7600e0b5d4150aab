"""Options of run, query and bench that let workers carry out their steps: what contradicts, what is missing, what is said."""

from __future__ import annotations

import re
import sys
import urllib.request
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_members import fake_train
from same_files import written
from test_bench import FILE

from nnactive_ext.cli import bench, query, run, workers
from nnactive_ext.errors import NnActiveError

COMMANDS = {"run": run, "query": query, "bench": bench}


@pytest.fixture
def commands(planned, tmp_path, monkeypatch) -> Callable[[str, str], None]:
    """Calls one of the commands with the words of a line, on a machine with two GPUs that are names only."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr("nnactive_ext.nnunet.environment.check_torchvision", lambda: None)
    for module in COMMANDS.values():
        monkeypatch.setattr(module, "prepare", lambda device: None)
    (tmp_path / "small.toml").write_text(FILE.replace("dataset = 100", f'dataset = "{planned.source.folder}"'))
    for fold in planned.folds():
        fake_train(planned, fold)
    objects = {"run": ["-d", "101"], "query": ["-d", "101"], "bench": [str(tmp_path / "small.toml")]}
    return lambda name, line: COMMANDS[name].main([*objects[name], *line.split()])


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("-gpus 3", "-gpus 3"),
        ("-gpus 0,7", "-gpus 0,7"),
        ("-gpus 2 -device cpu", "-gpus"),
        ("-gpus 2 -np 2", "-gpus"),
        ("-np 0", "-np 0"),
        ("-workers w.json -gpus 2", "-workers"),
        ("-workers w.json -np 2 -device cpu", "-workers"),
        ("-interface ib0", "-interface"),
        ("-dashboard 8787", "-dashboard"),
    ],
)
def test_what_contradicts_itself_is_refused(commands, planned, name, line, named, capsys):
    before = written(planned)
    with pytest.raises(SystemExit) as ended:
        commands(name, line)
    assert ended.value.code == 1
    assert named in capsys.readouterr().err
    assert written(planned) == before


@pytest.mark.parametrize("line", ["-gpus 2", "-workers w.json", "-device cpu -np 2"])
def test_parts_by_hand_and_by_workers(commands, line, capsys):
    with pytest.raises(SystemExit):
        commands("query", f"-num_parts 2 -part_id 0 {line}")
    assert "-num_parts" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "line"), [("run", "-np 2"), ("query", "-np 2"), ("bench", "-np 2 -dashboard 8787")])
def test_processes_that_no_gpu_is_for(commands, name, line, capsys):
    with pytest.raises(SystemExit):
        commands(name, line)
    assert "-gpus" in capsys.readouterr().err


def options_with(**given) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(run.parser().parse_args(["-d", "101"])), **given})


def test_without_what_draws_the_dashboard(monkeypatch):
    monkeypatch.setattr(workers, "find_spec", lambda name: None)
    with pytest.raises(NnActiveError, match="bokeh"):
        workers.check_workers(options_with(dashboard=8787, device="cpu", np=2))


@pytest.mark.slow
def test_the_dashboard_shows_the_workers(planned, capsys):
    pytest.importorskip("distributed")
    pytest.importorskip("bokeh")
    with workers.runner_of("run", options_with(dashboard=0, device="cpu", np=2), planned, lambda step: []) as runner:
        assert runner is not None
        (address,) = re.findall(r"http://127\.0\.0\.1:\d+/\S*", capsys.readouterr().out)
        assert b"Dask Diagnostic UI" in urllib.request.urlopen(address, timeout=60).read()
        assert runner.parts == 8


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("line", ["-gpus all", "-workers w.json"])
def test_without_the_extra(commands, planned, monkeypatch, name, line, capsys):
    before = written(planned)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SystemExit):
        commands(name, line)
    assert workers.INSTALL in capsys.readouterr().err
    assert written(planned) == before


@pytest.mark.parametrize(
    ("visible", "device", "extra", "expected"),
    [
        ("0,1", "cuda", True, "-gpus all"),
        ("0,1", "cuda", False, workers.INSTALL),
        ("0", "cuda", False, ""),
        ("", "cuda", True, ""),
        ("0,1", "cpu", False, ""),
    ],
)
def test_gpus_that_are_left_idle_are_named(monkeypatch, capsys, visible, device, extra, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(workers, "find_spec", lambda name: name if extra else None)
    with workers.runner_of("run", options_with(device=device), None, lambda step: []) as runner:
        assert runner is None
    said = capsys.readouterr().out
    assert expected in said
    assert bool(said) == bool(expected)


def test_a_query_of_which_a_part_fails_chooses_nothing(commands, planned, monkeypatch, capsys):
    class Failing:
        parts = 3

        def run(self, experiment, steps, begins) -> None:
            assert [step.name for step in steps] == [f"score_{part}_of_3" for part in range(3)]
            raise NnActiveError("score_1_of_3 failed with status 1.")

    @contextmanager
    def failing(*asked):
        yield Failing()

    monkeypatch.setattr(query, "runner_of", failing)
    with pytest.raises(SystemExit) as ended:
        commands("query", "-gpus all")
    assert ended.value.code == 1
    assert "score_1_of_3" in capsys.readouterr().err
    assert planned.anew().last_loop == 0


def test_members_that_are_missing_are_said_before_anything_is_started(commands, tmp_path, capsys):
    for line in (f"-workers {tmp_path / 'w.json'} -f 0 7", f"-workers {tmp_path / 'w.json'} -f all"):
        with pytest.raises(SystemExit):
            commands("query", line)
        said = capsys.readouterr()
        assert "fold" in said.err
        assert "Workers carry out" not in said.out


def test_a_method_that_scores_nothing_needs_no_workers(commands, planned, tmp_path):
    file = tmp_path / "w.json"
    commands("query", f"-workers {file} --method random")
    assert planned.anew().state["cycle"] == 1
    assert not Path(file).exists()

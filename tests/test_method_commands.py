"""Methods on the command line: the list, a method of one's own, and what planning refuses before anything is trained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fakes import shown_methods
from printed import understood

from nnactive_ext.cli import plan, query
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json
from nnactive_ext.query_methods import methods
from nnactive_ext.query_methods.aggregation import AGGREGATIONS
from nnactive_ext.query_methods.options import OPTIONS
from nnactive_ext.query_methods.perturbation import KINDS, PERTURBATIONS
from nnactive_ext.query_methods.scores import SCORES
from nnactive_ext.query_methods.uncertainty import BLOCKINGS

PLANNING = "-d 100 -o 101 -patch_size 5 5 3 -query_size 4 -starting_budget 6 -cycles 3 -folds 3 --preset cpu"
PLANNING += " --disable_progress_bar"
QUERY = "-d 101 -device cpu --disable_progress_bar"


def test_the_list_needs_neither_an_experiment_nor_folders(monkeypatch, capsys):
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as ended:
        query.main(["--list_methods"])
    assert ended.value.code == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    starts = [line.split()[0] for line in printed.out.splitlines() if line[0] != " "]
    assert starts == list(methods.names())
    assert "H[p] = -sum_c p_c ln p_c" in printed.out
    assert "Eq 3.5" in printed.out


@pytest.mark.usefixtures("tiny", "quick_planning")
def test_a_method_in_a_file_is_planned_and_asked(tmp_path, monkeypatch):
    shown_methods(tmp_path)
    monkeypatch.chdir(tmp_path)
    plan.main([*PLANNING.split(), "--method", "my_methods.py:evenly", "at_most=5"])
    file = tmp_path / "my_methods.py"
    assert Experiment.find(101).plan.method == f"{file}:evenly"
    assert ("query method", f"{file}:evenly at_most=5", "as asked for") in Experiment.find(101).plan.decisions
    monkeypatch.chdir("/")
    query.main(QUERY.split())
    loop = read_json(Experiment.find(101).raw / "loop_001.json")
    assert (loop["method"], loop["options"], len(loop["patches"])) == (f"{file}:evenly", {"at_most": "5"}, 4)


@pytest.mark.usefixtures("planned", "quick_planning")
def test_another_experiments_patches_are_replayed():
    """The same starting budget and pool, so what the first chose fits the second."""
    query.main([*QUERY.split(), "--method", "random"])
    experiment = Experiment.find(101)
    first = read_json(experiment.raw / "loop_001.json")
    plan.main([*PLANNING.replace("-o 101", "-o 102").split(), "-start_from", str(experiment.raw / "loop_000.json"),
               "--method", "precomputed", "source=101"])  # fmt: skip
    query.main(QUERY.replace("101", "102").split())
    second = read_json(Experiment.find(102).raw / "loop_001.json")
    assert [(p["file"], p["coords"], p["size"]) for p in second["patches"]] == [
        (p["file"], p["coords"], p["size"]) for p in first["patches"]
    ]
    assert second["options"] == {"source": "101"}


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("absent.py:mine", ["absent.py", "no such file"]),
        ("precomputed", ["source="]),
        ("precomputed source=777", ["777"]),
        ("clasp_pe score=energy", ["energy", "negative", "alpha=0"]),
        ("bald perturbation=softrank", ["softrank", "beta=1"]),
        ("clasp_pe overlap=1", ["overlap=1", "below 1"]),
        ("clasp_pe stride=2x2", ["stride=2x2", "4x8x8"]),
        ("clasp_pe blocking=both", ["blocking=both", "merge, image"]),
        ("clasp_pe aggregation=median", ["aggregation=median", "threshold"]),
        ("clasp_pe beta=cubic:1:2", ["cubic", "sigmoid"]),
    ],
)
@pytest.mark.usefixtures("tiny", "quick_planning")
def test_planning_refuses_a_method_that_cannot_work(nnunet_folders, capsys, method, words):
    with pytest.raises(SystemExit) as ended:
        plan.main([*PLANNING.split(), "--method", *method.split()])
    assert ended.value.code == 1
    message = capsys.readouterr().err
    for word in words:
        assert word in message
    assert not list(nnunet_folders.raw.glob("Dataset101*"))


def test_the_page_names_every_method_and_every_option_and_value():
    page = (Path(__file__).parent.parent / "docs" / "methods.md").read_text(encoding="utf-8")
    for name in (*methods.names(), *SCORES, *AGGREGATIONS, *PERTURBATIONS, *BLOCKINGS):
        assert re.search(rf"[`=]{name}[`:]", page), name
    for kind in KINDS:
        assert f"`{kind}:1:100`" in page
    for option in OPTIONS:
        assert f"`{option}=" in page


def test_a_part_names_the_command_that_merges(planned, monkeypatch, capsys):
    monkeypatch.setattr("nnactive_ext.querying.query.query_cycle", lambda *arguments: None)
    query.main(f"{QUERY} -f 0 1 -num_parts 3 --method bald alpha=0.5 -part_id 1 -query_size 3".split())
    (line,) = understood(capsys.readouterr().out)
    told = vars(query.parser().parse_args(line.split()[1:]))
    assert told == vars(query.parser().parse_args(f"{QUERY} -f 0 1 --method bald alpha=0.5 -query_size 3".split()))

"""Versions, device and precision are what is used when something is made, and what differs is told."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_members import FakeEnsemble, fake_tools, fake_train
from results import write_experiment

from nnactive_ext.cli import status
from nnactive_ext.compare.compare import compare
from nnactive_ext.experiment import environment, marks
from nnactive_ext.experiment.environment import UNKNOWN, Environment, observe, versions
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import ENVIRONMENTS, MEMBER
from nnactive_ext.experiment.observed import differences, environments
from nnactive_ext.experiment.record import read_record, write_record
from nnactive_ext.experiment.result import read_results
from nnactive_ext.files import read_json, write_json
from nnactive_ext.loop.cycles import run_cycles
from nnactive_ext.members.ensemble import fold_folder
from nnactive_ext.querying import query as querying
from nnactive_ext.querying.query import query_cycle


def seen_elsewhere(*folders: Path, first: str = "") -> dict[str, str]:
    """What a fresh process with these folders on PYTHONPATH observes."""
    code = f"{first}\nfrom nnactive_ext.experiment.environment import versions\nimport json; print(json.dumps(versions()))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return __import__("json").loads(done.stdout)


def package(folder: Path, module: str, version: str = "", installed: tuple[str, str] | None = None) -> None:
    (folder / module).mkdir(parents=True)
    (folder / module / "__init__.py").write_text(f'__version__ = "{version}"\n' if version else "")
    if installed:
        name, number = installed
        info = folder / f"{name.replace('-', '_')}-{number}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")


def test_this_process():
    found = versions()
    assert found["python"] == platform.python_version()
    assert (found["numpy"], found["torch"]) == (np.__version__, torch.__version__)
    here = observe("cpu", "half")
    assert (here.device, here.precision, here.means) == ("cpu", "single", "half")
    assert here.threads == torch.get_num_threads()
    assert here.device_name
    assert observe().device == ""


def test_what_is_imported_counts_not_what_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(np, "__version__", "7.7.7")
    assert versions()["numpy"] == "7.7.7"


@pytest.mark.slow
def test_imported_or_not_a_version_is_the_same():
    names = ", ".join(environment.PACKAGES.values())
    assert seen_elsewhere() == seen_elsewhere(first=f"import {names}")


@pytest.mark.parametrize(
    ("module", "version", "installed", "name", "expected"),
    [
        ("blosc2", "9.9.9", None, "blosc2", "9.9.9"),
        ("nibabel", "", ("nibabel", "8.8.8"), "nibabel", "8.8.8"),
        ("skimage", "", ("scikit-image", "0.0.7"), "scikit-image", "0.0.7"),
        ("nnunetv2", "", None, "nnunetv2", UNKNOWN),
        ("acvl_utils", "", None, "acvl-utils", UNKNOWN),
    ],
)
def test_pythonpath_comes_first(tmp_path, module, version, installed, name, expected):
    package(tmp_path, module, version, installed)
    assert seen_elsewhere(tmp_path)[name] == expected


@pytest.fixture
def other_numpy(planned):
    """Planned with a numpy that is not there any more."""
    from dataclasses import replace

    replace(planned.plan, versions={**planned.plan.versions, "numpy": "1.2.3"}).write(planned.raw)
    return Experiment(planned.name)


def asked(experiment: Experiment, parts=(0, 1), **options):
    def opened(experiment, folds):
        ensemble = FakeEnsemble(experiment, classes=3)
        ensemble.device = torch.device("cpu")
        return ensemble

    return query_cycle(experiment, opened, experiment.folds(), parts=parts, progress=False, **options)


@pytest.mark.parametrize("method", ["random", "margin"])
def test_a_query_notes_its_own_versions(other_numpy, method):
    for fold in other_numpy.folds():
        fake_train(other_numpy, fold)
    asked(other_numpy, method=method)
    loop = read_json(other_numpy.raw / "loop_001.json")
    assert loop["versions"]["numpy"] == np.__version__
    (where,) = loop[ENVIRONMENTS]
    assert where["device"] == ("cpu" if method == "margin" else "")
    assert any("numpy: 1.2.3 (planning)" in text for text in differences(environments(other_numpy)))


def test_parts_that_were_scored_elsewhere_are_all_told(planned, monkeypatch):
    for fold in planned.folds():
        fake_train(planned, fold)
    for part, torch_version in enumerate(("2.9.0", "2.10.0")):
        here = Environment(versions={"torch": torch_version}, device="cuda", precision="mixed")
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(querying, "observe", lambda *of, here=here: here)
            asked(planned, (part, 2))
    asked(planned)
    loop = read_json(planned.raw / "loop_001.json")
    assert loop["versions"]["torch"] == torch.__version__
    assert [one["versions"]["torch"] for one in loop[ENVIRONMENTS]] == ["2.9.0", "2.10.0", torch.__version__]


def test_a_training_that_is_continued_elsewhere_has_both(planned):
    folder = fold_folder(planned, 0)
    folder.mkdir(parents=True)
    one, other = (Environment(versions={"torch": v}, device=d) for v, d in (("2.9.0", "cuda"), ("2.10.0", "cpu")))
    for where, continued in ((one, False), (one, True), (other, True)):
        lock = marks.begin(folder, planned.preprocessed.folder, continued=continued, environment=where)
        lock.release()
    noted = read_json(folder / MEMBER)[ENVIRONMENTS]
    assert [(n["versions"]["torch"], n["device"]) for n in noted] == [("2.9.0", "cuda"), ("2.10.0", "cpu")]
    told = differences(environments(planned))
    assert any(text.startswith("device: cuda (fold 0 of cycle 0); cpu (fold 0 of cycle 0)") for text in told)


def test_evaluations_are_noted_and_files_without_are_read(planned):
    run_cycles(planned, fake_tools(classes=3), progress=False, say=lambda text: None)
    assert all(one.environment.versions["torch"] == torch.__version__ for one in read_results(planned.results))
    for cycle in range(3):
        file = planned.results / f"cycle_{cycle:03d}.json"
        write_json(file, {key: value for key, value in read_json(file).items() if key != "environment"})
    assert [one.environment for one in read_results(planned.results)] == [None] * 3


def test_status_tells_and_is_silent_where_all_is_alike(planned, capsys):
    run_cycles(planned, fake_tools(classes=3), progress=False, say=lambda text: None)
    status.main(["-d", "101"])
    assert "not all of this experiment" not in capsys.readouterr().out
    mark = fold_folder(planned, 1) / MEMBER
    write_json(mark, {**read_json(mark), ENVIRONMENTS: [{"versions": {"torch": "0.4"}, "device": "cuda"}]})
    status.main(["-d", "101"])
    told = capsys.readouterr().out
    assert "torch: " in told
    assert "0.4 (fold 1 of cycle 2)" in " ".join(told.split())


def test_experiments_of_the_version_before_are_silent(planned):
    """Their loop files copy the plan's versions, their marks and results have none."""
    run_cycles(planned, fake_tools(classes=3), progress=False, say=lambda text: None)
    for cycle in (1, 2):
        file = planned.raw / f"loop_{cycle:03d}.json"
        content = read_json(file)
        write_json(file, {**{k: v for k, v in content.items() if k != ENVIRONMENTS}, "versions": {"torch": "0.1"}})
        file = planned.results / f"cycle_{cycle:03d}.json"
        write_json(file, {key: value for key, value in read_json(file).items() if key != "environment"})
    assert differences(environments(planned)) == []


def test_a_comparison_takes_it_as_a_doubt(tmp_path):
    elsewhere = [
        {"what": "planning", "versions": {"torch": "2.9.0"}},
        {"what": "query of cycle 1", "versions": {"torch": "3.0"}},
    ]
    folders = [
        write_experiment(tmp_path, 501, (0.4, 0.5, 0.6), record={"environments": elsewhere}),
        write_experiment(tmp_path, 502, (0.4, 0.5, 0.6), "bald"),
    ]
    compare(folders, tmp_path / "out")
    text = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "not all of Dataset501\\_X was made in the same way" in text
    assert "torch: 2.9.0 (planning); 3.0 (query of cycle 1)" in text
    assert "not all of Dataset502" not in text


def test_the_record_tells_of_members_and_queries(planned):
    for fold in planned.folds():
        fake_train(planned, fold)
        mark = fold_folder(planned, fold) / MEMBER
        write_json(mark, {**read_json(mark), ENVIRONMENTS: [{"versions": {"torch": "2"}, "device": "cpu"}]})
    asked(planned)
    write_record(planned)
    told = {row["what"]: row for row in read_record(planned.results)["environments"]}
    assert {"planning", "query of cycle 1", "fold 0 of cycle 0", "fold 2 of cycle 0"} <= set(told)
    assert told["fold 2 of cycle 0"]["device"] == "cpu"


@pytest.mark.parametrize(
    ("versions", "same"),
    [
        (("2.15.0", "2.15.0+cu132"), True),
        (("2.15.0+cu132", "2.15.0", "2.15.0"), True),
        (("2.15.0+cpu", "2.15.0+cu132"), False),
        (("2.15.0", "2.15.0+cpu", "2.15.0+cu132"), False),
        (("2.15.0", "2.15.1+cu132"), False),
    ],
)
def test_a_version_without_its_build_may_be_that_build(versions, same):
    """Earlier code wrote down the version of torch's package, which leaves the build out."""
    named = [(f"query of cycle {n}", Environment(versions={"torch": version})) for n, version in enumerate(versions)]
    assert (differences(named) == []) == same

"""Queries that leave out the least relevant cases, through files: verdicts, texts, parts, what is stored and recorded."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from fake_members import FakeEnsemble

from nnactive_ext.cli import change, plan, query
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.plan import Geometry
from nnactive_ext.files import read_json, write_json
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import tasks_of
from nnactive_ext.nnunet.dataset import Labels
from nnactive_ext.planning.settings import command_of
from nnactive_ext.querying.query import query_cycle
from nnactive_ext.querying.relevant import similarity_of


@pytest.fixture
def asked():
    """How many boxes were described, one number for each case."""
    return []


@pytest.fixture
def ask(trained, asked):
    class Ensemble(FakeEnsemble):
        def describe(self, image, boxes, description):
            asked.append(len(boxes))
            return super().describe(image, boxes, description)

    def ask(method="predictive_entropy", parts=(0, 1), screen=0.5, n=None, **options):
        opened = lambda experiment, folds: Ensemble(experiment, classes=3)  # noqa: E731
        done = query_cycle(trained.anew(), opened, trained.folds(), method, options, n, parts, False, "single", screen)
        file = trained.raw / "loop_001.json"
        loop = read_json(file) if file.is_file() else {}
        file.unlink(missing_ok=True)
        return done, loop

    return ask


def verdict(experiment, case, task=None, irrelevant=True):
    """As somebody gives it, without what follows for labels."""
    box = {"start": list(task.patch.start), "size": list(task.patch.size)} if task else {}
    facts = {"case": case, "task": task.id if task else None, "irrelevant": irrelevant, "why": "", "cycle": 0, **box}
    Ledger(experiment.annotation).add("verdict", "anna", **facts)


def cases_of(done):
    return {choice.patch.case for choice in done.patches}


def write_texts(folder, scores):
    folder.mkdir()
    (folder / "texts.csv").write_text("id,group\nct,relevant\nmri,irrelevant\n")
    rows = [f"{case},{score},0" for case, score in scores.items()]
    (folder / "similarity.csv").write_text("\n".join(["case,ct,mri", *rows]) + "\n")
    return folder


def planned_with(experiment, **settings):
    file = experiment.raw / "nnactive_plan.json"
    content = read_json(file)
    write_json(file, {**content, "settings": {**content.get("settings", {}), **settings}})


@pytest.mark.parametrize("method", ["predictive_entropy", "random", "coreset"])
def test_before_there_are_verdicts_no_member_describes_cases(ask, trained, asked, method):
    done, loop = ask(method)
    facts = loop["relevance"]
    assert (facts["by"], facts["screen"]) == ("intensities", 0.5)
    assert facts["left_out"]
    assert set(facts["scores"]) == set(trained.plan.pool)
    assert not cases_of(done) & set(facts["left_out"])
    assert method == "coreset" or not asked
    assert not (trained.results / "cycle_000" / "relevance").exists()


@pytest.mark.parametrize("method", ["predictive_entropy", "random", "laser"])
def test_after_a_verdict_the_first_member_describes_all_cases_once(ask, trained, asked, method):
    task = tasks_of(trained, 0)[0]
    verdict(trained, task.patch.case, task)
    done, loop = ask(method)
    facts = loop["relevance"]
    assert facts["by"] == "verdicts"
    assert len(asked) == len(trained.plan.pool)
    scores = {case: numbers[0] for case, numbers in facts["scores"].items()}
    assert all(numbers[0] == numbers[2] and numbers[1] is None for numbers in facts["scores"].values())
    assert max(scores[case] for case in facts["left_out"]) < min(scores[case] for case in cases_of(done))
    assert ask(method) == (done, loop)
    assert len(asked) == len(trained.plan.pool), "it was described again"


@pytest.mark.slow
def test_parts_are_the_whole(ask, trained, asked):
    task = tasks_of(trained, 0)[0]
    verdict(trained, task.patch.case, task)
    for part in (1, 0):
        assert ask(parts=(part, 2))[0] is None
    described = len(asked)
    done, _ = ask()
    assert described == len(asked) == len(trained.plan.pool)
    for folder in ("candidates", "relevance"):
        for file in (trained.results / "cycle_000" / folder).iterdir():
            file.unlink()
    assert ask()[0] == done


def test_candidates_of_queries_that_leave_nothing_out_stay_as_they_are(ask, trained):
    folder = trained.results / "cycle_000" / "candidates"
    done, loop = ask(screen=0)
    assert "relevance" not in loop
    stored = {file.name: file.read_bytes() for file in folder.iterdir()}
    ask(screen=0.5)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == stored
    assert ask(screen=0) == (done, loop)


def test_cases_that_are_left_out_are_not_predicted(ask, trained):
    _, loop = ask()
    predicted = {file.stem for file in (trained.results / "cycle_000" / "candidates").glob("*.json")}
    assert predicted == set(trained.plan.pool) - set(loop["relevance"]["left_out"])


def test_texts_count_first_and_the_detector_more_with_each_query(ask, trained, tmp_path, monkeypatch):
    pool = list(trained.plan.pool)
    folder = write_texts(tmp_path / "files", {case: i / 10 for i, case in enumerate(pool)})
    planned_with(trained, relevance=[str(folder)])
    task = tasks_of(trained, 0)[0]
    verdict(trained, task.patch.case, task)
    _, loop = ask()
    assert (loop["relevance"]["by"], loop["relevance"]["delta"]) == ("texts and verdicts", 0)
    assert loop["relevance"]["left_out"] == sorted(pool[:3])
    done, _ = ask("laser", screen=0, n=3)
    assert [choice.patch.case for choice in done.patches] == pool[:-4:-1]


def test_files_that_do_not_fit_stop_the_query_before_anything_is_predicted(ask, trained, tmp_path):
    folder = write_texts(tmp_path / "files", {case: 0 for case in list(trained.plan.pool)[1:]})
    planned_with(trained, relevance=[str(folder)])
    with pytest.raises(NnActiveError, match=f"similarity.csv: there is nothing about {next(iter(trained.plan.pool))}"):
        ask()
    assert not (trained.results / "cycle_000" / "candidates").exists()


def test_texts_may_describe_regions(tmp_path):
    folder = write_texts(tmp_path / "files", {"a": 0.1, "b": 0.2})
    (folder / "texts.csv").write_text("id,group,class\nct,relevant,whole tumour\nmri,irrelevant,\n")
    labels = Labels({"background": 0, "whole tumour": [1, 2], "core": [2], "ignore": 3}, (1, 2))
    plan = SimpleNamespace(
        pool=dict.fromkeys("ab", Geometry((9, 9, 9), (1, 1, 1))), dropped=(), test=(), settings={"relevance": [str(folder)]}
    )
    found = similarity_of(SimpleNamespace(plan=plan, dataset=SimpleNamespace(labels=labels)))
    assert [text.label for text in found.texts.texts] == ["whole tumour", ""]


def test_delta_follows_the_precision_of_the_last_query(ask, trained, tmp_path):
    pool = list(trained.plan.pool)
    planned_with(trained, relevance=[str(write_texts(tmp_path / "files", dict.fromkeys(pool, 0.1))), "delta=precision"])
    file = trained.raw / "loop_000.json"
    content = read_json(file)
    assert ask()[1]["relevance"]["delta"] == 0
    task, *_ = tasks_of(trained, 0)
    verdict(trained, task.patch.case)
    assert ask()[1]["relevance"]["delta"] == 0, "nothing is recorded about the last query"
    # The upper half by the detector is relevant, of that by texts one is not.
    asked = sorted({task.patch.case for task in tasks_of(trained, 0)} - {task.patch.case})
    scores = {case: [0, 0.0, 1.0] for case in asked} | {task.patch.case: [0, 1.0, 0.0]}
    write_json(file, {**content, "relevance": {"scores": scores}})
    half = len(asked) / (len(asked) + 1)
    assert ask()[1]["relevance"]["delta"] == pytest.approx(1 / (1 + half))


@pytest.mark.usefixtures("quick_planning")
@pytest.mark.slow
def test_plan_change_and_query(tiny, tmp_path, monkeypatch, capsys):
    """The options from plan to command, what is refused, and how they are changed."""
    monkeypatch.chdir(tmp_path)
    pool = ["tiny_0", "tiny_1", "tiny_2", "tiny_3", "tiny_4", "tiny_5", "tiny_6", "tiny_7"]
    write_texts(tmp_path / "files", {case: i / 10 for i, case in enumerate(pool)})
    words = "-d 100 -o 101 -patch_size 5 5 3 -query_size 4 -starting_budget 6 -cycles 3 -folds 3 --preset cpu"
    words += " --disable_progress_bar"
    for wrong in ("-screen 1", "-screen .5 --method precomputed source=.", "-relevance nowhere"):
        with pytest.raises(SystemExit):
            plan.main([*words.split(), *wrong.split()])
    assert "nowhere: no such folder" in capsys.readouterr().err
    plan.main([*words.split(), *"-screen .5 -relevance files standardise=true -start laser".split()])
    experiment = Experiment.find(101)
    asked = [patch["file"] for patch in read_json(experiment.raw / "loop_000.json")["patches"]]
    assert asked == [f"{case}.nii.gz" for case in reversed(experiment.plan.pool)]
    again = command_of(experiment.plan)
    at = again.index("-relevance")
    assert again[at + 1 : at + 3] == [str(tmp_path / "files"), "standardise=true"]
    assert again[again.index("-screen") + 1] == "0.5"
    query.main("-d 101 -device cpu --disable_progress_bar --method random -screen .34".split())
    facts = read_json(experiment.raw / "loop_001.json")["relevance"]
    assert (facts["screen"], facts["left_out"]) == (0.34, sorted(experiment.plan.pool)[:2])
    change.main("-d 101 -relevance delta=precision".split())
    assert Experiment.find(101).plan.settings["relevance"] == [str(tmp_path / "files"), "delta=precision"]
    change.main("-d 101 -screen 0 -relevance none delta=precision".split())
    settings = Experiment.find(101).plan.settings
    assert (settings["screen"], settings["relevance"]) == (0, ["delta=precision"])
    assert [one["what"] for one in Experiment.find(101).plan.changes] == ["relevance", "screen", "relevance"]
    with pytest.raises(SystemExit):
        change.main("-d 101 -screen 2".split())


@pytest.mark.usefixtures("tiny", "quick_planning")
def test_a_start_by_laser_needs_files(capsys, nnunet_folders):
    with pytest.raises(SystemExit):
        plan.main("-d 100 -o 101 -patch_size 5 5 3 -query_size 4 -cycles 3 --preset cpu -start laser".split())
    assert "-relevance FOLDER" in capsys.readouterr().err
    assert not (nnunet_folders.raw / "Dataset101_Tiny").exists()


def test_a_descriptor_that_is_not_finite_names_the_case(trained):
    class Broken(FakeEnsemble):
        def describe(self, image, boxes, description):
            return np.full((len(boxes), 3), np.nan, np.float32), (3,)

    task = tasks_of(trained, 0)[0]
    verdict(trained, task.patch.case, task)
    with pytest.raises(NnActiveError, match=f"{next(iter(trained.plan.pool))}: a descriptor holds NaN"):
        query_cycle(trained, lambda e, f: Broken(e, classes=3), trained.folds(), "random", screen=0.5, progress=False)

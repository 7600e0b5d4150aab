"""Tasks that are asked again: who agrees with whom; a second answer changes no label, and nothing tells that it is one."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import scripted_expert as expert

from nnactive_ext.cli import change, plan, report, status
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import loop_file
from nnactive_ext.files import read_json
from nnactive_ext.labelling.answers import CountingAnswers
from nnactive_ext.labelling.closing import share_done
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.repeats import Rated, draw_repeats, raters
from nnactive_ext.labelling.tasks import all_tasks, asked_in, find_task, repeats_of, tasks_of
from nnactive_ext.planning.settings import Settings, command_of
from nnactive_ext.serve.queue import rows


def statuses(experiment: Experiment) -> dict[str, str]:
    tasks = [task for cycle in range(experiment.last_loop + 1) for task in asked_in(experiment, cycle)]
    return {row.id: row.status for row in rows(experiment, tasks, {}, set(), set())}


def answer_all(tasks) -> None:
    for task in tasks.seen:
        task.write(task.answer())
    tasks.hand_in(more="--accept_unchanged")


@pytest.mark.parametrize(("typed", "share"), [("5%", 0.05), ("0.05", 0.05), ("0", 0.0)])
def test_the_share_as_it_is_typed(typed, share):
    from nnactive_ext.cli.plan import parser
    from nnactive_ext.planning.options import from_options

    words = f"-i FOLDER -o 601 --labels organ -repeat {typed}".split()
    assert from_options(Settings, parser().parse_args(words)).repeat == share


@pytest.mark.parametrize("typed", ["-1", "150%", "much"])
def test_what_is_no_share_is_refused(typed, capsys):
    with pytest.raises(SystemExit):
        plan.main(f"-i FOLDER -o 601 --labels organ -repeat={typed}".split())
    assert "-repeat" in capsys.readouterr().err


@pytest.mark.slow
def test_a_second_answer_is_compared_and_changes_nothing(tasks, tmp_path, capsys):
    answer_all(tasks)
    experiment = tasks.experiment
    assert draw_repeats(experiment, 4) == [], "nobody asked for repeats"
    change.main("-d 601 -repeat 30% -who boss".split())
    assert [(one["what"], one["after"]) for one in experiment.anew().plan.changes] == [("repeat", 0.3)]
    assert "-repeat" not in command_of(experiment.anew().plan), "the command plans what was planned"
    tasks.run()
    experiment = tasks.experiment
    asked = read_json(loop_file(experiment.raw, 1))["repeats"]
    known = {task.id: task for task in tasks_of(experiment, 0)}
    assert len(asked) == 2, "30 % of 4 patches, rounded up"
    repeated, queried = repeats_of(experiment, 1), tasks_of(experiment, 1)
    for number, (task, name) in enumerate(zip(repeated, asked, strict=True), len(queried) + 1):
        assert (task.patch, task.repeats, task.number, task.cycle) == (known[name].patch, name, number, 1)
        assert (task.stratum, task.method) == (known[name].stratum, known[name].method), "nothing tells that it is one"
        assert find_task(experiment, task.id) == task
    assert not {task.id for task in repeated} & {task.id for task in all_tasks(experiment)}
    assert draw_repeats(experiment, 100) == sorted(known.keys() - set(asked)), "each is repeated once"

    # They are exported like others, but start blank.
    tasks.annotate(f"export -o {tmp_path / 'next'} --blank --disable_progress_bar")
    seen = {one.id: one for one in expert.look(tmp_path / "next", tasks.label)}
    assert seen.keys() == {task.id for task in asked_in(experiment, 1)}
    for task in repeated:
        assert not np.asarray(expert.sitk.GetArrayFromImage(seen[task.id].shown))[seen[task.id].box].any()

    # Anna answers one as before, but for its first plane; Ben the other, right.
    first, second = (seen[task.id] for task in repeated)
    labels = first.answer()
    labels[first.box[0].start][first.box[1:]] = 0
    tasks.hand_in(first.write(labels), who="anna")
    tasks.hand_in(second.write(second.answer()), who="ben")
    before = {case: tasks.labels(case) for case in experiment.plan.pool}
    found = raters(experiment)
    assert (found.repeated, found.answered, found.intra.pairs, found.inter.pairs) == (2, 2, 1, 1)
    truth = first.answer()[first.box]
    expected = {}
    for name, label in (("organ", 1), ("lesion", 2)):
        both, either = ((truth[1:] == label).sum(), (truth == label).sum() + (truth[1:] == label).sum())
        expected[name] = pytest.approx(2 * both / either, abs=1e-6) if either else None
    assert found.intra.dice == expected
    assert all(value in (1, None) for value in found.inter.dice.values())

    # Neither waits training for them, nor do labels follow them.
    share = share_done(experiment)
    assert (share.tasks, share.done) == (len(queried), 0)
    fresh = [seen[task.id] for task in queried]
    for one in fresh:
        tasks.hand_in(one.write(one.answer()))
    tasks.annotate("close --disable_progress_bar")
    touched = {task.patch.case for task in queried}
    for task in repeated:
        now = tasks.labels(task.patch.case)
        if task.patch.case not in touched:
            assert np.array_equal(now, before[task.patch.case])
        assert np.array_equal(now[task.patch.slices], before[task.patch.case][task.patch.slices])
    tasks.annotate(f"withdraw {repeated[0].id} --disable_progress_bar")
    assert raters(tasks.experiment).answered == 1
    assert np.array_equal(tasks.labels(repeated[0].patch.case)[repeated[0].patch.slices], truth)

    # A verdict is on the patch, whichever of its tasks it is given on: both are done, and all of it can be taken back.
    case, here = repeated[0].patch.case, repeated[0].patch.slices
    labelled = tasks.labels(case)
    assert statuses(tasks.experiment)[repeated[0].id] == "open"
    tasks.annotate(f"verdict {repeated[0].id} irrelevant -who ben --disable_progress_bar")
    assert {statuses(tasks.experiment)[name] for name in (asked[0], repeated[0].id)} == {"done"}
    judged = tasks.labels(case)
    assert (judged[here] == tasks.experiment.dataset.labels.ignore).all()
    judged[here] = labelled[here]
    assert np.array_equal(judged, labelled), "nothing else is touched"
    tasks.annotate(f"withdraw {repeated[0].id} --disable_progress_bar")
    assert statuses(tasks.experiment)[repeated[0].id] == "open"
    assert np.array_equal(tasks.labels(case), labelled)

    capsys.readouterr()
    status.main(["-d", "601"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Repeated tasks: 1 of 2 answered" in text
    assert "Different people: inter-rater Dice of 1 pair" in text
    status.main(["-d", "601", "--json"])
    assert json.loads(capsys.readouterr().out)["raters"]["inter"]["pairs"] == 1
    report.main(f"-d 601 -o {tmp_path / 'report.html'} -device none --disable_progress_bar".split())
    assert "inter-rater Dice" in re.sub(r"\s+", " ", (tmp_path / "report.html").read_text())


def test_a_simulation_repeats_nothing(planned, capsys):
    with pytest.raises(SystemExit):
        change.main("-d 101 -repeat 0.1".split())
    assert "roll-outs only" in capsys.readouterr().err


def test_two_people_who_answer_one_task_count_without_repeats(tasks):
    answer_all(tasks)
    assert raters(tasks.experiment).facts == {}
    one = next(task for task in tasks.seen if (task.answer() == 1).any())
    tasks.hand_in(one.write(one.answer()), who="ben")
    found = raters(tasks.experiment)
    assert (found.repeated, found.intra.pairs, found.inter.pairs) == (0, 0, 1)
    assert found.inter.dice["organ"] == 1
    assert {answer.who for answer in CountingAnswers.of(Ledger(tasks.experiment.annotation)).answers[one.id]} == {"anna", "ben"}


def test_means_leave_classes_out_that_neither_answer_has():
    rated = Rated()
    rated.add({"a": 0.5, "b": float("nan")})
    rated.add({"a": 1.0, "b": float("nan")})
    assert (rated.pairs, rated.dice) == (2, {"a": 0.75, "b": None})

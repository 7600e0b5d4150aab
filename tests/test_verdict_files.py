"""``verdicts.csv`` in a returned folder: taken once, whole or refused, and after the label maps beside it."""

from __future__ import annotations

import pytest
import scripted_expert as expert

from nnactive_ext.exchange.receive import receive
from nnactive_ext.exchange.verdict_files import is_verdicts
from nnactive_ext.labelling.verdicts import verdicts


def table(folder, *rows: str, name: str = "verdicts.csv"):
    file = folder / name
    file.write_text("\n".join(["task_or_case,verdict,why", *rows]) + "\n")
    return file


def test_a_returned_folder_with_verdicts(tasks):
    first, second, *_ = tasks.seen
    case = tasks.patch(second).case
    expert.in_place(first)
    table(tasks.out, f"{first.id},irrelevant,")
    table(
        tasks.out, f"{first.id},relevant,", f'{case},irrelevant,"a knee, not a hip"', name="verdicts_20260102T030405Z (1).csv"
    )
    table(tasks.out, f"{first.id},irrelevant,an artefact", name="verdicts_20260102T030406Z.csv")
    tasks.hand_in()
    found = {one.task or one.case: (one.irrelevant, one.why) for one in verdicts(tasks.experiment)}
    assert found == {first.id: (True, "an artefact"), case: (True, "a knee, not a hip")}, "the last line counts"
    assert case not in tasks.experiment.plan.pool
    assert tasks.book.status(first.id) == "done"
    assert tasks.counted(first) is None, "the verdict counts, not the label map beside it"
    events = len(list(tasks.ledger.events()))
    tasks.hand_in()
    assert len(list(tasks.ledger.events())) == events, "the same folder says nothing new"
    tasks.annotate(f"verdict {case} relevant -who anna --disable_progress_bar")
    tasks.hand_in()
    assert case in tasks.experiment.plan.pool, "a file that came before does not undo what was said since"


def test_the_same_verdict_saved_again_later_is_news(tasks):
    """Ticked, unticked, ticked again: the first and the third file are alike."""
    task = tasks.seen[0].id
    for second, verdict in enumerate(("irrelevant", "relevant", "irrelevant")):
        tasks.hand_in(table(tasks.out, f"{task},{verdict},air, mostly", name=f"verdicts_20260102T03040{second}Z.csv"))
        ((irrelevant, why),) = [(one.irrelevant, one.why) for one in verdicts(tasks.experiment)]
        assert irrelevant == (verdict == "irrelevant")
        assert why == "air, mostly", "a comma without quotes cuts nothing off"


@pytest.mark.parametrize(
    "row", ["nobody,irrelevant,", *(pytest.param(r, marks=pytest.mark.slow) for r in ("{task},perhaps,", "{task}"))]
)
def test_a_file_with_a_line_that_says_nothing_is_refused_as_a_whole(tasks, row):
    task = tasks.seen[0]
    table(tasks.out, f"{tasks.seen[1].id},irrelevant,", row.format(task=task.id))
    (refused,) = [one for one in receive(tasks.experiment, [tasks.out], "anna") if one.refused]
    assert "line 3" in refused.text
    assert verdicts(tasks.experiment) == []


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("verdicts.csv", True),
        ("Verdicts (2).csv", True),
        ("verdicts_20261129T104500Z-1.csv", True),
        ("verdicts_of_anna.csv", False),
        ("points.csv", False),
    ],
)
def test_files_with_verdicts_are_known_by_their_names(tmp_path, name, known):
    assert is_verdicts(tmp_path / name) == known

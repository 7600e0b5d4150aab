"""What a screening tells people: the lines that are printed, and its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from nnactive_ext.experiment.commands import typed_command
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import Fold
from nnactive_ext.members.ensemble import trained_folds
from nnactive_ext.pages.terminal import paragraph
from nnactive_ext.screening.files import START, screening_folder, write_screening
from nnactive_ext.screening.network import OpenEnsemble
from nnactive_ext.screening.page import Verdict, page
from nnactive_ext.screening.scoring import Options, Screening
from nnactive_ext.screening.screen import screen_pool
from nnactive_ext.screening.why import reasons, z_words
from nnactive_ext.words import count, plural

_TOLD = 20
"""Flagged cases that are printed; all are in the files."""
_REASONS = 2
"""Of a flagged case, too."""


def report_pool(
    experiment: Experiment,
    open_ensemble: OpenEnsemble,
    folds: Sequence[Fold] | None = None,
    options: Options | None = None,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Screening:
    """Screen the pool, write the files of its cycle and tell what was flagged; see :func:`screen_pool`."""
    screening = screen_pool(experiment, open_ensemble, folds, options, progress)
    cycle = experiment.state["cycle"]
    trained = cycle > 0 or bool(cycle == 0 and trained_folds(experiment))
    stem = screening_folder(experiment) / (f"cycle_{cycle:03d}" if trained else START)
    for line in report(screening, stem, partial(_verdict, experiment)):
        say(line)
    return screening


def report(screening: Screening, stem: Path, verdict: Verdict = lambda cases, word: "") -> Iterator[str]:
    """Write ``STEM.csv``, ``.json`` and ``.html``, and give the lines that tell people about them.

    ``verdict``: gives the commands by which people decide.
    """
    number = int(screening.shown.sum())
    kind = count(number, "new image") if screening.new else f"{count(number, 'case')} of the pool"
    yield f"{kind}, compared with {screening.compared}."
    for note in screening.notes:
        yield paragraph(f"Note: {note}")
    flagged = screening.flagged
    if flagged:
        noun = "image" if screening.new else "case"
        yield f"{count(len(flagged), noun)} {plural(len(flagged), 'looks', 'look')} unlike them:"
    else:
        yield "None looks unlike them."
    width = max((len(screening.measured[case].name) for case in flagged[:_TOLD]), default=0)
    for case in flagged[:_TOLD]:
        first = screening.by(case)[0]
        z = f"z {z_words(float(first.z[case])):>5}"
        yield f"  {screening.measured[case].name:{width}}  {first.name:12}  {z}   {reasons(screening, case, _REASONS)}"
    if len(flagged) > _TOLD:
        yield f"  and {len(flagged) - _TOLD} more"
    if screening.refused:
        yield f"{count(len(screening.refused), 'image')} could not be screened:"
        yield from (f"  {why}" for why in screening.refused.values())
    where = write_screening(screening, stem, page(screening, verdict, typed_command.get() or "nnactive_screen"))
    yield f"Pictures and all scores: {where}"
    if screening.new and (flagged or screening.refused):
        yield "Look at these images before you use what the model says of them."
    cases = [screening.measured[case].name for case in flagged]
    if cases and (one := verdict(cases[:1], "irrelevant")):
        yield f"Not one of yours? {one}"
        yield f"All fine? {verdict(cases, 'relevant')}"


def _verdict(experiment: Experiment, cases: Sequence[str], word: str) -> str:
    """What records a verdict; nothing in a simulation, where nobody gives one."""
    return experiment.commands.annotate("verdict", *cases, word) if experiment.plan.human else ""

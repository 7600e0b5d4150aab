"""Everything a report says about an experiment, gathered once from its files before any of it is laid out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnactive_ext.experiment.commands import Commands
from nnactive_ext.experiment.evaluating import comparable, evaluated
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import loop_file, read_loop_content
from nnactive_ext.experiment.observed import Named, environments
from nnactive_ext.experiment.plan import Plan
from nnactive_ext.experiment.result import CycleResult, read_results, same_classes
from nnactive_ext.experiment.timing import seconds_per_step
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.minutes import Measured, measured
from nnactive_ext.labelling.precision import Precision, precision_by_cycle
from nnactive_ext.labelling.precision import advice as strangers
from nnactive_ext.labelling.repeats import raters
from nnactive_ext.labelling.tasks import Task, tasks_of
from nnactive_ext.loop.findings import missed_words, nothing_predicted, yields_by_cycle
from nnactive_ext.loop.leaving import leaving
from nnactive_ext.loop.tables import inference_words
from nnactive_ext.members.yields import Yields
from nnactive_ext.nnunet.dataset import Labels
from nnactive_ext.nnunet.plans_files import read_plans
from nnactive_ext.pages.colours import Colour, colours
from nnactive_ext.planning.cost import Cost
from nnactive_ext.planning.remaining import remaining

if TYPE_CHECKING:
    from nnactive_ext.report.advice import Advice
    from nnactive_ext.report.crop import Crop
    from nnactive_ext.report.disagreement import Disagreement
    from nnactive_ext.report.economics import Economics
    from nnactive_ext.report.feature_space import FeatureSpace
    from nnactive_ext.report.places import Overlap, Places


@dataclass(frozen=True)
class Loop:
    """A query: ``content`` is its loop file, ``tasks`` are its patches."""

    content: Mapping[str, Any]
    tasks: Sequence[Task]


@dataclass(frozen=True)
class Facts:
    """``labels`` are the dataset's, with ``ignore``. ``results``: one of each cycle evaluated so far, in order.
    ``loops``: by cycle; the last one may still be open (``open_cycle``). ``seconds``: cycle -> step -> seconds.
    ``network``: nnU-Net's configuration, None where it has not been planned yet. ``environments``: where its parts were
    computed. ``device``: the one for the commands that the report shows. ``points``: cycle -> the names of the files of points
    that were handed in, each once, below the annotation folder."""

    name: str
    number: int
    plan: Plan
    labels: Labels
    channels: Sequence[str]
    results: Sequence[CycleResult]
    loops: Sequence[Loop]
    cycle: int
    seconds: Mapping[int, Mapping[str, float]]
    network: Mapping[str, Any] | None
    crops: Mapping[int, Sequence[Crop]] = field(default_factory=dict)
    places: Places | None = None
    overlaps: Sequence[Overlap] = ()
    feature_space: FeatureSpace | None = None
    """Of the last query with descriptors; None where no query has them."""
    advice: Advice | None = None
    environments: Sequence[Named] = ()
    device: str = ""
    points: Mapping[int, Sequence[str]] = field(default_factory=dict)
    yields: Mapping[int, Yields] = field(default_factory=dict)
    """Of each cycle that has annotated patches."""
    missed: str = ""
    nothing_predicted: str = ""
    """See :mod:`nnactive_ext.loop.findings`; empty where there is nothing to say."""
    precision: Sequence[Precision] = ()
    """How many patches of each cycle were relevant; empty where nothing was called irrelevant."""
    strangers: str = ""
    """What helps against too many irrelevant patches; empty where there are few."""
    minutes: Measured | None = None
    """How long annotation took; None where nobody measured it."""
    raters: Mapping[str, Any] = field(default_factory=dict)
    """How far people agree, see :attr:`nnactive_ext.labelling.repeats.Raters.facts`."""
    remaining: Cost | None = None
    """What the rest of the plan of a roll-out costs."""
    economics: Economics | None = None
    """What it saved against random experiments of its setting; None where there are none."""
    evaluated_last: CycleResult | None = None
    """The last cycle evaluated, with the scores of nnU-Net's inference if it has them; None: the last of ``results``, whose
    scores are those of one inference."""
    inference: str = ""
    """See :func:`nnactive_ext.loop.tables.inference_words`."""
    leaving: Sequence[tuple[str, str]] = ()
    """See :func:`nnactive_ext.loop.leaving.leaving`."""

    @property
    def commands(self) -> Commands:
        return Commands(self.plan, self.device)

    @property
    def last(self) -> CycleResult | None:
        """The result of the last cycle evaluated."""
        return self.evaluated_last or (self.results[-1] if self.results else None)

    @property
    def tested(self) -> bool:
        return bool(self.plan.test)

    @property
    def open_cycle(self) -> int | None:
        """The cycle whose patches are chosen and not all annotated."""
        last = len(self.loops) - 1
        return last if last > self.cycle else None

    @property
    def names(self) -> dict[str, int]:
        """Label name -> value, background and ignore among them; a label that is only part of regions is its number."""
        foreground = {name: value for value, name in self.labels.foreground.items()}
        return {"background": 0, **foreground, "ignore": self.labels.ignore}

    @property
    def colours(self) -> dict[str, Colour]:
        """Of labels; a class made of several labels has the colour of its last one, which is the innermost as a rule."""
        found = colours(self.names)
        by_value = {value: found[name] for name, value in self.names.items()}
        for name, values in self.labels.classes.items():
            found.setdefault(name, by_value[values[-1]])
        return found

    @property
    def by_value(self) -> dict[int, Colour]:
        """Colours by label value, foreground only."""
        found = colours(self.names)
        return {value: found[name] for name, value in self.names.items() if value not in (0, self.labels.ignore)}


def gather(experiment: Experiment, device: str | None, boxes: int, progress: bool = True) -> Facts:
    """Read and compute everything; ``device`` None: members are not asked. ``boxes``: crops per cycle."""
    from nnactive_ext.report.crops import gallery_crops
    from nnactive_ext.report.disagreement import disagreement
    from nnactive_ext.report.economics import economics
    from nnactive_ext.report.feature_space import feature_space
    from nnactive_ext.report.places import overlaps, places

    plan, results = experiment.plan, read_results(experiment.results)
    yields, same = yields_by_cycle(experiment, results), same_classes(results)
    missed, nothing = missed_words(experiment, yields), nothing_predicted(experiment, same)
    precision = precision_by_cycle(experiment)
    minutes = measured(experiment) if plan.human else None
    last, cycle = experiment.last_loop, experiment.state["cycle"]
    cycles = range(last + 1)
    loops = [Loop(read_loop_content(loop_file(experiment.raw, one)), tasks_of(experiment, one)) for one in cycles]
    return Facts(
        name=experiment.name,
        number=experiment.number,
        plan=plan,
        labels=experiment.dataset.labels,
        channels=list(experiment.dataset.json.get("channel_names", {}).values()),
        results=comparable([results])[0],
        evaluated_last=([*results[-1:], *(evaluated(results) if plan.test else ())] or [None])[-1],
        inference=inference_words(results),
        loops=loops,
        cycle=cycle,
        seconds={one: seconds_per_step(experiment, one) for one in cycles},
        environments=environments(experiment),
        device=experiment.device,
        points=_points(experiment),
        network=_network(experiment.preprocessed.folder / f"{plan.plans_identifier}.json", plan.configuration),
        crops=gallery_crops(experiment, device, boxes, progress) if boxes else {},
        places=places(experiment),
        overlaps=overlaps(experiment),
        feature_space=feature_space(experiment),
        advice=advice_on(experiment, results, disagreement(experiment), missed, nothing),
        yields=yields,
        missed=missed,
        nothing_predicted=nothing,
        precision=precision,
        strangers=strangers(experiment, precision),
        minutes=minutes,
        raters=raters(experiment).facts if plan.human else {},
        remaining=remaining(experiment, minutes) if plan.human else None,
        economics=economics(experiment),
        leaving=leaving(experiment, paths=False),  # a report is sent to others
    )


def advice_on(
    experiment: Experiment,
    results: Sequence[CycleResult],
    disagreements: Sequence[Disagreement] | None,
    missed: str,
    nothing: str,
) -> Advice:
    """The advice on another query, from the results so far and what :func:`nnactive_ext.report.disagreement.disagreement` and
    :mod:`nnactive_ext.loop.findings` found."""
    from nnactive_ext.report.advice import advice

    plan, last, results = experiment.plan, experiment.last_loop, comparable([results])[0]
    # Patches that the last query did not find, unless images were added to the pool since.
    file = loop_file(experiment.raw, last)
    missing = 0 if plan.added_since(last) or not file.is_file() else int(read_loop_content(file).get("missing") or 0)
    unanswered = last > experiment.state["cycle"]
    return advice(same_classes(results), plan, disagreements, missing, unanswered=unanswered, nothing=nothing, missed=missed)


def _points(experiment: Experiment) -> dict[int, list[str]]:
    found: dict[int, dict[str, None]] = {}
    for event in Ledger(experiment.annotation).events():
        if event["what"] == "points" and "received" in event:
            found.setdefault(int(event["cycle"]), {})[str(event["received"])] = None
    return {cycle: list(files) for cycle, files in found.items()}


def _network(file: Path, configuration: str) -> Mapping[str, Any] | None:
    if not file.is_file():
        return None
    return read_plans(file)["configurations"].get(configuration)

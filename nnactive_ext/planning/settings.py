"""Every setting of ``nnactive_plan``, declared once: flag, help, benchmark key, place in the plan and in its command."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnactive_ext.metrics.prices import Prices
from nnactive_ext.planning.options import ROLLOUT, SIMULATION, repeating, setting

if TYPE_CHECKING:
    from nnactive_ext.experiment.plan import Plan

DEFAULT_METHOD = "clasp_pe"
"""That of :mod:`nnactive_ext.query_methods.methods`, which takes too long to import for a parser."""

METHOD_HELP = (
    "query method and its options, e.g. clasp_pe alpha=0.5; for a method of your own, FILE.py:NAME. nnactive_query "
    "--list_methods lists all methods"
)

SCREEN_HELP = (
    "share of the cases that give no patches to a query: the least relevant ones, by verdicts, by texts (-relevance), or else "
    "by intensities that are unlike those of annotated cases, e.g. 0.5 (docs/open_set.md)"
)

MEMBERS_HELP = (
    "what the members of the ensemble are. folds: the networks of the folds. mirror: each network once for each way to mirror "
    "the image (with -folds 1, one training is enough); mirror:noise: of the image with noise, too. snapshots:5: 5 checkpoints "
    "of each training, whose learning rate restarts. seeds:5: 5 trainings on all annotated cases. dropout:10: 10 predictions "
    "of each network with dropout (p 0.1; dropout:10:0.5 for another). ssn:10: 10 samples of each "
    "stochastic network's prediction"
)


_NO_TEST_SET = "A roll-out has no test set; its cross-validation predicts annotated patches only."


def _typed(words: Sequence[str]) -> None:
    """Whoever types the name of a file with a method lets it run."""
    if words and ".py" in words[0]:
        from nnactive_ext.query_methods.external import confirm_typed

        confirm_typed(words)


def _method(words: Sequence[str]) -> dict[str, Any]:
    from nnactive_ext.query_methods.options import method_and_options

    _typed(words)
    method, options = method_and_options(words)
    return {"method": method, "method_options": options}


def _start(words: Sequence[str]) -> dict[str, Any]:
    if not words:
        return {"start": ()}
    _typed(words)
    from nnactive_ext.query_methods.methods import lasting
    from nnactive_ext.query_methods.options import method_and_options

    name, options = lasting(*method_and_options(words))  # type: ignore[arg-type]
    return {"start": (name, *(f"{key}={value}" for key, value in options.items()))}


def _share(text: str) -> float:
    """``5%`` and ``0.05`` are the same; 0 to 1, or a ValueError."""
    share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 <= share <= 1:
        raise ValueError("a share is from 0 to 1, or 0% to 100%")
    return share


_share.__name__ = "share"  # as the parser calls what it cannot read


def _relevance(words: Sequence[str]) -> dict[str, Any]:
    if not words:
        return {"relevance": ()}
    from nnactive_ext.relevance.options import lasting_words

    return {"relevance": lasting_words(words)}


def _source(plan: Plan) -> str:
    """The number of a dataset beside the experiment, else its name: its folder would say something about the machine."""
    number = re.fullmatch(r"\.\./Dataset(\d{3,})_.+", plan.source)
    return str(int(number[1])) if number else f"FOLDER/{plan.source.rpartition('/')[2]}"


def _dataset(plan: Plan) -> tuple[int, str]:
    from nnactive_ext.nnunet.dataset import number_and_name

    return number_and_name(plan.dataset)


def _tolerance(plan: Plan) -> list[str]:
    from nnactive_ext.planning.tolerance import tolerance_words

    return tolerance_words(plan.tolerance_mm, plan.tolerances_mm)


def _unless_all_labels(name: str) -> Any:
    return lambda plan: None if plan.all_labels else getattr(plan, name)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the user may set; None: planning decides. Sizes of patches and structures are as typed."""

    dataset: str | None = setting(
        None,
        "-d",
        "plan a simulation on this labelled dataset: its number, name or folder",
        metavar="DATASET",
        only=SIMULATION,
        source=True,
        shown=_source,
        kept=False,
    )
    folder: Path | None = setting(
        None,
        "-i",
        "plan a roll-out on this folder of images: one file or folder for each case, in any common format (docs/layouts.md); "
        "with -blocks, a volume or a folder of volumes",
        type=Path,
        metavar="FOLDER",
        only=ROLLOUT,
        source=True,
        shown=lambda plan: "FOLDER",
        kept=False,
    )
    labels: Sequence[str] | None = setting(
        None,
        "--labels",
        "names of the structures to be annotated, e.g. liver tumour; required",
        nargs="+",
        metavar="NAME",
        only=ROLLOUT,
        instead="A simulation takes the labels of its dataset.",
        kept=False,
    )
    channels: Sequence[str] | None = setting(
        None,
        "-channels",
        "names of the channels of each case, e.g. CT, or T1 T2",
        nargs="+",
        metavar="NAME",
        decided="guessed from the grey values",
        only=ROLLOUT,
        instead="A simulation takes the channels of its dataset.",
        kept=False,
    )
    number: int = setting(
        MISSING,
        "-o",
        "number of the new dataset, 1 or more, e.g. 504",
        type=int,
        metavar="NUMBER",
        shown=lambda plan: _dataset(plan)[0],
        kept=False,
    )
    name: str | None = setting(
        None,
        "-name",
        "name of the new dataset",
        metavar="NAME",
        decided="that of DATASET or FOLDER",
        shown=lambda plan: _dataset(plan)[1],
        kept=False,
    )
    groups: str | None = setting(
        None,
        "-groups",
        "cases that belong together, such as the scans of one patient: a table of cases and groups, or a pattern of the case "
        "names, e.g. '{patient}_{time}'. A group is never split between pool and test set, nor between folds",
        metavar="FILE|PATTERN",
        decided="each case by itself",
        shown=lambda plan: plan.settings.get("groups"),
        kept=False,
        per_dataset=True,
    )
    test: Path | None = setting(
        None,
        "-test",
        "list of the test cases, one in each line; all other cases are the pool",
        type=Path,
        metavar="FILE",
        decided="the cases of imagesTs if all have labels in labelsTs, else 25 % of the cases",
        only=SIMULATION,
        instead="A roll-out has no test set.",
        shown=lambda plan: plan.settings.get("test"),
        kept=False,
        per_dataset=True,
    )
    irrelevant: Path | None = setting(
        None,
        "-irrelevant",
        "list of cases that do not belong to the experiment, one in each line: the simulated annotator calls each irrelevant "
        "when a patch of it is asked for, and it leaves the pool",
        type=Path,
        metavar="FILE",
        decided="none",
        only=SIMULATION,
        instead="In a roll-out, people say it: nnactive_annotate verdict.",
        shown=lambda plan: plan.settings.get("irrelevant"),
        kept=False,
        per_dataset=True,
    )
    all_labels: bool = setting(
        False,
        "--all_labels",
        "annotate the whole pool in one cycle, to learn what the trainer reaches with all labels",
        only=SIMULATION,
        instead="In a roll-out, people annotate the pool.",
        shown=lambda plan: plan.all_labels,
        kept=False,
    )
    patch_size: Sequence[str] | None = setting(
        None,
        "-patch_size",
        "size of a query patch along z y x, or one number for a cube, in voxels (20), mm (20mm), um or nm",
        nargs="+",
        metavar="SIZE",
        decided="the median size of the structures in the label maps, at most a third of the images along two axes",
        shown=lambda plan: [f"{mm:.6g}mm" for mm in plan.patch_size_mm],
        kept=False,
    )
    query_size: int | None = setting(
        None,
        "-query_size",
        "number of patches in each query",
        type=int,
        metavar="N",
        decided="50 for each class, fewer if all cycles would take more than half of the pool",
        shown=_unless_all_labels("query_size"),
    )
    starting_budget: int | None = setting(
        None,
        "-starting_budget",
        "number of patches annotated before cycle 0",
        type=int,
        metavar="N",
        decided="the query size",
        shown=_unless_all_labels("starting_budget"),
    )
    start_from: Path | None = setting(
        None,
        "-start_from",
        "loop_000.json of another experiment, whose patches become the starting budget",
        type=Path,
        metavar="FILE",
        decided="patches are drawn around every class, and at random",
        only=SIMULATION,
        instead="In a roll-out, mark points instead (nnactive_annotate points).",
        kept=False,
    )
    start: Sequence[str] = setting(
        (),
        "-start",
        "query method that needs no trained member, and its options, which chooses the starting budget (in a roll-out, its "
        "part without points), e.g. typiclust features=file:FOLDER (docs/representations.md)",
        nargs="+",
        metavar=("NAME", "KEY=VALUE"),
        read=_start,
        decided="patches are drawn around every class, and at random",
        per_dataset=True,
    )
    cycles: int = setting(
        5,
        "-cycles",
        "number of cycles, counting cycle 0",
        type=int,
        metavar="N",
        benchmark=True,
        change="number of cycles from now on, counting cycle 0 and all cycles so far",
    )
    seed: int = setting(
        12345,
        "-seed",
        "seed of the patches and the folds; nnU-Net's training itself is not seeded",
        type=int,
        metavar="SEED",
        change="seed of queries and folds from now on",
    )
    method: str = setting(
        DEFAULT_METHOD,
        "--method",
        METHOD_HELP,
        nargs="+",
        metavar=("NAME", "KEY=VALUE"),
        read=_method,
        shown=lambda plan: [plan.method, *(f"{key}={value}" for key, value in plan.method_options.items())],
    )
    method_options: Mapping[str, str] = field(default_factory=dict)
    screen: float | None = setting(
        None,
        "-screen",
        SCREEN_HELP,
        type=float,
        metavar="SHARE",
        decided="0",
        benchmark=True,
        change="share of the cases that give no patches to a query, from now on; 0 ends it",
    )
    relevance: Sequence[str] = setting(
        (),
        "-relevance",
        "folder with texts and their similarity to the images, by which -screen and --method laser find the relevant cases, "
        "and how they are mixed with what is learned from verdicts: delta=precision, standardise=true (docs/open_set.md)",
        nargs="+",
        metavar=("FOLDER", "KEY=VALUE"),
        read=_relevance,
        decided="verdicts alone",
        change="folder with texts and similarities, and KEY=VALUE, as for nnactive_plan, from now on; without a folder, the "
        "one before stays; none ends it",
    )
    folds: int = setting(
        5,
        "-folds",
        "number of trainings in each cycle, one for each fold of the cross-validation; 1 trains on four fifths of the "
        "annotated cases",
        type=int,
        metavar="N",
        benchmark=True,
    )
    members: str = setting(
        "folds",
        "-members",
        MEMBERS_HELP,
        metavar="KIND",
        benchmark=True,
    )
    evaluate: str = setting(
        "all",
        "-evaluate",
        "cycles that are evaluated on the test set: all, last, or every N for cycle 0, N, 2 N, ... and the last one",
        nargs="+",
        metavar=("all|last|every", "N"),
        read=lambda words: {"evaluate": " ".join([words] if isinstance(words, str) else words)},
        only=SIMULATION,
        instead=_NO_TEST_SET,
        shown=lambda plan: (plan.settings.get("evaluate") or "").split(),
        benchmark=True,
        change="cycles that are evaluated on the test set from now on: all, last, or every N",
    )
    evaluate_mirroring: str = setting(
        "yes",
        "-evaluate_mirroring",
        "yes: test cases are predicted as nnU-Net does, once for each way to mirror the image (8 times in 3D); no: once, in "
        "cycles before the last one. The last cycle is always evaluated as nnU-Net does, and also as the cycles before it",
        choices=("yes", "no"),
        only=SIMULATION,
        instead=_NO_TEST_SET,
        benchmark=True,
        change="mirroring when test cases are predicted, in cycles before the last one, from now on",
    )
    evaluate_step: float = setting(
        0.5,
        "-evaluate_step",
        "step of the sliding window when test cases are predicted, as a share of the network patch, in cycles before the last "
        "one; in large images 0.75 takes a third of the predictions of 0.5, which is nnU-Net's step",
        type=float,
        metavar="STEP",
        only=SIMULATION,
        instead=_NO_TEST_SET,
        benchmark=True,
        change="step of the sliding window when test cases are predicted, in cycles before the last one, from now on",
    )
    configuration: str = setting(
        "3d_fullres", "-c", "nnU-Net configuration of the members", metavar="CONFIGURATION", benchmark=True
    )
    trainer: str | None = setting(
        None,
        "-tr",
        "trainer of the members",
        metavar="TRAINER",
        decided="nnActiveTrainer with 200 epochs; with --preset cpu, nnActiveTrainer_10epochs_NoMirroring; one that mirrors, "
        "keeps snapshots, trains stochastic networks or starts from pretrained weights where -members or -pretrained need it",
        benchmark=True,
    )
    pretrained: str | None = setting(
        None,
        "-pretrained",
        "checkpoint that every member starts from in every cycle: of a training by nnU-Net, whose plans are taken along, or of "
        "nnssl (OpenMind), of which the encoder is loaded (docs/pretrained.md)",
        metavar="FILE",
        decided="members are trained from scratch",
        benchmark=True,
        shown=lambda plan: plan.pretrained.get("file"),
        kept=False,
    )
    pretrained_plans: str | None = setting(
        None,
        "-pretrained_plans",
        "nnU-Net's plans of the training that made the checkpoint",
        metavar="plans.json",
        decided="plans.json beside its fold folder, or the plans in the checkpoint",
        benchmark=True,
        shown=lambda plan: plan.pretrained.get("plans_file"),
        kept=False,
    )
    pretrained_seen: str | None = setting(
        None,
        "-pretrained_seen",
        "whether the checkpoint was trained on images of this experiment, which makes its results too good; it is shown in the "
        "plan and the report",
        choices=("no", "unknown", "yes"),
        decided="unknown",
        benchmark=True,
        shown=lambda plan: plan.pretrained.get("seen"),
        kept=False,
    )
    trust: bool = setting(
        False,
        "--trust",
        "open the checkpoint even if that runs code in it, as nnU-Net does",
        shown=lambda plan: bool(plan.pretrained.get("trusted")),
        kept=False,
    )
    planner: str = setting(
        "ExperimentPlanner", "-pl", "nnU-Net experiment planner of the network", metavar="PLANNER", benchmark=True
    )
    gpu_memory_target: float | None = setting(
        None,
        "-gpu_memory_target",
        "GPU memory in GB for which nnU-Net's planner sizes network patch and batch",
        type=float,
        metavar="GB",
        decided="that of the planner",
    )
    overwrite_target_spacing: Sequence[float] | None = setting(
        None,
        "-overwrite_target_spacing",
        "spacing in mm along z y x to which nnU-Net resamples the images",
        type=float,
        nargs=3,
        metavar="MM",
        decided="that of the planner, from the spacings of the images",
    )
    overwrite_plans_name: str | None = setting(
        None,
        "-overwrite_plans_name",
        "name of nnU-Net's plans",
        metavar="NAME",
        decided="that of the planner, such as nnUNetPlans",
    )
    tolerance: Sequence[str] | None = setting(
        None,
        "-tolerance",
        "tolerance of the normalised surface distance in mm, and of classes with one of their own, e.g. 2 or 2 vessel=1",
        nargs="+",
        metavar="MM|NAME=MM",
        decided="the in-plane voxel of the pool, from 1 to 3 mm",
        only=SIMULATION,
        instead="A roll-out has no test set to measure surfaces on.",
        shown=_tolerance,
        kept=False,
    )
    preset: str | None = setting(
        None,
        "--preset",
        "cpu: plan a network that is small enough to train on two CPU cores",
        choices=("cpu",),
        decided="a network for a GPU",
        benchmark=True,
    )
    protocol: str = setting(
        "standard",
        "-protocol",
        "published: decide the default patch size and the starting budget exactly as the published nnActive does, without a "
        "limit of the patch size, and count a class as soon as a patch holds one voxel of it",
        choices=("standard", "published"),
        benchmark=True,
        shown=lambda plan: None if plan.protocol == "standard" else plan.protocol,
    )
    air: str | None = setting(
        None,
        "-air",
        "skip: leave patches that are nearly all background air out of random starts and queries; keep: query them, too",
        choices=("skip", "keep"),
        decided="skip; with -protocol published, keep",
        only=ROLLOUT,
        instead="Simulations keep air, as published.",
        shown=lambda plan: None if plan.air == ("skip" if plan.protocol == "standard" else "keep") else plan.air,
        change="skip or keep patches that are nearly all background air, from now on",
    )
    processes: int | None = setting(
        None,
        "-np",
        "number of processes for reading and preprocessing",
        type=int,
        metavar="N",
        decided="as many as the cores and the memory allow",
        shown=lambda plan: None,
    )
    pattern: str | None = setting(
        None,
        "-pattern",
        "name pattern of the image files below FOLDER, e.g. '{case}_{channel}', '{case}/{channel}' or '*/*/{case}_T1w', where "
        "* is any text; images that do not fit are skipped",
        metavar="PATTERN",
        decided="found from the names",
        only=ROLLOUT,
        kept=False,
    )
    spacing: Sequence[str] | None = setting(
        None,
        "-spacing",
        "spacing along z y x of TIFF and PNG images that do not state it, each with its unit, the distance between slices "
        "first, e.g. 2um 0.5um 0.5um; one length if all are the same",
        nargs="+",
        metavar="LENGTH",
        decided="what the files state",
        only=ROLLOUT,
        instead="nnU-Net takes the spacing of a TIFF dataset from the .json files beside the images.",
    )
    blocks: int | None = setting(
        None,
        "-blocks",
        "number of blocks to draw from a volume that is larger than memory; -i names the volume (OME-Zarr or TIFF) or a folder "
        "of several. Blocks are copied into the experiment and are its cases (docs/large_volumes.md)",
        type=int,
        metavar="N",
        only=ROLLOUT,
    )
    block_size: Sequence[str] | None = setting(
        None,
        "-block_size",
        "size of a block along z y x, or one number for a cube, in voxels (256), mm, um (200um) or nm",
        nargs="+",
        metavar="SIZE",
        decided="256",
        only=ROLLOUT,
    )
    level: int = setting(
        0,
        "-level",
        "resolution of a volume from which blocks are drawn; 0 is the finest, and the plan names the others",
        type=int,
        metavar="N",
        only=ROLLOUT,
    )
    time: int | None = setting(
        None,
        "-time",
        "time point of a volume that has several, from 0",
        type=int,
        metavar="N",
        only=ROLLOUT,
    )
    label_maps: Path | None = setting(
        None,
        "-label_maps",
        "folder with label maps that exist already, dense or partial, of some of the cases",
        type=Path,
        metavar="FOLDER",
        only=ROLLOUT,
        kept=False,
    )
    label_pattern: str = setting(
        "{case}",
        "-label_pattern",
        "name pattern of the label maps",
        metavar="PATTERN",
        only=ROLLOUT,
        kept=False,
    )
    series: Sequence[str] = setting(
        (),
        "-series",
        "DICOM series to take where a folder holds several: their descriptions, patterns of these such as '*thin*', or UIDs",
        nargs="+",
        metavar="DESCRIPTION|UID",
        decided="the only series of slices of each case",
        only=ROLLOUT,
        change="DICOM series to take from the folders that are added from now on: descriptions, patterns of these, or UIDs",
    )
    structures: Sequence[str] = setting(
        (),
        "-structures",
        "size of the structures in mm, which decides the patch size where no label map does, e.g. tumour=25 or tumour=20x25x25",
        nargs="+",
        metavar="NAME=MM",
        only=ROLLOUT,
    )
    hard: Sequence[str] = setting(
        (),
        "--hard",
        "names of the structures that vary much and get 100 patches in each query instead of 50",
        nargs="+",
        metavar="NAME",
        only=ROLLOUT,
    )
    expert: str = setting(
        "",
        "-expert",
        "name of the annotator whose answers arrive without a name",
        metavar="NAME",
        decided="the user who runs nnactive_annotate",
        only=ROLLOUT,
        change="name of the annotator whose answers arrive without a name, from now on",
    )
    share: float = setting(
        1.0,
        "-share",
        "share of a cycle's tasks, above 0 and at most 1, that must be done before training starts",
        type=float,
        metavar="SHARE",
        only=ROLLOUT,
        shown=lambda plan: None if plan.share == 1 else plan.share,
        change="share of a cycle's tasks, above 0 and at most 1, that must be done before training starts, from now on",
    )
    repeat: float = setting(
        0.0,
        "-repeat",
        "tasks of earlier cycles that are asked again beside each query, as a share of its patches, e.g. 5%, to see how far "
        "people agree with themselves and with each other; the second answers change no label",
        type=_share,
        metavar="SHARE",
        only=ROLLOUT,
        shown=lambda plan: plan.settings.get("repeat"),
        change="tasks of earlier cycles that are asked again beside each query, as a share of its patches, e.g. 5%, from now "
        "on; 0 ends it",
    )
    minutes_per_patch: float = setting(
        Prices.minutes_per_patch,
        "-minutes_per_patch",
        "minutes that an expert needs to annotate one patch, for the estimate of the cost",
        type=float,
        metavar="MINUTES",
        old=("-minutes_per_box",),
        only=ROLLOUT,
    )
    training_hours: float | None = setting(
        None,
        "-training_hours",
        "hours to train one member of the ensemble, for the estimate of the cost",
        type=float,
        metavar="HOURS",
        decided="in roll-outs timed on this machine, in a few iterations on its GPU, or with --preset cpu on its cores; else 2",
    )
    expert_rate: float = setting(
        Prices.expert_rate,
        "-expert_rate",
        "cost of an expert per hour, in any currency, for the estimate of the cost",
        type=float,
        metavar="MONEY",
        only=ROLLOUT,
    )
    machine_rate: float = setting(
        Prices.machine_rate,
        "-machine_rate",
        "cost of the machine per hour, in the same currency, for the estimate of the cost",
        type=float,
        metavar="MONEY",
        only=ROLLOUT,
    )


def command_of(plan: Plan, **known: Any) -> list[str]:
    """The ``nnactive_plan`` command that plans the same again, as it was before ``nnactive_change``.

    Args:
        plan: the plan of an experiment.
        known: values of settings that are in the dataset instead of the plan, namely ``labels`` and ``channels``.

    Returns:
        The words of the command.
    """
    return repeating(Settings, plan, **known)

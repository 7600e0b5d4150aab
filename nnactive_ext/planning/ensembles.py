"""Decides what the members of an experiment are, refuses what does not go together, and says what they cost."""

from __future__ import annotations

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.member_kinds import DROPOUT, EACH, FOLDS, MIRROR, SEEDS, SNAPSHOTS, SSN, MemberKind
from nnactive_ext.experiment.plan import Plan
from nnactive_ext.nnunet import trainers
from nnactive_ext.planning.decisions import THESIS, Decisions
from nnactive_ext.planning.hours import epochs_of
from nnactive_ext.planning.settings import Settings
from nnactive_ext.query_methods import methods
from nnactive_ext.query_methods.base import RankedMethod
from nnactive_ext.query_methods.disagreement import least_members
from nnactive_ext.words import count

_CPU_EPOCHS = 10
_DEFAULT_FOLDS = 5


def decided_folds(settings: Settings) -> int:
    """The trainings of a cycle: as many as ``-members seeds`` names, else ``-folds``."""
    kind = MemberKind.of(settings.members)
    return kind.number if kind.name == SEEDS else settings.folds


def default_trainer(settings: Settings) -> str:
    """The trainer where none is named."""
    kind, cpu = MemberKind.of(settings.members), settings.preset == "cpu"
    plain = "_NoMirroring" if cpu and kind.name != MIRROR else ""
    if kind.name != SNAPSHOTS:
        start = "_SSN" if kind.name == SSN else "_Finetune" if settings.pretrained else ""
        return f"{trainers.BASE}{start}{f'_{_CPU_EPOCHS}epochs' if cpu else ''}{plain}"
    wanted = _CPU_EPOCHS if cpu else trainers.EPOCHS
    epochs = kind.number * max(trainers.LEAST_EPOCHS, -(-wanted // kind.number))
    return f"{trainers.BASE}_Snapshots{'' if epochs == trainers.EPOCHS else f'_{epochs}epochs'}{plain}"


def check_ensemble(settings: Settings, trainer: str) -> None:
    """Members that the trainer, the number of folds or the query method do not go with are an error.

    Args:
        settings: what the user set.
        trainer: there is such a trainer.
    """
    kind, folds = MemberKind.of(settings.members), decided_folds(settings)
    if kind.name == SEEDS and settings.labels:
        raise NnActiveError(
            f"-members {kind}: a roll-out has no test set, and members that train on all annotated cases leave none for the "
            "cross-validation. Choose -members folds or mirror."
        )
    if kind.name == SEEDS and settings.folds not in (_DEFAULT_FOLDS, folds):
        raise NnActiveError(f"-members {kind} trains {folds} members, but -folds is {settings.folds}. Leave out -folds.")
    if settings.pretrained and kind.name in (SNAPSHOTS, DROPOUT, SSN):
        raise NnActiveError(
            f"-members {kind} cannot start from pretrained weights: no trainer does both. Choose -members folds, seeds or "
            "mirror, or leave out -pretrained."
        )
    _check_trainer(kind, trainer)
    method = methods.get_confirmed(settings.method, **settings.method_options)
    if kind.members(folds) == 1 and isinstance(method, RankedMethod) and least_members(method) > 1:
        raise NnActiveError(
            f"--method {settings.method} scores how much members disagree, but -folds 1 with -members folds is the only "
            "member. Choose --method predictive_entropy, or -members mirror."
        )


def check_classes(regions: bool, trainer: str) -> None:
    """Classes that are regions are an error for a trainer of stochastic networks."""
    if regions and trainers.trains_stochastic(trainer):
        raise NnActiveError(
            f"-tr {trainer}: the classes of this dataset are regions, and stochastic networks are for classes that exclude "
            "each other. Choose another trainer, and -members mirror, snapshots or folds."
        )


def _check_trainer(kind: MemberKind, trainer: str) -> None:
    if kind.name == MIRROR and not trainers.mirrors(trainer):
        raise NnActiveError(
            f"-members {kind} needs a trainer that mirrors, and {trainer} does not. Choose "
            f"{trainer.replace('_NoMirroring', '') if trainers.NAME.fullmatch(trainer) else trainers.BASE}, or other members."
        )
    if kind.name == SSN and not trainers.trains_stochastic(trainer):
        raise NnActiveError(
            f"-members {kind} needs a trainer of stochastic networks, and {trainer} trains others. Choose {trainers.BASE}_SSN "
            f"or {trainers.BASE}_SSN_<N>epochs, with or without _NoMirroring, or leave out -tr."
        )
    kept = trainers.trains_snapshots(trainer)
    if kind.name == SNAPSHOTS and not kept:
        raise NnActiveError(
            f"-members {kind} needs a trainer that keeps snapshots, and {trainer} does not. Choose {trainers.BASE}_Snapshots "
            f"or {trainers.BASE}_Snapshots_<N>epochs, with or without _NoMirroring, or leave out -tr."
        )
    if kept:
        epochs = epochs_of(trainer) or int(trainers.trainer_class(trainer).epochs)
        trainers.check_snapshots(trainer, epochs, kind.number if kind.name == SNAPSHOTS else trainers.SNAPSHOTS)


def tell_ensemble(plan: Plan, decisions: Decisions) -> None:
    """Add what the members are and what they cost, beside another choice."""
    kind, folds = plan.member_kind, plan.folds
    axes = 2 if plan.configuration == "2d" else 3
    members = kind.members(folds, axes)
    decisions.add("ensemble", count(members, "member"), EACH[kind.name](kind))
    other = MemberKind(MIRROR) if kind.name == FOLDS else MemberKind()
    folds_of_other = 1 if kind.name == FOLDS else _DEFAULT_FOLDS
    decisions.add(
        "",
        f"{count(folds, 'training')} in each cycle, {count(kind.predictions(folds, axes), 'prediction')} of each image",
        f"-members {other} -folds {folds_of_other}: {count(folds_of_other, 'training')}, "
        f"{count(other.predictions(folds_of_other, axes), 'prediction')}; training takes most of a cycle",
    )
    if kind.name == SSN:
        _tell_samples(plan, decisions)
    if folds == 1:
        decisions.add(
            "", "fold 0 only", "a fifth of the annotated cases validates it; a cross-validation is of these cases only"
        )
    if members == 1:
        decisions.warn(
            "a single member", f"its softmax is among the worst uncertainties (6.5 in {THESIS}); -members mirror helps"
        )


def _tell_samples(plan: Plan, decisions: Decisions) -> None:
    """What scores measure, because it is not what they measure with other members."""
    score = getattr(getattr(methods.get_confirmed(plan.method, **plan.method_options), "score", None), "__name__", "")
    if plan.member_kind.measured(score) == "aleatoric":
        decisions.warn(
            f"--method {plan.method}",
            "samples disagree about what is ambiguous: it ranks by aleatoric uncertainty, and expected_entropy by epistemic",
        )
    if plan.folds > 1:
        decisions.warn(
            f"{plan.folds} trainings",
            "networks and their samples disagree for different reasons, which scores mix; -folds 1 does not",
        )

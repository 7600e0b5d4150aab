"""With which inference the current cycle is evaluated, and which results can be compared with each other."""

from __future__ import annotations

from collections.abc import Sequence

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.inference import NNUNET, Inference
from nnactive_ext.experiment.loops import loop_file, read_loop_content
from nnactive_ext.experiment.result import CycleResult


def patches_lacking(experiment: Experiment) -> int:
    """How many patches the query of the current cycle lacked, because the pool is used up, if nothing was added to it since."""
    cycle = experiment.state["cycle"]
    missing = read_loop_content(loop_file(experiment.raw, cycle)).get("missing") or 0
    return 0 if experiment.plan.added_since(cycle) else int(missing)


def inferences(experiment: Experiment) -> tuple[Inference, ...]:
    """With what the current cycle is evaluated on the test set, that of nnU-Net first; empty: not at all. A cycle whose query
    used the pool up is the last one."""
    return experiment.plan.inferences(experiment.state["cycle"], last=bool(patches_lacking(experiment)))


def has_scores(experiment: Experiment, result: CycleResult) -> bool:
    """Whether the ``result`` of the current cycle has the scores that the plan asks for: any, or none if it asks for none; and
    those of nnU-Net's inference if it asks for them."""
    wanted = inferences(experiment)
    return not wanted or NNUNET in result.inferences or (NNUNET not in wanted and bool(result.inferences))


def evaluated(results: Sequence[CycleResult]) -> list[CycleResult]:
    """Those with scores on the test set."""
    return [result for result in results if result.inference]


def common_inference(curves: Sequence[Sequence[CycleResult]]) -> tuple[Inference, frozenset[int]]:
    """The inference with which most cycles can be compared, and these cycles.

    Args:
        curves: the results of one experiment or several, each from cycle 0 on.

    Returns:
        The inference, that of nnU-Net where there is a choice, and the cycles in which every experiment that got so far has
        scores with it.
    """
    there = {one for results in curves for result in results for one in result.inferences} | {NNUNET}
    reached = {result.cycle for results in curves for result in results}

    def cycles(inference: Inference) -> frozenset[int]:
        lacking = {r.cycle for results in curves for r in results if inference not in r.inferences}
        return frozenset(reached - lacking)

    order = sorted(there, key=lambda one: (-len(cycles(one)), one != NNUNET, one.step, one.mirroring))
    return order[0], cycles(order[0])


def comparable(curves: Sequence[Sequence[CycleResult]]) -> list[list[CycleResult]]:
    """``curves`` with the scores that can be compared: of one inference, and of the cycles that all experiments have in common.

    The other results have no scores; what was annotated for them stays. Experiments without a test set are left as they are.
    """
    inference, cycles = common_inference(curves)
    return [
        [result.scored(inference if result.cycle in cycles else None) if result.inference else result for result in results]
        for results in curves
    ]

"""Whether the queries of a trajectory were made as its plan says, or by ``nnactive_query`` in another way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nnactive_ext.compare.methods import method_key
from nnactive_ext.compare.settings import members_of
from nnactive_ext.compare.trajectories import Trajectory
from nnactive_ext.experiment.loops import MEMBER_KIND
from nnactive_ext.experiment.member_kinds import FOLDS


def unplanned_queries(trajectory: Trajectory) -> Iterator[str]:
    """One sentence for each query that leads to a compared cycle and differs from the plan in method, options, seed,
    number of members or of patches; nothing is held against what the record does not tell, as those of older versions do
    not."""
    for query in trajectory.record.get("queries") or ():
        if query["cycle"] >= len(trajectory.cycles):
            continue
        differing = _differing(query, trajectory.plan) or _members(query, trajectory) or _size(query, trajectory.plan)
        if differing:
            yield (
                f"{trajectory.label}: the query of cycle {query['cycle']} is not the planned one: {differing}. Leave it out: "
                "it is no trajectory of the planned method."
            )


def _differing(query: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    asked = method_key({"method": query.get("method", plan["method"]), "method_options": _options(query, plan)})
    if asked != method_key(plan):
        return f"made with {asked}, planned was {method_key(plan)}"
    seeds = {plan["seed"], *(change["before"] for change in plan.get("changes", ()) if change["what"] == "seed")}
    if query.get("seed", plan["seed"]) not in seeds:
        return f"made with seed {query['seed']}, planned was {plan['seed']}"
    return ""


def _members(query: Mapping[str, Any], trajectory: Trajectory) -> str:
    """Fewer annotated cases than folds have as many members as cases, which is no deviation."""
    asked, folds, planned = query.get("members"), trajectory.plan.get("folds"), members_of(trajectory.plan)
    if asked and (kind := query.get(MEMBER_KIND, FOLDS)) != planned:
        return f"members were {kind}, planned were {planned}"
    there = trajectory.cycles[query["cycle"] - 1].annotated_cases
    if not asked or not folds or len(asked) >= min(folds, there):
        return ""
    return f"{len(asked)} members were asked, planned were {min(folds, there)}"


def _size(query: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """A pool without room for all of them is no deviation."""
    if "patches" not in query or "missing" not in query or query["patches"] + query["missing"] == plan["query_size"]:
        return ""
    return f"{query['patches'] + query['missing']} patches were asked for, planned were {plan['query_size']}"


def _options(query: Mapping[str, Any], plan: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those of the plan only where the query tells neither its method nor its options."""
    told = "method" in query or "options" in query
    return (query.get("options") or {}) if told else (plan.get("method_options") or {})

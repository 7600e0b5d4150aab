"""Refuses to compare what is not comparable, naming both experiments, what differs, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from nnactive_ext.compare.differences import difference
from nnactive_ext.compare.queries import unplanned_queries
from nnactive_ext.compare.settings import Grouped, Setting, members_of
from nnactive_ext.compare.trajectories import Trajectory
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.commands import report_of
from nnactive_ext.experiment.label_changes import BACKGROUND, LABELS

Part = Callable[[Trajectory], Any]
_MOST = 10
"""How many refusals are told; the others are counted."""

UNKNOWN = "unknown"
"""A part that older plans do not tell, and which differs from nothing."""

_CHANGED, _CASES = "cases added or dropped on the way", ("added", "dropped")
_REREAD = "reference labels that were changed on the way"

WORLD: dict[str, Part] = {
    "test set": lambda t: [f"{case}{_where(t)}" for case in t.plan["test"]],
    "pool": lambda t: {case: found for case, found in t.plan["pool"].items() if case not in t.plan.get("irrelevant", ())},
    "irrelevant cases": lambda t: sorted(t.plan.get("irrelevant", ())),
    _CHANGED: lambda t: _changed_cases(t.plan.get("changes", ())),
    _REREAD: lambda t: _reread(t.plan.get("changes", ())),
    "classes": lambda t: t.record["classes"],
    "groups of cases": lambda t: _together(t.plan.get("groups") or {}),
    "foreground voxels of the pool": lambda t: t.plan.get("pool_foreground_voxels") or UNKNOWN,
}
"""What experiments on all labels share with those they are the goal of, too."""

MEMBERS: dict[str, Part] = {
    "trainer": lambda t: t.plan.get("trainer"),
    "folds": lambda t: t.plan.get("folds"),
    "start of members": lambda t: _start_of_members(t.plan.get("pretrained") or {}),
    "kind of members": lambda t: members_of(t.plan),
    "configuration": lambda t: t.plan.get("configuration"),
    "network": lambda t: t.record["network"],
}

_REMEDY = {
    "start": "Methods are compared from the same starting budget per seed: plan one of them with -start_from the other's "
    "loop_000.json, or leave it out.",
    "twice": "Leave one of them out.",
    "": "Leave one of them out, or compare them in separate calls.",
}


def check_comparable(grouped: Grouped) -> None:
    """Raise one NnActiveError that tells everything that differs inside a setting, or do nothing."""
    problems = [problem for setting in grouped.settings for problem in _setting(setting)]
    problems += _twice(grouped.full, "all labels", lambda t: (t.record["source"], t.seed, *_world_and_members(t)))
    problems += [problem for setting in grouped.settings for t in setting.trajectories for problem in unplanned_queries(t)]
    problems += [problem for setting in grouped.settings for t in setting.trajectories for problem in _changed_classes(t)]
    problems += [
        f"{t.label}: a roll-out without a test set; there is nothing to compare. {report_of(t.folder)} shows it alone."
        for setting in grouped.settings
        for t in setting.trajectories
        if not t.plan["test"]
    ]
    if problems:
        more = len(problems) - _MOST
        shown = [*problems[:_MOST], *([f"... and {more} more"] if more > 0 else [])]
        raise NnActiveError("These experiments cannot be compared:\n" + "\n".join(shown))


def same_world_and_members(first: Trajectory, second: Trajectory) -> bool:
    """Whether ``first``, an experiment on all labels, is what the other one could reach: with the pool that this has now."""
    parts = [part for what, part in {**WORLD, **MEMBERS}.items() if what not in (_CHANGED, _REREAD)]
    if any(change["what"] in _CASES and change["after_cycle"] >= 0 for change in first.plan.get("changes", ())):
        return False
    return first.record["source"] == second.record["source"] and all(_alike(part(first), part(second)) for part in parts)


def _alike(first: Any, second: Any) -> bool:
    return first == second or UNKNOWN in (first, second)


def _setting(setting: Setting) -> Iterator[str]:
    yield from _twice(setting.trajectories, setting.name, lambda t: (t.method, t.seed))
    for what, part in {**WORLD, **MEMBERS}.items():
        yield from _unlike(setting.trajectories, what, part, setting.name)
    for seed in setting.seeds:
        same = [t for t in setting.trajectories if t.seed == seed]
        yield from _unlike(same, f"starting budget of seed {seed}", _start, setting.name, "start")


def _unlike(trajectories: Sequence[Trajectory], what: str, part: Part, where: str, remedy: str = "") -> Iterator[str]:
    """One problem for each value that is not the first one's; others with the same value are counted."""
    told: list[tuple[Any, list[Trajectory]]] = []
    for trajectory in trajectories:
        value = part(trajectory)
        if value == UNKNOWN:
            continue
        same = next((entry for entry in told if entry[0] == value), None)
        if same:
            same[1].append(trajectory)
        else:
            told.append((value, [trajectory]))
    # Those that most share come first: the one that is unlike the others is the one to leave out.
    told.sort(key=lambda entry: -len(entry[1]))
    for value, others in told[1:]:
        first, second = told[0][1][0], others[0]
        also = f" (and {len(others) - 1} more like it)" if len(others) > 1 else ""
        yield (
            f"{where}: {first.label} and {second.label}{also} differ in their {what}: "
            f"{difference(told[0][0], value)}. {_REMEDY[remedy]}"
        )


def _twice(trajectories: Iterable[Trajectory], where: str, part: Part) -> Iterator[str]:
    seen: dict[Any, Trajectory] = {}
    for trajectory in trajectories:
        first = seen.setdefault(part(trajectory), trajectory)
        if first is not trajectory:
            what = f"{trajectory.method} with seed {trajectory.seed}"
            yield f"{where}: {first.label} and {trajectory.label} are both {what}. {_REMEDY['twice']}"


def _start(trajectory: Trajectory) -> list[str]:
    """The patches in words that tell which differ."""
    return sorted(f"{case} at {'-'.join(map(str, numbers[:3]))}" for case, *numbers in trajectory.record["start"])


def _changed_classes(trajectory: Trajectory) -> Iterator[str]:
    """A mean over other classes, or over classes that mean something else, is another quantity in each cycle."""
    for change in trajectory.plan.get("changes", ()):
        if change["what"] == LABELS:
            before, after = (", ".join(name for name in change[key] if name != BACKGROUND) for key in ("before", "after"))
            yield (
                f"{trajectory.label}: its classes were changed after cycle {change['after_cycle']}, from {before} to {after} "
                f"({'; '.join(change['operations'])}), so its cycles cannot be compared with each other, nor with others. "
                f"Leave it out; {report_of(trajectory.folder)} shows it alone."
            )


def _changed_cases(changes: Sequence[Mapping[str, Any]]) -> list[str]:
    """In words, with when: an image that came later could be queried in fewer cycles."""
    changed = [change for change in changes if change["what"] in _CASES]
    return sorted(f"{case} ({c['what']} after cycle {c['after_cycle']})" for c in changed for case in c["after"])


def _reread(changes: Sequence[Mapping[str, Any]]) -> list[str]:
    """In words, with what they were changed to and when."""
    changed = [change for change in changes if change["what"] == "references"]
    return sorted(f"{case_and_checksum} (after cycle {c['after_cycle']})" for c in changed for case_and_checksum in c["after"])


def _start_of_members(pretrained: Mapping[str, Any]) -> str:
    """Members that share a start disagree less, so neither their scores nor their Dice compare with others'."""
    return f"pretrained weights {pretrained['sha256'][:12]} ({pretrained['file']})" if pretrained else "from scratch"


def _where(trajectory: Trajectory) -> str:
    """Cases of imagesTs may have the names of others in imagesTr."""
    folder = trajectory.plan.get("test_folder")
    return f" ({folder})" if folder else ""


def _together(groups: Mapping[str, str]) -> dict[str, str]:
    """Case -> the first case of its group: groups are the same by whatever names."""
    first: dict[str, str] = {}
    return {case: first.setdefault(groups[case], case) for case in sorted(groups)}


def _world_and_members(trajectory: Trajectory) -> tuple[str, ...]:
    return tuple(repr(part(trajectory)) for part in (*WORLD.values(), *MEMBERS.values()))

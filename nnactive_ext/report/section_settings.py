"""Section 6 of the report: everything that is needed to do it again, above all the commands."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nnactive_ext.experiment.commands import Commands
from nnactive_ext.experiment.commands import text as commands_text
from nnactive_ext.experiment.label_changes import BACKGROUND, IGNORE, LABELS
from nnactive_ext.experiment.member_kinds import EACH, SSN, MemberKind
from nnactive_ext.experiment.observed import Named, differences, variables
from nnactive_ext.experiment.plan import DROPPED, IRRELEVANT, RELEVANT
from nnactive_ext.planning.decisions import shown
from nnactive_ext.planning.options import changeable
from nnactive_ext.planning.settings import Settings, command_of
from nnactive_ext.report.facts import Facts
from nnactive_ext.words import count, listed


def settings(facts: Facts) -> dict[str, Any]:
    """What ``settings.html`` says."""
    plan, kind = facts.plan, facts.plan.member_kind
    short = {name: value for name, value in asdict(plan).items() if name not in ("pool", "groups", "decisions", "changes")}
    if plan.pretrained:  # the network is shown by itself
        short["pretrained"] = {key: value for key, value in plan.pretrained.items() if key != "plans"}
    return {
        "name": facts.name,
        "plan": plan,
        "classes": list(facts.labels.classes),
        "channels": facts.channels,
        "ensemble": f"{count(plan.folds, 'training')} in each cycle; {EACH[kind.name](kind)}{_roles(kind)}",
        "evaluated": len(facts.results),
        "commands": commands(facts),
        "differences": differences(facts.environments),
        "variables": [f"{variable} ({listed(who)})" for variable, who in _variables(facts)],
        "environments": _environments(facts.environments),
        "decisions": shown(plan.decisions),
        "changes": [{key: _value(change.get(key)) for key in _CHANGE} for change in plan.changes],
        "network": None if facts.network is None else _json(facts.network),
        "plan_file": _json(short),
    }


def _roles(kind: MemberKind) -> str:
    """What disagreement measures where it is not what it measures with other members."""
    return "; bald measures the aleatoric uncertainty, expected_entropy the epistemic one" if kind.name == SSN else ""


_CHANGE = ("what", "before", "after", "after_cycle", "who", "when")


def _environments(named: Sequence[Named]) -> list[tuple[str, str, str, str]]:
    """What was made where: its parts, device, threads and precision; parts that were made alike are in one row."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for name, one in named:
        device = f"{one.device} ({one.device_name})" if one.device_name else one.device
        precision = one.precision + (f", means {one.means}" if one.means else "")
        if device:
            rows.setdefault((device, str(one.threads), precision), []).append(name)
    return [(listed(names, 4), *row) for row, names in rows.items()]


def _value(value: object) -> str | None:
    if isinstance(value, Mapping):  # label names
        return ", ".join(str(name) for name in value if name not in (BACKGROUND, IGNORE))
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return None if value is None else str(value)


def _json(content: Mapping[str, object]) -> str:
    """Indented, but lists without lists in them in one line each."""
    lines = json.dumps(content, indent=1, ensure_ascii=False, default=str)
    return _FLAT.sub(_in_one_line, lines)


_FLAT = re.compile(r"\[\n\s*([^][{}]*?)\n\s*\]")
"""A list without lists or objects in it, as json writes it; one with brackets in its texts is not found."""


def _in_one_line(found: re.Match[str]) -> str:
    return "[" + re.sub(r",\n\s*", ", ", found[1]) + "]"


def commands(facts: Facts) -> list[str]:
    """``nnactive_plan`` with everything that was decided, the changes since, and what trains and queries."""
    lines = [plan_command(facts)]
    lines += [line for change in facts.plan.changes if (line := _change(facts.commands, change))]
    for cycle, kept in facts.points.items():
        names = [f"FOLDER/{file.rpartition('/')[2].partition('_')[2]}" for file in kept]
        lines.append(f"{facts.commands.annotate('points', *names)}   # in cycle {cycle}; kept as {', '.join(kept)}")
    lines += [f"{commands_text('export', variable)}   # {listed(who)}" for variable, who in _variables(facts)]
    if facts.plan.human:
        lines.append(f"{facts.commands.serve}   # in each cycle before nnactive_run, or export and import")
    return [*lines, facts.commands.run]


def _variables(facts: Facts) -> list[tuple[str, list[str]]]:
    """``NAME=VALUE`` of the environment variables that changed trainings, and the members trained with it."""
    found = variables(facts.environments)
    return [(f"{name}={value}", who) for name, values in found.items() for value, who in values.items()]


def plan_command(facts: Facts) -> str:
    changes, channels = facts.plan.label_changes, list(map(str, facts.channels))
    labels = [name for name in changes[0].before if name not in (BACKGROUND, IGNORE)] if changes else list(facts.labels.classes)
    return wrapped(command_of(facts.plan, labels=labels, channels=channels))


def wrapped(words: list[str], width: int = 90) -> str:
    """Words as a command a shell reads, in lines that break before options only.

    >>> print(wrapped(["nnactive_plan", "-d", "4", "-name", "a b"], 16))
    nnactive_plan \\
      -d 4 \\
      -name 'a b'
    """
    groups: list[list[str]] = [[]]
    for word in words:
        if word.startswith("-") and groups[-1]:
            groups.append([])
        groups[-1].append(word)
    lines = [shlex.join(groups[0])]
    for group in groups[1:]:
        text = shlex.join(group)
        if len(lines[-1]) + len(text) < width:
            lines[-1] += f" {text}"
        else:
            lines.append(f"  {text}")
    return " \\\n".join(lines)


def _change(commands: Commands, change: Mapping[str, Any]) -> str:
    what, after = change["what"], change.get("after")
    if what in changeable(Settings):
        command = commands.change(changeable(Settings)[str(what)], after)
    elif what in (IRRELEVANT, RELEVANT) and isinstance(after, list):
        if commands.plan.irrelevant:
            return ""  # the annotator of a simulation said it
        command = commands.annotate("verdict", *after, what)
    elif what == DROPPED and isinstance(after, list):
        command = commands.change("-drop", *after)
    elif what == "references":
        command = commands.change("-references", "reread")
    elif what == "added":
        command = commands.change("-add", "FOLDER", *(("-groups", change["groups"]) if "groups" in change else ()))
    elif what == LABELS:
        made = [commands.change("-labels", *shlex.split(str(one))) for one in change["operations"]]
        return "\n".join(f"{one}   # after cycle {change.get('after_cycle')}" for one in made)
    else:
        return ""
    return f"{command}   # after cycle {change.get('after_cycle')}"

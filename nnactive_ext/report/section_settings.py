"""Section 6 of the report: everything that is needed to do it again, above all the commands."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nnactive_ext.planning.options import changeable
from nnactive_ext.planning.settings import Settings, command_of
from nnactive_ext.report.facts import Facts


def settings(facts: Facts) -> dict[str, Any]:
    """What ``settings.html`` says."""
    plan = facts.plan
    short = {name: value for name, value in asdict(plan).items() if name not in ("pool", "groups", "decisions", "changes")}
    return {
        "name": facts.name,
        "plan": plan,
        "classes": list(facts.labels.classes),
        "channels": facts.channels,
        "evaluated": len(facts.results),
        "commands": commands(facts),
        "later_versions": _later_versions(facts),
        "changes": [{key: _value(change.get(key)) for key in _CHANGE} for change in plan.changes],
        "network": None if facts.network is None else _json(facts.network),
        "plan_file": _json(short),
    }


_CHANGE = ("what", "before", "after", "after_cycle", "who", "when")


def _later_versions(facts: Facts) -> dict[int, Mapping[str, str]]:
    """Cycle -> versions of packages, where they are not those of the plan."""
    versions = {cycle: loop.content.get("versions") for cycle, loop in enumerate(facts.loops)}
    return {cycle: found for cycle, found in versions.items() if found and found != dict(facts.plan.versions)}


def _value(value: object) -> str | None:
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
    number = facts.number
    lines = [plan_command(facts)]
    lines += [line for change in facts.plan.changes if (line := _change(number, change))]
    if facts.plan.human:
        lines.append(f"nnactive_annotate export -d {number}   # and import, in each cycle before nnactive_run")
    return [*lines, f"nnactive_run -d {number}{facts.plan.device_words}"]


def plan_command(facts: Facts) -> str:
    labels, channels = list(facts.labels.classes), list(map(str, facts.channels))
    return wrapped(command_of(facts.plan, number=facts.number, name=facts.name[11:], labels=labels, channels=channels))


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


def _change(number: int, change: Mapping[str, Any]) -> str:
    what, after = change["what"], change.get("after")
    if what in changeable(Settings):
        words = ["nnactive_change", "-d", str(number), changeable(Settings)[str(what)], str(after)]
    elif what == "dropped" and isinstance(after, list):
        words = ["nnactive_change", "-d", str(number), "-drop", *map(str, after)]
    elif what == "added":
        words = ["nnactive_change", "-d", str(number), "-add", "FOLDER"]
        words += ["-groups", str(change["groups"])] if "groups" in change else []
    else:
        return ""
    return f"{shlex.join(words)}   # after cycle {change.get('after_cycle')}"

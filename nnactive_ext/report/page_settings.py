"""Section 6 of the report: everything that is needed to do it again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict

from nnactive_ext.pages.parts import Html, details, element, joined, paragraph, section, table
from nnactive_ext.pages.parts import facts as pairs
from nnactive_ext.report.page_commands import commands
from nnactive_ext.report.page_facts import Facts
from nnactive_ext.words import count


def settings(facts: Facts) -> Html:
    return section("settings", "6. Everything needed to repeat it", *_parts(facts))


def _parts(facts: Facts) -> list[Html]:
    plan = facts.plan
    rows: list[tuple[object, object]] = [
        ("experiment", f"{facts.name} ({plan.experiment})"),
        ("images from", plan.source if plan.source != "." else "a folder of images"),
        ("annotator", _annotator(facts)),
        ("pool", count(len(plan.pool), "case")),
        ("test set", count(len(plan.test), "case") if plan.test else "none"),
        ("classes", ", ".join(facts.labels.classes)),
        ("channels", ", ".join(map(str, facts.channels))),
        ("box", " × ".join(f"{mm:.4g}" for mm in plan.patch_size_mm) + " mm along z, y, x"),
        ("query size, starting budget", f"{plan.query_size}, {plan.starting_budget}"),
        ("cycles", f"{plan.cycles}, of which {len(facts.results)} evaluated"),
        ("query method", plan.method_words),
        ("seed", f"{plan.seed}, of patches and folds; nnU-Net's training itself is not seeded"),
        ("trainer", plan.trainer),
        ("network", f"{plan.configuration}, plans {plan.plans_identifier} by {plan.planner}"),
        ("ensemble", f"{plan.folds} members, one for each fold"),
    ]
    parts = [
        pairs(rows),
        element("h3", "Commands"),
        paragraph(_AGAIN, class_="hint"),
        element("pre", element("code", "\n".join(commands(facts)))),
        table(["Package", "version"], plan.versions.items(), "Versions when the experiment was planned", numbers=False),
    ]
    if later := _later_versions(facts):
        parts.append(table(["Cycle", "versions"], later, "Other versions in later queries", numbers=False))
    if plan.changes:
        parts.append(_changes(facts))
    if plan.decisions:
        parts.append(details("What was decided when it was planned, and why", _decisions(facts)))
    parts.append(details("The cases", _cases(facts)))
    if facts.network is not None:
        parts.append(details("nnU-Net's settings of the network", _json(facts.network)))
    short = {name: value for name, value in asdict(plan).items() if name not in ("pool", "decisions", "changes")}
    parts.append(details("The plan, as its file has it, but for what is above", _json(short)))
    return parts


_AGAIN = (
    "As far as the files tell. Given the same starting budget (loop_000.json, with -start_from) the first query differs only "
    "as trainings differ, which are not seeded."
)


def _annotator(facts: Facts) -> str:
    plan = facts.plan
    if not plan.human:
        return "simulated: reference labels were copied into the boxes"
    who = f"people ({plan.expert})" if plan.expert else "people"
    return who + (f"; training began when {100 * plan.share:.0f} % of a cycle's boxes were done" if plan.share < 1 else "")


def _later_versions(facts: Facts) -> list[tuple[str, str]]:
    planned = dict(facts.plan.versions)
    found = []
    for cycle, loop in enumerate(facts.loops):
        versions = loop.content.get("versions") or planned
        if versions != planned:
            found.append((str(cycle), ", ".join(f"{name} {version}" for name, version in versions.items())))
    return found


def _changes(facts: Facts) -> Html:
    rows = []
    for change in facts.plan.changes:
        before, after = (_value(change.get(key)) for key in ("before", "after"))
        after_cycle = change.get("after_cycle")
        when = str(change.get("when", "")).partition("T")[0]
        rows.append([str(change["what"]), before, after, str(after_cycle), str(change.get("who", "")), when])
    heading = ["What", "before", "after", "after cycle", "who", "when"]
    return table(heading, rows, "Changes since it was planned", numbers=False)


def _value(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)


def _decisions(facts: Facts) -> Html:
    return table(["What", "decided", "why"], facts.plan.decisions, numbers=False)


def _cases(facts: Facts) -> Html:
    plan = facts.plan
    rows = [
        [case, " × ".join(map(str, g.shape)), " × ".join(f"{mm:.4g}" for mm in g.spacing)]
        for case, g in sorted(plan.pool.items())
    ]
    parts = [table(["Case of the pool", "voxels (z, y, x)", "mm (z, y, x)"], rows, numbers=False)]
    if plan.test:
        parts.append(paragraph(element("b", "Test set: "), ", ".join(plan.test)))
    if plan.dropped:
        parts.append(paragraph(element("b", "Taken out of the pool: "), ", ".join(plan.dropped)))
    return joined(parts)


def _json(content: Mapping[str, object]) -> Html:
    """Indented, but lists without lists in them in one line each."""
    lines = json.dumps(content, indent=1, ensure_ascii=False, default=str)
    return element("pre", element("code", _FLAT.sub(_in_one_line, lines)))


_FLAT = re.compile(r"\[\n\s*([^][{}]*?)\n\s*\]")
"""A list without lists or objects in it, as json writes it; one with brackets in its texts is not found."""


def _in_one_line(found: re.Match[str]) -> str:
    return "[" + re.sub(r",\n\s*", ", ", found[1]) + "]"

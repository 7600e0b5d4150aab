"""Section 3 of the report: what was asked for and why, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.plan import ALL_LABELS
from nnactive_ext.pages.parts import Html, bar, element, joined, paragraph, section, swatch, table
from nnactive_ext.report.page_body import body
from nnactive_ext.report.page_facts import Facts
from nnactive_ext.words import percent


def queries(facts: Facts, galleries: Html) -> Html:
    """``galleries``: the pictures of all cycles."""
    return section("queries", "3. What was asked, and why?", *_parts(facts), galleries)


def _parts(facts: Facts) -> list[Html]:
    if not facts.loops:
        return [paragraph("Nothing has been asked yet.")]
    if facts.plan.purpose == ALL_LABELS:
        return [paragraph("Nothing was queried: every image of the pool is annotated whole, so there are no boxes to show.")]
    parts = [_method(facts), _asked(facts), _strata(facts), _balance(facts), _voxels(facts), body(facts)]
    return [part for part in parts if part]


def _method(facts: Facts) -> Html:
    plan = facts.plan
    said = joined(["Boxes are chosen by ", element("code", plan.method_words)])
    words = method_in_words(plan.method, plan.method_options)
    size = " × ".join(f"{mm:.4g}" for mm in plan.patch_size_mm)
    boxes = f" A box (query patch) measures {size} mm along z, y, x of the image; a query asks for {plan.query_size}."
    if used := {str(loop.content.get("method", "")) for loop in facts.loops[1:]} - {plan.method, ""}:
        boxes += f" Some queries were made with {', '.join(sorted(used))}, as their tables say."
    return paragraph(said, f": {words}." if words else ".", boxes)


def method_in_words(name: str, options: Mapping[str, str]) -> str:
    """What a method says of itself, and its source; empty for one that cannot be found any more."""
    from nnactive_ext.query_methods import methods
    from nnactive_ext.query_methods.words import words

    try:
        found = methods.get(name, **options)
    except NnActiveError:
        return ""
    cite = getattr(found, "cite", "")
    return f"{words(found)}{f' ({cite})' if cite else ''}"


def _asked(facts: Facts) -> Html:
    """Per cycle: boxes, cases, overlap with earlier boxes, foreground among the new voxels."""
    results = {result["cycle"]: result for result in facts.results}
    rows: list[list[object]] = []
    for one in facts.overlaps:
        share = _new_foreground(results, one.cycle)
        name = f"{one.cycle}{' (open)' if one.cycle == facts.open_cycle else ''}"
        rows.append(
            [
                name,
                str(one.patches),
                str(one.cases),
                str(one.new_cases),
                percent(one.mean) if one.cycle else "–",
                percent(one.highest) if one.cycle else "–",
                bar(share, percent(share)) if share is not None else "–",
            ]
        )
    heading = [
        "Cycle",
        "boxes",
        "cases",
        "cases never asked before",
        "overlap, mean",
        "overlap, highest",
        "foreground in new voxels",
    ]
    words = (
        "What each query asked for. Cycle 0 is the starting budget; overlap is the share of a box's voxels that earlier boxes "
        "cover, and foreground the share of newly annotated voxels that are any structure"
    )
    return table(heading, rows, words) if rows else Html("")


def _new_foreground(results: Mapping[int, Mapping[str, Any]], cycle: int) -> float | None:
    if cycle not in results:
        return None
    if "new_foreground_share" in results[cycle]:
        found: float | None = results[cycle]["new_foreground_share"]
        return found
    voxels = new_voxels(results, cycle)
    total = sum(voxels.values())
    return 1 - voxels.get("background", 0) / total if total else None


def new_voxels(results: Mapping[int, Mapping[str, Any]], cycle: int) -> dict[str, int]:
    """Label -> voxels in the new boxes of a cycle; in older files, what was annotated since the cycle before.

    Empty where that is not known.
    """
    if cycle not in results:
        return {}
    if "new_voxels_per_label" in results[cycle]:
        return dict(results[cycle]["new_voxels_per_label"])
    so_far = results[cycle].get("annotated_voxels_per_label") or {}
    if cycle == 0:
        return dict(so_far)
    before = results.get(cycle - 1, {}).get("annotated_voxels_per_label") or {}
    found = {name: n - before.get(name, 0) for name, n in so_far.items()}
    return found if before and min(found.values(), default=0) >= 0 else {}


def _strata(facts: Facts) -> Html:
    """How many boxes of each cycle were chosen for which reason."""
    counts = [Counter(task.stratum or "by score alone" for task in loop.tasks) for loop in facts.loops]
    names = sorted({name for one in counts for name in one}, key=lambda name: -sum(one[name] for one in counts))
    if not names:
        return Html("")
    most = max(max(one.values(), default=0) for one in counts) or 1
    colours = facts.colours
    rows: list[list[object]] = []
    for name in names:
        colour = colours.get(name.removeprefix("marked: "))
        sign = [swatch(colour), " "] if colour else []
        rows.append([joined([*sign, name]), *(bar(one[name] / most, str(one[name] or "–")) for one in counts)])
    heading = ["Chosen for", *(f"cycle {cycle}" for cycle in range(len(counts)))]
    words = (
        "Boxes by the reason they were chosen for: a class that the models are unsure about, all for all classes together; "
        "random, foreground and border for boxes that were drawn"
    )
    return table(heading, rows, words)


def _balance(facts: Facts) -> Html:
    """How many of each cycle's new boxes hold each class, as annotated."""
    results = {result["cycle"]: result for result in facts.results}
    cycles = [cycle for cycle, result in results.items() if result.get("new_patches_per_class")]
    if not cycles:
        return paragraph("How many boxes hold each class was not measured in these files (an earlier version).", class_="hint")
    colours = facts.colours
    rows: list[list[object]] = []
    for name in facts.labels.classes:
        row: list[object] = [joined([swatch(colours.get(name, (0, 0, 0))), " ", name])]
        for cycle in cycles:
            boxes, found = results[cycle]["new_patches"], results[cycle]["new_patches_per_class"].get(name, 0)
            row.append(bar(found / boxes if boxes else None, f"{found} of {boxes}"))
        rows.append(row)
    heading = ["New boxes that hold", *(f"cycle {cycle}" for cycle in cycles)]
    return table(heading, rows, "Class balance of the queries: new boxes with at least one annotated voxel of the class")


def _voxels(facts: Facts) -> Html:
    """The share of each label among the new voxels of each cycle."""
    results = {result["cycle"]: result for result in facts.results}
    found = {cycle: new_voxels(results, cycle) for cycle in results}
    cycles = [cycle for cycle, voxels in found.items() if sum(voxels.values())]
    if not cycles:
        return Html("")
    colours = facts.colours
    rows: list[list[object]] = []
    for name in found[cycles[-1]]:
        shares = [found[cycle].get(name, 0) / sum(found[cycle].values()) for cycle in cycles]
        sign = [swatch(colours[name]), " "] if name in colours and name != "background" else []
        rows.append([joined([*sign, name]), *(bar(share, percent(share)) for share in shares)])
    heading = ["New voxels that are", *(f"cycle {cycle}" for cycle in cycles)]
    return table(heading, rows, "What the newly annotated voxels of each cycle are")

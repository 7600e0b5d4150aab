"""Section 1 of the report: how good it is now, and what that rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnactive_ext.pages.parts import Html, details, element, joined, paragraph, section, table
from nnactive_ext.report.page_facts import Facts
from nnactive_ext.words import count, percent, points


def now(facts: Facts) -> Html:
    return section("now", "1. How good is it now?", *_parts(facts))


def headline(facts: Facts) -> str:
    """One line for the top of the page."""
    last = facts.last
    if last is None:
        return "How good it is, is not known yet: no cycle has been evaluated."
    if facts.tested:
        said = f"Mean Dice {percent(last['mean_dice'], 'not known')} on {count(len(facts.plan.test), 'test case')}"
        if weakest := _outlier(last):
            said += f"; the weakest class is {weakest} ({percent(last['dice_per_class'][weakest])})"
        return f"{said}."
    dice = (last.get("cross_validation") or {}).get("mean_dice")
    if dice is None:
        return "There is no test set, so how good it is, is not known."
    return f"Dice {percent(dice)} in cross-validation on annotated voxels; there is no test set."


def _parts(facts: Facts) -> list[Html]:
    last = facts.last
    if last is None:
        return [paragraph("Not known: no cycle has been evaluated yet.", class_="lead"), _tiles([_boxes(facts)])]
    if facts.tested:
        return _tested(facts, last)
    return _untested(facts, last)


def _tested(facts: Facts, last: Mapping[str, Any]) -> list[Html]:
    cases = count(len(facts.plan.test), "test case")
    classes = sum(value is not None for value in last["dice_per_class"].values())
    tiles = [("Mean Dice", percent(last["mean_dice"], "not known"), f"{count(classes, 'class', 'classes')}, {cases}")]
    nsd = _mean(last.get("nsd_per_class"))
    tolerance = f"within {last['tolerance_mm']:.3g} mm" if last.get("tolerance_mm") else "its files are of an earlier version"
    tiles.append(("Mean NSD", percent(nsd, "not measured" if "nsd_per_class" not in last else "not known"), tolerance))
    if gain := _since(facts):
        tiles.append(gain)
    said = (
        f"After cycle {last['cycle']}, on {cases} that are never queried. Dice is the mean over classes of the mean over "
        "cases; a class that neither the reference nor the prediction of a case shows does not count there."
    )
    if last["classes_left_out"]:
        said += f" Left out, because no test case shows or predicts them: {', '.join(last['classes_left_out'])}."
    parts = [_tiles([*tiles, _boxes(facts)]), paragraph(said), _classes(facts, last), _weakest(last), _cases(facts, last)]
    if "nsd_per_class" in last:
        parts.insert(3, paragraph(_SURFACE, class_="hint"))
    return [part for part in parts if part]


_SURFACE = (
    "NSD, the normalised surface distance: the share of both surfaces that lies within the tolerance of the other. HD95: the "
    "95th percentile of the distances between the surfaces, averaged over the cases in which both have the class; in the cases "
    "counted as infinite only one of them has it, which no average shows."
)


def _untested(facts: Facts, last: Mapping[str, Any]) -> list[Html]:
    found = last.get("cross_validation")
    said = "There is no test set, so how good the model is on a new image is not known. "
    if not found or found.get("mean_dice") is None:
        why = "Cross-validation was not measured in this cycle." if not found else "Cross-validation gave no number."
        return [_tiles([("Dice", "not known", "no test set"), _boxes(facts)]), paragraph(said, why)]
    said += (
        f"What is known is the cross-validation on annotated voxels after cycle {last['cycle']}: each of "
        f"{count(found['cases'], 'case')} was predicted by the member that did not train on it, and compared with the "
        "annotation inside its boxes, all voxels together. Boxes were mostly chosen because the model was unsure there, and "
        "one member is weaker than the ensemble, so the number can be lower than on whole images. It cannot tell what happens "
        "outside the boxes, such as false findings elsewhere, and the voxels are others in each cycle. Use it to see roughly "
        "whether things improve, not as a test result."
    )
    if left := found.get("cases_left_out"):
        said += f" {count(left, 'annotated case')} could not be counted: no member is known not to have trained on it."
    tiles = [
        ("Dice, cross-validation", percent(found["mean_dice"]), "on annotated voxels only; not a test set"),
        _boxes(facts),
    ]
    voxels = found.get("voxels_per_class") or {}
    rows = [[name, percent(value), _number(voxels.get(name))] for name, value in found["dice_per_class"].items()]
    return [
        _tiles(tiles),
        paragraph(said),
        table(["Class", "Dice in cross-validation", "annotated voxels"], rows, "Per class, over all annotated voxels together"),
    ]


def _tiles(tiles: Sequence[tuple[str, str, str]]) -> Html:
    return element(
        "dl",
        joined(
            element("div", element("dt", name), element("dd", element("b", value), " ", element("span", words)))
            for name, value, words in tiles
        ),
        class_="tiles",
    )


def _boxes(facts: Facts) -> tuple[str, str, str]:
    last = facts.last
    if last is None:
        planned = len(facts.loops[0].tasks) if facts.loops else 0
        return "Annotated", "nothing yet", f"{count(planned, 'box', 'boxes')} chosen for the start"
    cases = f"{last['annotated_cases']} of {len(facts.plan.pool)} cases of the pool"
    return "Annotated", count(last["patches"], "box", "boxes"), f"{count(last['annotated_voxels'], 'voxel')} in {cases}"


def _since(facts: Facts) -> tuple[str, str, str] | None:
    """What the last cycle brought; where the result before it is missing, what the cycles since the one before did."""
    if len(facts.results) < 2:
        return None
    before, last = facts.results[-2:]
    if before["mean_dice"] is None or last["mean_dice"] is None:
        return None
    change = points(last["mean_dice"] - before["mean_dice"])
    more = count(last["patches"] - before["patches"], "more box", "more boxes")
    neighbours = last["cycle"] == before["cycle"] + 1
    since = "Since the cycle before" if neighbours else f"From cycle {before['cycle']} to cycle {last['cycle']}"
    return since, f"{change} points", f"of mean Dice, for {more}"


def _classes(facts: Facts, last: Mapping[str, Any]) -> Html:
    surface = "nsd_per_class" in last
    heading = ["Class", "Dice", "cases", "annotated voxels"]
    heading += [f"NSD, {last['tolerance_mm']:.3g} mm", "cases", "HD95, mm", "cases", "infinite in"] if surface else []
    rows = []
    for name, value in last["dice_per_class"].items():
        row = [name, percent(value), str(last["cases_per_class"].get(name, 0)), _number(_annotated(facts, last, name))]
        if surface:
            cases = last.get("surface_cases_per_class", {}).get(name, {})
            row += [percent(last["nsd_per_class"].get(name)), _number(cases.get("nsd"))]
            row += [_mm(last["hd95_per_class"].get(name)), _number(cases.get("hd95")), _number(cases.get("infinite"))]
        rows.append(row)
    return table(heading, rows, "Per class, on the test set")


def _annotated(facts: Facts, last: Mapping[str, Any], name: str) -> int | None:
    """Voxels annotated as a class; that of a region is the sum over its labels."""
    counts = last.get("annotated_voxels_per_label") or {}
    values = facts.labels.classes.get(name, ())
    labels = [label for label, value in facts.names.items() if value in values]
    return sum(counts.get(label, 0) for label in labels) if labels else None


def _weakest(last: Mapping[str, Any]) -> Html:
    """The class an expert should look at first, if one stands out."""
    name = _outlier(last)
    if not name:
        return Html("")
    value = last["dice_per_class"][name]
    rest = _mean({key: other for key, other in last["dice_per_class"].items() if key != name})
    words = "is not found at all" if value == 0 else "is the weakest class"
    return paragraph(element("b", name), f" {words} (Dice {percent(value)}; the others {percent(rest)} in the mean).")


def _outlier(last: Mapping[str, Any]) -> str:
    """The class that is worse than the mean of the others by 10 points or more, if there is one."""
    known = {name: value for name, value in last["dice_per_class"].items() if value is not None}
    if len(known) < 2:
        return ""
    name, value = min(known.items(), key=lambda item: item[1])
    rest = _mean({key: other for key, other in known.items() if key != name}) or 0.0
    return name if rest - value >= 0.1 else ""


def _cases(facts: Facts, last: Mapping[str, Any]) -> Html:
    per_case = last.get("dice_per_case") or {}
    if not per_case:
        return Html("")
    names = list(last["dice_per_class"])
    rows = [[case, *(percent(scores.get(name)) for name in names)] for case, scores in _worst_first(per_case)]
    return details(
        "Dice of every test case, the worst first",
        table(["Case", *names], rows),
        paragraph("–: neither the reference nor the prediction shows the class.", class_="hint"),
    )


def _worst_first(per_case: Mapping[str, Mapping[str, float | None]]) -> list[tuple[str, Mapping[str, float | None]]]:
    """Cases without any class come last."""
    means = {case: _mean(scores) for case, scores in per_case.items()}
    return sorted(per_case.items(), key=lambda item: (means[item[0]] is None, means[item[0]] or 0.0, item[0]))


def _mean(values: Mapping[str, float | None] | None) -> float | None:
    known = [value for value in (values or {}).values() if value is not None]
    return sum(known) / len(known) if known else None


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,}"


def _mm(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"

"""Section 5 of the report: what might be done next, marked as the advice it is."""

from __future__ import annotations

from nnactive_ext.pages.parts import Html, element, joined, listed, paragraph, section, table
from nnactive_ext.report.improvement import Change
from nnactive_ext.report.page_facts import Facts
from nnactive_ext.report.verdict import EARLY, FELL, GO_ON, LIMIT, STOP, USED_UP
from nnactive_ext.words import percent, points


def advice(facts: Facts) -> Html:
    found = facts.advice
    tag = element("span", "advice, not a result", class_="tag")
    title = element("h2", "5. What should be done next? ", tag)
    if found is None:
        return section("advice", "5. What should be done next?", paragraph("There is no advice."))
    parts: list[object] = [paragraph(_said(found.headline), class_="lead"), listed(found.points)]
    if any(one.change for one in found.classes):
        rows = [
            [one.name, percent(one.dice), points(one.change.value) if one.change else "–", _between(one.change)]
            for one in found.classes
        ]
        heading = ["Class", "Dice", "change, points", "interval over test cases"]
        parts.append(table(heading, rows, "What the last query changed, per class; intervals are widened for their number"))
    if found.headline not in (USED_UP, LIMIT):
        parts.append(paragraph(_CAUTION, class_="hint"))
    return element("section", title, joined(parts, "\n"), id="advice", class_="advice")


_CAUTION = (
    "This is a rule of thumb applied to the numbers above. Whether more annotation is worth its time is for those who know "
    "what the model is for; look at the boxes of the last query before deciding."
)


def in_short(facts: Facts) -> Html:
    """One line for the top of the page."""
    if facts.advice is None:
        return Html("")
    return joined([_said(facts.advice.headline), " ", element("a", "Why", href="#advice")])


_MEANING = {
    GO_ON: "the last query still helped",
    STOP: "the last queries hardly changed anything",
    FELL: "the Dice fell with the last query",
    USED_UP: "the pool is used up",
    LIMIT: "this is what the trainer can reach on these data, and there is nothing to query",
    EARLY: "what there is cannot tell whether more boxes help",
}


def _said(headline: str) -> Html:
    meaning = _MEANING.get(headline)
    return joined([element("b", headline[:1].upper() + headline[1:]), f": {meaning}." if meaning else "."])


def _between(change: Change | None) -> str:
    if change is None or change.low is None or change.high is None:
        return "–"
    return f"{points(change.low)} to {points(change.high)}"

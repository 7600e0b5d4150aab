"""The report of an experiment as one HTML file that needs nothing else and asks for nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import write_text
from nnactive_ext.pages.parts import Html, element, joined, listed, text
from nnactive_ext.report.page_advice import advice, in_short
from nnactive_ext.report.page_facts import Facts
from nnactive_ext.report.page_gallery import galleries
from nnactive_ext.report.page_history import history
from nnactive_ext.report.page_looks import STYLE
from nnactive_ext.report.page_now import headline, now
from nnactive_ext.report.page_queries import queries
from nnactive_ext.report.page_script import SCRIPT
from nnactive_ext.report.page_settings import settings
from nnactive_ext.report.page_template import PAGE
from nnactive_ext.report.page_viewer import chosen, scripts, viewer
from nnactive_ext.words import count

if TYPE_CHECKING:
    from nnactive_ext.report.crop import Crop

LARGEST = 20_000_000
"""Bytes of a report: less goes by mail, and opens at once."""


@dataclass(frozen=True)
class Effort:
    """How much is shown: ``pictures`` of each cycle, with ``size`` pixels along the longest side of a crop, and ``volumes``."""

    pictures: int
    size: int = 160
    volumes: int = 6


def write_report(facts: Facts, file: Path, largest: int = LARGEST) -> tuple[int, str]:
    """Write the report to ``file``, whole or not at all; returns its bytes and what had to be left out, in a sentence."""
    most = max((len(crops) for crops in facts.crops.values()), default=0)
    drawn = _Drawn(facts)
    for effort in efforts(most):
        left_out = _left_out(facts, effort, most)
        content = page(facts, effort, drawn, left_out)
        if (size := len(content.encode())) <= largest:
            write_text(file, content)
            return size, left_out
    raise NnActiveError(f"{file}: the report would have {size:,} bytes without a single picture, more than {largest:,}.")


def efforts(most: int) -> Iterator[Effort]:
    """From all that was gathered to no picture at all, in the order in which a page is made smaller."""
    first = Effort(most)
    yield first
    for share, size, volumes in ((1, 120, 6), (1, 120, 4), (0.7, 120, 4), (0.5, 120, 3), (0.25, 120, 2), (0, 120, 1)):
        yield Effort(min(most, max(1, round(share * most))), size, volumes)
    yield Effort(min(most, 1), 120, 0)
    yield Effort(0, 120, 0)


def _left_out(facts: Facts, effort: Effort, most: int) -> str:
    """What this effort does not show, in a sentence; empty if it shows everything."""
    full, said = Effort(most), []
    if effort.pictures < most:
        said.append(f"at most {effort.pictures} of the {most} boxes asked for are shown of each cycle")
    found, usual = (len(chosen(facts, one.volumes, one.pictures)) for one in (effort, full))
    if found < usual:
        said.append(f"the 3D viewer has {count(found, 'box', 'boxes')}, not {usual}")
    if effort.size < full.size and effort.pictures:
        said.append("pictures are smaller than usual")
    return f"To keep the file below its largest size, {', '.join(said)}." if said else ""


def page(facts: Facts, effort: Effort, drawn: _Drawn, left_out: str) -> str:
    """The whole file."""
    draw = drawn.pictures(effort.size)
    crops = chosen(facts, effort.volumes, effort.pictures)
    sections = [
        now(facts),
        history(facts),
        queries(facts, joined([_note(left_out), galleries(facts, draw, effort.pictures)])),
        viewer(facts, crops, drawn.volumes),
        advice(facts),
        settings(facts),
    ]
    loaded = scripts() if crops else []
    return PAGE.substitute(
        policy=text(_policy([SCRIPT, *(source for _, source in loaded)])),
        title=text(f"{facts.name}: report"),
        heading=text(f"{facts.name}: report").replace("_", "_<wbr>"),  # where a narrow window may break it
        style=STYLE,
        header=_header(facts),
        contents=_contents(),
        sections="\n".join(sections),
        footer=f"Made by nnactive_report -d {facts.number}. Nothing in this file comes from or goes to a network.",
        scripts="\n".join(
            [
                *(f'<script type="text/plain" id="{name}">{source}</script>' for name, source in loaded),
                f"<script>{SCRIPT}</script>",
            ]
        ),
    )


class _Drawn:
    """Pictures and volumes of crops, each made once however often the page is laid out."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self.volumes = cache(_volumes)
        self.pictures = cache(self._pictures)

    def _pictures(self, size: int):
        from nnactive_ext.report.gallery import picture

        colours, ignore = self._facts.by_value, self._facts.labels.ignore
        return cache(lambda crop: picture(crop, colours, ignore, size))


def _volumes(crop: Crop) -> dict[str, bytes]:
    from nnactive_ext.report.volumes import volumes

    return volumes(crop)


def _policy(sources: list[str]) -> str:
    """No address may be reached, and no script may run but these."""
    hashes = (base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() for source in sources)
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    rest = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    return f"{rest}; script-src {allowed}"


def _header(facts: Facts) -> Html:
    plan = facts.plan
    evaluated = f"{count(len(facts.results), 'cycle')} of {plan.cycles} evaluated" if facts.results else "nothing evaluated yet"
    who = "annotated by people" if plan.human else "annotated by simulation"
    return joined(
        [
            element("p", f"{evaluated}; {who}; query method ", element("code", plan.method)),
            element(
                "dl",
                joined(
                    element("div", element("dt", name), element("dd", words))
                    for name, words in (("Now", headline(facts)), ("Advice, not a result", in_short(facts)))
                    if words
                ),
                class_="answers",
            ),
        ]
    )


_SECTIONS = {
    "now": "How good is it?",
    "history": "How did it get there?",
    "queries": "What was asked?",
    "viewer": "In 3D",
    "advice": "What next?",
    "settings": "To repeat it",
}


def _contents() -> Html:
    links = (element("a", name, href=f"#{anchor}") for anchor, name in _SECTIONS.items())
    return element("nav", listed(links), aria_label="Contents")


def _note(sentence: str) -> Html:
    return element("p", sentence, class_="note") if sentence else Html("")

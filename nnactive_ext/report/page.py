"""The report of an experiment as one HTML file that needs nothing else and asks for nothing from anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markupsafe import Markup

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import write_text
from nnactive_ext.pages.templates import render
from nnactive_ext.pages.vendored import NIIVUE
from nnactive_ext.report.facts import Facts
from nnactive_ext.report.section_gallery import galleries
from nnactive_ext.report.section_history import history
from nnactive_ext.report.section_now import now
from nnactive_ext.report.section_queries import queries
from nnactive_ext.report.section_settings import settings
from nnactive_ext.report.section_viewer import chosen, viewer, volumes
from nnactive_ext.report.verdict import LIMIT, MEANING, USED_UP
from nnactive_ext.report.worth import worth_line
from nnactive_ext.words import count

LARGEST = 20_000_000
"""Bytes of a report: less goes by mail, and opens at once."""


@dataclass(frozen=True)
class Effort:
    """How much is shown: ``pictures`` of each cycle, with ``size`` pixels along the longest side of a crop, and ``volumes``."""

    pictures: int
    size: int = 220
    volumes: int = 6


def write_report(facts: Facts, file: Path, largest: int = LARGEST) -> tuple[int, str]:
    """Write the report of an experiment, whole or not at all.

    Args:
        facts: what the report says, gathered from the files of the experiment.
        file: the HTML file.
        largest: its largest size in bytes; pictures are left out or thinned to stay below it.

    Returns:
        The size of the file in bytes, and a sentence on what was left out.

    Raises:
        NnActiveError: the report is too large even without pictures; nothing is written then.
    """
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
    less = ((1, 160, 6), (1, 120, 6), (1, 120, 4), (0.7, 120, 4), (0.5, 120, 3), (0.25, 120, 2), (0, 120, 1))
    for share, size, most_volumes in less:
        yield Effort(min(most, max(1, round(share * most))), size, most_volumes)
    yield Effort(min(most, 1), 120, 0)
    yield Effort(0, 120, 0)


def _left_out(facts: Facts, effort: Effort, most: int) -> str:
    """What this effort does not show, in a sentence; empty if it shows everything."""
    full, said = Effort(most), []
    if effort.pictures < most:
        said.append(f"at most {effort.pictures} of the {most} patches asked for are shown of each cycle")
    found, usual = (len(chosen(facts, one.volumes, one.pictures)) for one in (effort, full))
    if found < usual:
        said.append(f"the 3D viewer has {count(found, 'patch', 'patches')}, not {usual}")
    if effort.size < full.size and effort.pictures:
        said.append("pictures are smaller than usual")
    return f"To keep the file below its largest size, {', '.join(said)}." if said else ""


def page(facts: Facts, effort: Effort, drawn: _Drawn, left_out: str) -> str:
    """The whole file."""
    crops = chosen(facts, effort.volumes, effort.pictures)
    libraries = {"niivue-source": Markup(NIIVUE.read_text(encoding="utf-8"))} if crops else {}
    advice = facts.advice
    return render(
        "report",
        "page.html",
        name=facts.name,
        made_by=facts.commands.report,
        plan=facts.plan,
        evaluated=len(facts.results),
        colours={name: facts.colours[name] for name in facts.names if name not in ("background", "ignore")},
        note=left_out,
        now=now(facts),
        nothing_predicted=facts.nothing_predicted,
        missed=facts.missed,
        history=history(facts),
        queries=queries(facts),
        gallery=galleries(facts, drawn.pictures(effort.size), effort.pictures),
        viewer=viewer(facts, crops, drawn.volumes),
        advice=advice,
        worth=worth_line(advice, facts.remaining) if advice else "",
        leaving=facts.leaving,
        meaning=MEANING,
        queries_follow=advice is not None and advice.headline not in (USED_UP, LIMIT),
        settings=settings(facts),
        libraries=libraries,
    )


class _Drawn:
    """Pictures and volumes of crops, each made once however often the page is laid out."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self.volumes = cache(volumes)
        self.pictures = cache(self._pictures)

    def _pictures(self, size: int):
        from nnactive_ext.report.gallery import fitting, picture

        colours, ignore = self._facts.by_value, self._facts.labels.ignore
        return cache(lambda crop: picture(crop, colours, ignore, fitting(crop, size)))

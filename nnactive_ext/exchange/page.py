"""The index page of exported tasks: one HTML file that needs nothing else, to choose from and to be led by.

Whatever comes from files or people is escaped; the page's policy lets no script run but ours, whatever it may contain.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nnactive_ext.exchange.page_looks import SCRIPT, STYLE
from nnactive_ext.exchange.page_parts import IGNORE, box, content, image_facts, legend, pictures
from nnactive_ext.exchange.page_template import CARD, PAGE
from nnactive_ext.exchange.reasons import reason
from nnactive_ext.exchange.view import View, shares
from nnactive_ext.files import write_text
from nnactive_ext.pages.parts import link, text

BADGES = {"open": "○ open", "partial": "◐ partly done", "done": "● done"}
"""What each status looks like; with a sign and a word, as colour alone says nothing to some."""
_HEAD = re.compile(r'<article id="([^"]*)" data-status="([^"]*)"')


def card(view: View, image: np.ndarray, status: str = "open", note: str = "") -> str:
    """The HTML of one task, to be given to :func:`write_page`.

    ``image`` (channels, z, y, x) is the crop; its first channel is drawn. ``status`` is one of :data:`BADGES`; ``note`` is
    shown above the facts, as what is left to do.
    """
    task, folder = view.task, view.folder.name
    found = shares(view)
    classes = [name for name in found if name != IGNORE]
    answered = not view.predicted and (status != "open" or bool(found))
    return CARD.substitute(
        anchor=f"task-{task.cycle}-{task.number}",
        status=text(status),
        badge=text(BADGES.get(status, status)),
        id=text(task.id),
        case=text(task.patch.case),
        classes=text(json.dumps(classes)),
        pictures=pictures(view, image[0], classes),
        note=f'<p class="note">{text(note)}</p>\n' if note else "",
        why=text(_sentence(reason(task))),
        source="Labelled so far" if answered else "Model predicts",
        content=content(view, found, answered),
        box=box(view),
        image=image_facts(view, image[0]),
        folder_link=link(folder) + "/",
        label_link=f"{link(folder)}/{link(view.label.name)}",
        slicer=text(shlex.quote(f"{folder}/open_in_slicer.py")),
        itksnap=text(shlex.quote(f"{folder}/task.itksnap")),
    )


def write_page(
    file: Path, cards: Sequence[str], title: str, facts: Sequence[tuple[str, str]], names: Mapping[str, int], number: int
) -> None:
    """Write the page of ``cards`` to ``file``, which lies beside the folders of the tasks, whole or not at all.

    ``facts`` are shown under the title, ``names`` (label -> value) make the legend, ``number`` is the dataset's.
    """
    heads = [match.groups() for match in map(_HEAD.match, cards) if match]
    states = [status for _, status in heads]
    counts = ", ".join(f"{states.count(status)} {badge.split(' ', 1)[1]}" for status, badge in BADGES.items())
    following = next((anchor for anchor, status in heads if status != "done"), None)
    folder = file.absolute().parent.name or "."
    script = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    page = PAGE.substitute(
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{script}'",
        title=text(title),
        style=STYLE,
        counts=f"<strong>{len(cards)} task{'' if len(cards) == 1 else 's'}</strong>: {counts}",
        facts="".join(f"<div><dt>{text(what)}</dt><dd>{text(value)}</dd></div>" for what, value in facts),
        next=f'<a class="next" href="#{following}">Go to the next task to do</a>' if following else "",
        folder=text(folder),
        quoted=text(shlex.quote(folder)),
        number=int(number),
        legend=legend(names),
        cards="".join(cards) or "<p>There are no tasks.</p>",
        script=SCRIPT,
    )
    write_text(file, page)


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]

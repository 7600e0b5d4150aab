"""Messages for browsers that must not learn the names of cases: names are left out, and texts that name files stay here."""

from __future__ import annotations

import re
from pathlib import Path

from nnactive_ext.experiment.experiment import Experiment

WITHHELD = "The server cannot do this. Its terminal says why; ask whoever started it."
_PATH = re.compile(r"(?:^|[\s'\"(\[=:,])(?:~?[/\\]|[A-Za-z]:[/\\])\S")


def disguised(text: str, experiment: Experiment) -> str:
    """``text`` without names of cases, or :data:`WITHHELD` if it names a folder or an image file.

    No pseudonym stands instead of a name: a message repeats what a request said, and would tell whose pseudonym is which to
    everybody who sends a name and looks at the reply.

    Args:
        text: a message of any part of the program.
        experiment: whose cases must not be named.

    Returns:
        The message: ids of tasks are cut to their numbers (``c001_003``), other names of cases are ``[case]``.
    """
    dataset = experiment.dataset
    cases = {*dataset.entries, *dataset.cases, *experiment.plan.pool, *experiment.plan.dropped}
    names = "|".join(re.escape(case) for case in sorted(cases, key=len, reverse=True))
    if names:
        ends = r"(?![^\W_])"
        text = re.sub(rf"(c\d{{3,}}_\d{{3,}})_(?:{names}){ends}", r"\1", text, flags=re.IGNORECASE)
        text = re.sub(rf"(?<![^\W_])(?:{names}){ends}", "[case]", text, flags=re.IGNORECASE)
    files = {file.name.casefold() for entry in dataset.entries.values() for file in map(Path, entry.images)}
    told = text.casefold()
    return WITHHELD if _PATH.search(text) or any(file in told for file in files) else text

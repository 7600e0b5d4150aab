"""Unfinished work of one person on one task: one file that is replaced as a whole, and never trained on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import replacing
from nnactive_ext.schemas import Count, of_text


class Overtaken(NnActiveError):
    """Another page has saved a draft of the same task in the meantime."""


@dataclass(frozen=True)
class Draft:
    """``labels``: the bytes of a ``.nii.gz`` as the page sent them, empty where nothing was painted; ``revision`` counts the
    drafts of this task, ``seconds`` is the time worked since the last answer, ``answers`` how many this person had given."""

    task: str
    who: str
    tab: str
    revision: int
    seconds: float
    answers: int
    label_version: int
    labels: bytes


class _Header(TypedDict):
    """The first line of a draft's file."""

    task: str
    who: str
    tab: str
    revision: Count
    seconds: float
    answers: Count
    label_version: Count
    sha256: str


@dataclass(frozen=True)
class Drafts:
    """In ``folder``: one file per task and person."""

    folder: Path

    def read(self, task: str, who: str) -> Draft | None:
        """The draft; None if there is none, or if it is damaged."""
        file = self._file(task, who)
        try:
            header, _, labels = file.read_bytes().partition(b"\n")
            facts = of_text(_Header, header)
            if facts.pop("sha256") != hashlib.sha256(labels).hexdigest():
                return None
            draft = Draft(**facts, labels=labels)
        except (OSError, ValueError, TypeError):
            return None
        return draft if (draft.task, draft.who) == (task, who) else None

    def write(self, draft: Draft, base: int | None) -> Draft:
        """Replace the draft; returns it with its new revision.

        Args:
            draft: what to keep.
            base: the revision that the page goes on from; None: whatever is there.

        Raises:
            Overtaken: the last revision is another one. It is kept.
        """
        before = self.read(draft.task, draft.who)
        last = before.revision if before else 0
        if base is not None and before is not None and before.tab != draft.tab and base != last:
            raise Overtaken(
                f"{draft.task}: another tab of {draft.who} saved a draft of this task after this page was opened. Reload to go "
                "on from that one, or keep what this page shows."
            )
        kept = Draft(**{**asdict(draft), "revision": last + 1})
        facts = asdict(kept)
        labels = facts.pop("labels")
        facts["sha256"] = hashlib.sha256(labels).hexdigest()
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self._file(draft.task, draft.who)) as temporary:
            temporary.write_bytes(json.dumps(facts).encode() + b"\n" + labels)
        return kept

    def remove(self, task: str, who: str) -> None:
        """The work was handed in."""
        self._file(task, who).unlink(missing_ok=True)

    def _file(self, task: str, who: str) -> Path:
        # Names of people are no names of files.
        return self.folder / f"{task}_{hashlib.sha256(who.encode()).hexdigest()[:16]}.draft"

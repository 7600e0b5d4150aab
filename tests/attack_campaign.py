"""A campaign: faults drawn by a seed over all commands; after each, other commands and the same one; what that came to."""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from attack import CALLS, FILES, Attacker, Ended, Fault, contents, copied, differences
from attack_cases import CASES, OTHERS
from folders import folders_below
from killed_changes import left

FAILING = {
    "rename": ("EIO", "ENOSPC", "EACCES"),
    "fsync": ("EIO", "ENOSPC"),
    "write": ("EIO", "ENOSPC"),
    "mkdir": ("ENOSPC", "EROFS"),
    "unlink": ("EIO", "EACCES"),
    "ftruncate": ("EIO",),
    "flock": ("ENOLCK",),
}
"""What calls fail with."""


_BETWEEN = {
    "export": re.compile(r"^again/|/annotation/exported\.json$"),
    "simulated report": re.compile(r"/gallery/"),
    "simulated change": re.compile(r"/nnactive_plan\.json$|/splits_final\.json$"),
}
"""What these write between a command that was killed half-way and its repetition, which is that of neither order: it shows, or
says, how far the command had come, and splits of the cycle that was begun take the new seed."""


@dataclass(frozen=True)
class Try:
    """A ``fault`` of the command ``case``, after which ``other`` is typed ("": nothing), and then the same command again."""

    case: str
    fault: Fault
    other: str = ""

    def __str__(self) -> str:
        return f"{self.case} {self.fault}, then {self.other or 'the same'}"


@dataclass(frozen=True)
class Outcome:
    """``happened``: the fault did. ``wrong``: what is not as it should be; empty if all is well."""

    tried: Try
    happened: bool
    wrong: str
    seconds: float

    def line(self) -> str:
        return json.dumps({**asdict(self), "name": str(self.tried)})


class Campaign:
    """``states``: as :func:`attack_cases.make_states` makes them; ``folder``: for the copies."""

    def __init__(self, attacker: Attacker, states: Path, folder: Path):
        self.attacker, self.states, self.folder = attacker, states, folder
        self.expected, self.calls = cache(self._expected), cache(self._calls)

    def _copy(self, state: str) -> Path:
        # Of one name, because files of an experiment hold its path; beside the images, which are not copied.
        return copied(self.states / state, self.states / "attacked")

    def _undisturbed(self, case: str, others: Sequence[str], read: Callable[[Path], dict[str, object]]) -> dict[str, object]:
        """What ``read`` finds; ``others``: what is typed, "" for the command itself."""
        root = self._copy(CASES[case].state)
        for other in others:
            self.attacker.call(root, OTHERS[other](root) if other else CASES[case].words(root))
        return read(root)

    def _expected(self, case: str, other: str, again: bool) -> list[dict[str, object]]:
        """What may be there after a fault, the other command and, with ``again``, the same command."""
        if not other:
            return [self._undisturbed(case, [""], contents)]
        orders = [["", other, ""], [other, ""]] if again else [["", other], [other]]
        if again and CASES[case].once:  # which says that it is done
            orders.append(["", other])
        return [self._undisturbed(case, order, contents if again else read_later) for order in orders]

    def _calls(self, case: str) -> Counter[str]:
        """How often the command makes each call."""
        root = self._copy(CASES[case].state)
        ended = self.attacker.call(root, CASES[case].words(root), count=True)
        assert ended.status == 0, (case, ended.said)
        return ended.calls

    def attempt(self, tried: Try) -> Outcome:
        began, case = time.monotonic(), CASES[tried.case]
        root = self._copy(case.state)
        words = case.words(root)
        first = self.attacker.call(root, words, tried.fault)
        happened = first.killed if not tried.fault.error else bool(first.calls[tried.fault.call])
        if tried.fault.call == FILES:
            happened = first.status != 0
        # Where no more can be written, nothing can be said.
        dumb = tried.fault.call == "write" and tried.fault.on and first.status and "Traceback" not in first.said
        wrong = [] if first.killed or first.clear or dumb else [f"not clear: {_last(first)}"]
        if tried.other:
            wrong += self._after(tried, root, OTHERS[tried.other](root), again=False)
        wrong += self._after(tried, root, words, again=True)
        return Outcome(tried, happened, "; ".join(wrong), time.monotonic() - began)

    def _after(self, tried: Try, root: Path, words: Sequence[object], again: bool) -> Iterator[str]:
        ended = self.attacker.call(root, words)
        if not ended.clear:
            yield f"{'the same' if again else tried.other}: not clear: {_last(ended)}"
        if again or CASES[tried.case].whole:
            found = (contents if again else read_later)(root)
            lacking = [differences(found, one) for one in self.expected(tried.case, tried.other, again)]
            if (between := _BETWEEN.get(tried.other)) and not CASES[tried.case].whole:
                lacking = [[name for name in names if not between.search(name)] for names in lacking]
            if all(lacking):
                shortest = min(lacking, key=len)
                yield f"after {'the same' if again else tried.other} ({ended.status}): {shortest[:6]} {_last(ended)}"

    def drawn(self, number: int, seed: int, cases: Sequence[str] = tuple(CASES), errors: bool = False) -> list[Try]:
        """So many tries, the same for the same seed: cases in turn, of each its calls and what follows in turn.

        With ``errors``, calls fail instead of killing.
        """
        draw = random.Random(seed)
        queues = {case: self._queue(case, draw, errors) for case in cases}
        tries: list[Try] = []
        for turn in range(number):
            for case, queue in queues.items():
                if queue and len(tries) < number and turn % CASES[case].dear == 0:
                    tries.append(queue.pop(0))
        return tries

    def _queue(self, case: str, draw: random.Random, errors: bool) -> list[Try]:
        made, follow = self.calls(case), ("", *CASES[case].others)
        faults = [Fault(call, n) for call in (FAILING if errors else CALLS) for n in range(1, made[call] + 1)]
        if errors:
            faults = [replace(f, error=e, on=on) for f in faults for e in FAILING[f.call] for on in (False, True)]
        # Calls that are made often are not drawn so much more often than others.
        keys = {fault: draw.random() ** made[fault.call] ** 0.5 for fault in faults}
        faults.sort(key=lambda fault: -keys[fault])
        return [Try(case, fault, follow[i % len(follow)]) for i, fault in enumerate(faults)]


def read_later(root: Path) -> dict[str, object]:
    """What a later step reads, of cases that are in the pool."""
    return left(folders_below(root))


def _last(ended: Ended) -> str:
    lines = [line for line in ended.said.splitlines() if line.strip()]
    return f"[{ended.status}] " + (lines[-1][:300] if lines else "")

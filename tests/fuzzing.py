"""Damages files at random and reads them in forked processes, which may hang, die or run out of memory."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import resource
import select
import signal
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.refusals import Unforeseen

PATIENCE = 60.0
"""Seconds after which a reader hangs."""
MEMORY = 6 << 30
"""Bytes that a reader may ask for beyond what is there."""
READ, REFUSED, UNFORESEEN = "read", "refused", "unforeseen"
VALUES: list[Any] = [
    None,
    True,
    False,
    -1,
    0,
    1,
    2**70,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x" * 5000,
    "../../x",
    "/x",
    "\0",
]
VALUES += ["ü", "1", [], {}, [1, 2], [None], [[]], {"a": 1}, 10**400, -0.0, 1.5, "\ud800", [0, 0, 0], [1, 1, 1], ["a", "b"]]
DEEP = b"[" * 200_000
WHOLE = [b"", b" ", b"null", b"[]", b"{}", b"1", b'"x"', b"NaN", b"true", DEEP, DEEP + b"]" * 200_000, b'{"a": "\xff\xfe"}']
WHOLE += [b"[" * 3000 + b"]" * 3000, b"\xef\xbb\xbf{}", b"9" * 5000, b"\0" * 64, b'{"a": 1, "a": 2}']
"""Whole contents of JSON files."""
PIECES = [
    b"9" * 20,
    b"\0",
    b"-",
    b"\n",
    b"nan",
    b"1e999",
    b"%n%s",
    b"\xff\xfe",
    b"\xf6",
    b",",
    b'"',
    b"=",
    b"[",
    b"{",
    b"\r",
    b"\x1a",
]


@dataclass(frozen=True)
class Target:
    """A reader and a file that it reads: ``content`` under the name ``file``, among others ``beside`` it."""

    name: str
    file: str
    content: bytes
    read: Callable[[Path], object]
    beside: Mapping[str, bytes] = field(default_factory=dict)

    def damaged(self, rng: random.Random) -> bytes:
        """The content with one to several changes; the kind follows from the name of the file."""
        name = self.file.lower()
        if name.endswith((".json", ".pyjson")):
            return damaged_json(self.content, rng)
        if name.endswith(".gz"):
            return damaged_gz(self.content, rng)
        if name.endswith((".npz", ".zip")) and rng.random() < 0.7:
            return damaged_zip(self.content, rng)
        return damaged_bytes(self.content, rng)


@dataclass(frozen=True)
class Try:
    """What became of one file: :data:`READ`, :data:`REFUSED`, :data:`UNFORESEEN`, or what went wrong; ``text`` says more."""

    target: Target
    content: bytes
    outcome: str
    text: str

    @property
    def failed(self) -> bool:
        return self.outcome not in (READ, REFUSED)

    def __str__(self) -> str:
        return f"{self.target.name}: {self.outcome}: {self.text}"


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, put in, taken out, cut off or zeroed, often near the beginning, where headers are."""
    data, kind = bytearray(content), rng.random()
    reach = min(len(data), rng.choice((len(data), 400, 2000))) or 1
    if kind < 0.45:
        for _ in range(rng.choice((1, 1, 2, 5))):
            if data:
                data[rng.randrange(reach) % len(data)] = rng.choice((0, 255, 127, 128, rng.randrange(256)))
    elif kind < 0.6:
        del data[rng.randrange(len(data) + 1) :]
    elif kind < 0.8:
        at = rng.randrange(reach)
        data[at:at] = rng.choice(PIECES)
    elif kind < 0.95:
        at = rng.randrange(reach)
        del data[at : at + rng.randrange(1, 20)]
    else:
        at = rng.randrange(len(data) + 1)
        data[at:] = bytes(len(data) - at)
    return bytes(data)


def damaged_gz(content: bytes, rng: random.Random) -> bytes:
    """What is packed is damaged in most cases; the packing in the others."""
    if rng.random() < 0.65:
        return gzip.compress(damaged_bytes(gzip.decompress(content), rng), 1)
    return damaged_bytes(content, rng)


def damaged_zip(content: bytes, rng: random.Random) -> bytes:
    """One of the packed files is damaged, left out or doubled."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            data = old.read(name)
            if name == chosen:
                kind = rng.random()
                if kind < 0.15:
                    continue
                data = damaged_json(data, rng) if data[:1] == b"{" else damaged_bytes(data, rng)
            new.writestr(name, data)
    return made.getvalue()


def damaged_json(content: bytes, rng: random.Random) -> bytes:
    """Values of other types, keys left out, other contents altogether, and damaged bytes."""
    kind = rng.random()
    if kind < 0.15:
        return rng.choice(WHOLE)
    if kind < 0.3:
        return damaged_bytes(content, rng)
    made = json.loads(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(made))
        if not places:
            break
        *way, last = rng.choice(places)
        inner = made
        for step in way:
            inner = inner[step]
        if rng.random() < 0.25:
            del inner[last]
        else:
            inner[last] = deepcopy(rng.choice(VALUES))
    return json.dumps(made).encode()


def _places(content: Any, way: tuple = ()) -> Iterable[tuple]:
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(inner):
        yield (*way, key)
        yield from _places(value, (*way, key))


def tried(items: Sequence[tuple[Target, bytes]], folder: Path, at_once: int = 40, patience: float = PATIENCE) -> list[Try]:
    """Let each target read its damaged file, ``at_once`` of them in one forked process."""
    done: list[Try] = []
    while len(done) < len(items):
        done += _batch(items[len(done) : len(done) + at_once], folder, patience)
    return done


def _batch(items: Sequence[tuple[Target, bytes]], folder: Path, patience: float) -> list[Try]:
    """Those up to the first that hangs or ends its process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _in_child(items, folder, writing)
    os.close(writing)
    found: list[Try] = []
    waiting, hung = b"", False
    while True:
        ready, _, _ = select.select([reading], [], [], patience)
        more = os.read(reading, 1 << 16) if ready else b""
        hung = not ready
        if not more:
            break
        *lines, waiting = (waiting + more).split(b"\n")
        for line in lines:
            outcome, text = json.loads(line)
            found.append(Try(*items[len(found)], outcome, text))
    os.close(reading)
    if hung:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if len(found) < len(items):
        found.append(Try(*items[len(found)], "hung" if hung else f"died {os.waitstatus_to_exitcode(status)}", ""))
    return found


def _in_child(items: Sequence[tuple[Target, bytes]], folder: Path, writing: int) -> None:
    """Never returns. ITK and others write to the terminal what they think of damaged files."""
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        with open("/proc/self/statm") as file:
            there = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (there + MEMORY, there + MEMORY))
        for number, (target, content) in enumerate(items):
            place = folder / f"{os.getpid()}_{number}"
            place.mkdir(parents=True)
            result = outcome_of(target, content, place)
            os.write(writing, json.dumps(result).encode() + b"\n")
    except BaseException:
        os.write(writing, json.dumps(["no result", traceback.format_exc()]).encode() + b"\n")
    finally:
        os._exit(0)


def outcome_of(target: Target, content: bytes, folder: Path) -> tuple[str, str]:
    """Let a target read ``content`` in this process, in an empty folder."""
    file = folder / target.file
    for name, data in ((target.file, content), *target.beside.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    before = contents(folder)
    try:
        target.read(file)
        outcome, text = READ, ""
    except Unforeseen as error:
        outcome, text = UNFORESEEN, str(error)
    except NnActiveError as error:
        outcome, text = REFUSED, str(error)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "nnactive_ext" in frame.filename] or frames
        outcome = f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno}"
        text = str(error)[:300]
    after = contents(folder)
    if after != before:
        changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        return "changed", f"{outcome} {text}: {changed}"
    return outcome, text[:500]


def contents(folder: Path) -> dict[str, str]:
    """All files below a folder and their checksums."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def table(tries: Iterable[Try]) -> str:
    """The numbers of each target, as a table."""
    rows: dict[str, Counter[str]] = {}
    for one in tries:
        kind = one.outcome if one.outcome in (READ, REFUSED, UNFORESEEN) else "failed"
        rows.setdefault(one.target.name, Counter())[kind] += 1
    lines = ["| reader | tries | read | refused | unforeseen | failed |", "|---|---|---|---|---|---|"]
    for name, found in [*rows.items(), ("all", sum(rows.values(), Counter()))]:
        numbers = [found.total(), *(found[kind] for kind in (READ, REFUSED, UNFORESEEN, "failed"))]
        lines.append(f"| {name} | {' | '.join(map(str, numbers))} |")
    return "\n".join(lines)

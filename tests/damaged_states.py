"""Commands on experiments of which one file was damaged or is missing: what they say, and whether they touch anything."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from forked import PROCESSES
from fuzzing import Target

from nnactive_ext.experiment.inputs import INPUTS

WORDS = "-device cpu --disable_progress_bar"
SIMULATION = {
    "status": "status -d 101",
    "run": f"run -d 101 {WORDS}",
    "query": f"query -d 101 {WORDS}",
    "report": f"report -d 101 -o {{out}}/r.html {WORDS}",
    "drop": "change -d 101 -drop tiny_1 -who a",
}
ROLLOUT = {
    "status": "status -d 601",
    "import": "annotate import -d 601 {root}/out -who eve --accept_unchanged --disable_progress_bar",
    "export": "annotate export -d 601 -o {out}/tasks --blank --disable_progress_bar",
    "points": "annotate points -d 601 {root}/points.csv -who eve",
    "close": "annotate close -d 601 -share 0.5 --disable_progress_bar",
}
FINE, REFUSED, SAID, OTHERWISE = "fine", "refused", "said", "otherwise"
"""What a command did: as with the file undamaged, an error in words, its work with a word about the file, or something else
without a word."""
PATIENCE = 300.0


@dataclass(frozen=True)
class Damage:
    """Of ``file`` in nnU-Net's folders; ``content`` None: it is missing."""

    file: Path
    content: bytes | None
    name: str


@dataclass(frozen=True)
class Ended:
    """How a command ended; ``text`` is what it printed."""

    damage: Damage
    command: str
    outcome: str
    text: str

    @property
    def failed(self) -> bool:
        return self.outcome not in (FINE, REFUSED, SAID, OTHERWISE)

    def __str__(self) -> str:
        return f"{self.damage.file} ({self.damage.name}), {self.command}: {self.outcome}: {self.text[-300:]}"


class State:
    """A copy of an experiment below ``root``, in which one file at a time is damaged; ``template`` holds nnU-Net's folders."""

    def __init__(self, template: Path, root: Path, commands: dict[str, str], plans: Path):
        self._template, self.root, self.commands, self._plans = template, root, commands, plans
        self._whole: dict[str, tuple[int, str]] = {}
        self._renew()

    def _renew(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self._template, self.root, symlinks=True)
        self._out = self.root.with_name(f"{self.root.name}_out")
        shutil.rmtree(self._out, ignore_errors=True)
        self._out.mkdir()

    def files(self) -> list[Path]:
        """The files of the experiment that are read again, sorted, in each kind one or two."""
        kinds: dict[tuple[str, str], list[Path]] = {}
        for path in sorted(self.root.glob("nnUNet_*/Dataset*/**/*")):
            if path.is_file() and _counts(path):
                kinds.setdefault((path.parent.name, _kind(path)), []).append(path.relative_to(self.root))
        return [file for several in kinds.values() for file in several[:2]]

    def damages(self, rng: random.Random) -> Iterator[Damage]:
        """Without end: a random file, damaged at random, or missing."""
        files = self.files()
        while True:
            file = rng.choice(files)
            content = (self.root / file).read_bytes()
            if rng.random() < 0.1:
                yield Damage(file, None, "missing")
            elif file.suffix == ".jsonl":
                yield Damage(file, Target("", "x.bin", content, len).damaged(rng), "damaged")
            else:
                yield Damage(file, Target("", file.name, content, len).damaged(rng), "damaged")

    def end_of(self, damage: Damage, command: str) -> Ended:
        """Run a command with the damage, and undo both."""
        whole = self._undamaged(command)
        target = self.root / damage.file
        content, times = target.read_bytes(), target.stat()
        if damage.content is None:
            target.unlink()
        else:
            target.write_bytes(damage.content)
            os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
        before = listing(self.root)
        status, text = self._run(command)
        changed = sorted(name for name, stat in listing(self.root).items() if before.get(name) != stat)
        changed += sorted(before.keys() - listing(self.root).keys())
        frozen_anew = damage.content is None and [Path(name).name for name in changed] == [damage.file.name] == [INPUTS]
        if changed:
            self._renew()
        else:
            target.write_bytes(content)
            os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
        if "Traceback (most recent call last)" in text:
            outcome = "traceback"
        elif status is None:
            outcome = "hung"
        elif status == 0:
            outcome = FINE if (status, text) == whole else SAID if damage.file.name in text else OTHERWISE
        elif "ERROR: " not in text and status == 1:
            outcome = "no word"
        elif changed and not frozen_anew:  # without the file an experiment is one of an earlier version
            outcome = f"refused, but changed {', '.join(changed[:3])}"
        else:
            outcome = REFUSED
        return Ended(damage, command, outcome, text)

    def _undamaged(self, command: str) -> tuple[int | None, str]:
        if command not in self._whole:
            before = listing(self.root)
            self._whole[command] = self._run(command)  # type: ignore[assignment]
            if listing(self.root) != before:
                self._renew()
        return self._whole[command]

    def _run(self, command: str) -> tuple[int | None, str]:
        """The status, None where it hung, and what was printed."""
        folders = {f"nnUNet_{name}": str(self.root / f"nnUNet_{name}") for name in ("raw", "preprocessed", "results")}
        words = [word.format(root=self.root, out=self._out) for word in self.commands[command].split()]
        said = self._out.with_name(f"{self._out.name}.txt")
        process = PROCESSES.Process(target=called, args=(folders, str(self._plans), words, str(said)))
        process.start()
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
            return None, ""
        text = said.read_text(errors="replace")
        shutil.rmtree(self._out)
        self._out.mkdir()
        return process.exitcode, text


def called(folders: dict[str, str], plans: str, words: list[str], said: str) -> None:
    """In the process: a command with members that cost nothing; what it prints goes to the file ``said``."""
    os.environ.update(folders)
    with open(said, "w", buffering=1) as out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        handle = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(handle, stream)
        try:
            from killed_changes import command

            command(folders, plans, words)
        except SystemExit as error:
            out.flush()
            os._exit(error.code if isinstance(error.code, int) else 1)
        except BaseException:
            traceback.print_exc()
            out.flush()
            os._exit(1)
    os._exit(0)


def tries(states: Sequence[State], number: int, seed: int) -> list[Ended]:
    """So many damages of the states in turn, each met by one of the state's commands."""
    rng = random.Random(seed)
    streams = [(state, state.damages(rng)) for state in states]
    found = []
    for n in range(number):
        state, damages = streams[n % len(streams)]
        found.append(state.end_of(next(damages), rng.choice(list(state.commands))))
    return found


def _counts(path: Path) -> bool:
    return path.suffix not in (".lock", ".owner", ".log", ".html") and "Dataset100" not in str(path)


def _kind(path: Path) -> str:
    return path.name if path.suffix == ".json" and path.parent.name != "candidates" else "".join(path.suffixes)


def listing(root: Path) -> dict[str, tuple[int, int]]:
    """Of all files but locks: size and time."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.suffix not in (".lock", ".owner"):
            stat = path.stat()
            found[str(path.relative_to(root))] = (stat.st_size, stat.st_mtime_ns)
    return found

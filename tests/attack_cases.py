"""The commands that are attacked, each from a state of an experiment, and the commands that are typed after it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import scripted_expert as expert
from attack import Attacker, copied
from folders import folders_below, set_folders
from rollout_states import SMALL_OPTIONS, some_of

Words = list[object]
QUIET = "--disable_progress_bar"
ROLLOUT, SIMULATION = ("-d", "601"), ("-d", "101")
PLAN = f"-d 100 -o 101 -patch_size 5 5 3 -query_size 2 -starting_budget 4 -cycles 2 -folds 2 --preset cpu -np 1 {QUIET}".split()
POINTS = "case,class,i,j,k\ntiny_1,organ,7,13,12\ntiny_2,lesion,6,13,14\ntiny_3,organ,7,12,12\n"
BENCHMARK = """
name = "small"
first_number = 300
methods = ["random"]
seeds = [1]
cycles = 2
folds = 2
preset = "cpu"

[[datasets]]
dataset = 100
patch_sizes = ["3 6 6"]
regimes = { low = { starting_budget = 4, query_size = 2 } }
"""


@dataclass(frozen=True)
class Case:
    """``words`` of a command for a copy of ``state``; ``others``: what may be typed after it was killed. ``whole``: the next
    command finds all of it or nothing of it; ``dear``: it takes long, so it is tried once where others are so often; ``once``:
    typed again after a kill, it may say that it is done."""

    state: str
    words: Callable[[Path], Words]
    others: tuple[str, ...] = ("status",)
    whole: bool = False
    dear: int = 1
    once: bool = False


def seen(root: Path) -> list[expert.Seen]:
    """The exported tasks of a copy, as an expert's viewer shows them."""
    return expert.look(root / "out", lambda case: root.parent / "hospital" / "anatomy" / f"{case}.nii.gz")


def painted(root: Path) -> list[expert.Seen]:
    return [task for task in seen(root) if task.truth[task.box].any()]


def answered(tasks: Sequence[expert.Seen]) -> list[Path]:
    return [expert.in_place(task) for task in tasks]


def otherwise(task: expert.Seen, value: int = 2) -> Path:
    """Another answer to a task."""
    labels = task.answer()
    z, y, x = task.box
    labels[z.start, y, x] = value
    return task.write(labels)


def annotate(command: str, *words: object) -> Words:
    quiet = () if command == "serve" else (QUIET,)
    return ["annotate", command, *ROLLOUT, *words, *quiet]


OTHERS: dict[str, Callable[[Path], Words]] = {
    "status": lambda root: ["status", *ROLLOUT],
    "run": lambda root: ["run", *ROLLOUT, "-device", "cpu", QUIET],
    "query": lambda root: ["query", *ROLLOUT, "-device", "cpu", QUIET],
    "export": lambda root: annotate("export", "-o", root / "again", "--blank"),
    "import": lambda root: annotate("import", *answered(painted(root)[1:2]), "-who", "bert"),
    "close": lambda root: annotate("close", "-share", "0.5"),
    "rule": lambda root: annotate("rule", "consensus", "-who", "boss"),
    "change": lambda root: ["change", *ROLLOUT, "-seed", "5", "-who", "boss", QUIET],
    "drop": lambda root: ["change", *ROLLOUT, "-drop", "tiny_4", "-who", "boss", QUIET],
    "withdraw": lambda root: annotate("withdraw", painted(root)[0].id, "-who", "anna"),
    "points": lambda root: annotate("points", root.parent / "points.csv", "-who", "anna"),
    "screen": lambda root: ["screen", *ROLLOUT, "-device", "cpu", QUIET],
    "report": lambda root: ["report", *ROLLOUT, "-device", "cpu", "-o", root / "other.html", QUIET],
    "simulated status": lambda root: ["status", *SIMULATION],
    "simulated run": lambda root: ["run", *SIMULATION, "-device", "cpu", QUIET],
    "simulated query": lambda root: ["query", *SIMULATION, "-device", "cpu", QUIET],
    "simulated change": lambda root: ["change", *SIMULATION, "-seed", "5", "-who", "boss", QUIET],
    "simulated report": lambda root: ["report", *SIMULATION, "-device", "cpu", "-o", root / "other.html", QUIET],
}
SIMULATED = tuple(name for name in OTHERS if name.startswith("simulated"))
CHANGE: Words = ["change", *ROLLOUT, "-who", "boss"]
CASES: dict[str, Case] = {
    "plan": Case("dataset", lambda root: ["plan", *PLAN], ("simulated status", "simulated run"), dear=3),
    "plan -i": Case(
        "images",
        lambda root: ["plan", "-i", root.parent / "hospital/images", "-o", 601, "-name", "Tiny", *SMALL_OPTIONS.split()],
        ("status", "export"),
    ),
    "run": Case("simulation", lambda root: ["run", *SIMULATION, "-device", "cpu", QUIET], SIMULATED[:2]),
    "query": Case("simulation trained", lambda root: ["query", *SIMULATION, "-device", "cpu", QUIET], SIMULATED),
    "query part": Case(
        "simulation trained",
        lambda root: ["query", *SIMULATION, "-num_parts", 2, "-part_id", 0, "-device", "cpu", QUIET],
        ("simulated query", "simulated status", "simulated run"),
    ),
    "report": Case(
        "simulation done",
        lambda root: ["report", *SIMULATION, "-device", "cpu", "-o", root / "report.html", QUIET],
        ("simulated status", "simulated report"),
    ),
    "compare": Case(
        "simulation done",
        lambda root: ["compare", "-d", 101, "-o", root / "comparison"],
        ("simulated status",),
    ),
    "screen": Case("closed", lambda root: ["screen", *ROLLOUT, "-device", "cpu", QUIET], ("status", "export")),
    "bench": Case(
        "dataset", lambda root: ["bench", root.parent / "small.toml", "-device", "cpu", QUIET], ("bench again",), dear=8
    ),
    "points": Case("planned", lambda root: OTHERS["points"](root), ("status", "export", "change"), whole=True),
    "export": Case("exported", lambda root: annotate("export", "-o", root / "new", "--blank"), ("status", "import", "export")),
    "import": Case(
        "exported",
        lambda root: annotate("import", *answered(painted(root)[:3]), "-who", "anna"),
        ("status", "import", "close", "export", "drop"),
    ),
    "hand_in": Case(
        "exported",
        lambda root: ["hand_in", 601, painted(root)[0].id, expert.in_place(painted(root)[0]), "anna"],
        ("status", "import", "export"),
    ),
    "close": Case("answered", lambda root: OTHERS["close"](root), ("status", "import", "run", "drop", "points"), dear=2),
    "late import": Case(
        "closed",
        lambda root: annotate("import", *answered(painted(root)[-2:]), "-who", "anna"),
        ("status", "run", "import", "drop"),
    ),
    "late answer": Case(
        "closed", lambda root: annotate("import", otherwise(painted(root)[0]), "-who", "anna"), ("status", "run", "withdraw")
    ),
    "withdraw": Case("twice", lambda root: OTHERS["withdraw"](root), ("status", "run", "import", "rule"), once=True),
    "rule": Case("twice", lambda root: annotate("rule", "consensus", "-who", "anna"), ("status", "run", "import")),
    "verdict": Case(
        "closed", lambda root: annotate("verdict", "tiny_3", "irrelevant", "-who", "anna"), ("status", "run", "change")
    ),
    "verdict of a task": Case(
        "closed", lambda root: annotate("verdict", painted(root)[0].id, "irrelevant", "-who", "anna"), ("status", "run")
    ),
    "change": Case("closed", lambda root: [*CHANGE, "-cycles", 4, "-expert", "carla", QUIET], ("status", "run"), whole=True),
    "change -drop": Case(
        "closed", lambda root: [*CHANGE, "-drop", "tiny_3", QUIET], ("status", "run", "query", "import"), whole=True
    ),
    "change -add": Case(
        "closed",
        lambda root: [*CHANGE, "-add", root.parent / "more", "-label_maps", root.parent / "maps", QUIET],
        ("status", "run", "import"),
        whole=True,
    ),
    "change -labels": Case(
        "closed",
        lambda root: [*CHANGE, "-labels", "split", "organ", "into", "cortex", "medulla", QUIET],
        ("status", "run", "import"),
        whole=True,
    ),
}
OTHERS["bench again"] = CASES["bench"].words


def make_states(base: Path, tiny: Path, attacker: Attacker) -> None:
    """Each state as a folder below ``base`` that holds nnU-Net's three folders; images and the like lie beside them."""
    small = some_of(tiny, base, (0, 5, 6, 7))
    images, maps, more = base / "hospital" / "images", base / "maps", base / "more"
    for folder in (images, maps, more):
        folder.mkdir(parents=True)
    for channel, name in enumerate(("T1", "T2")):
        for file in sorted((small / "imagesTr").glob(f"*_{channel:04d}.nii.gz")):
            shutil.copy(file, images / file.name.replace(f"_{channel:04d}", f"_{name}"))
        for number in (6, 7):
            shutil.copy(tiny / "imagesTr" / f"tiny_{number}_{channel:04d}.nii.gz", more / f"new_{number}_{name}.nii.gz")
    shutil.copytree(small / "labelsTr", base / "hospital" / "anatomy")
    shutil.copy(tiny / "labelsTr" / "tiny_7.nii.gz", maps / "new_7.nii.gz")
    (base / "points.csv").write_text(POINTS)
    (base / "small.toml").write_text(BENCHMARK)

    def done(root: Path, *words: Words) -> Path:
        for one in words:
            ended = attacker.call(root, one)
            assert ended.status == 0, (one, ended.said)
        return root

    with pytest.MonkeyPatch.context() as patch:
        for name in ("dataset", "images"):
            (base / name).mkdir()
            set_folders(patch, base / name)
    # Two cases of six are the test set.
    shutil.copytree(some_of(tiny, base / "six", (6, 7)), folders_below(base / "dataset").raw / "Dataset100_Tiny")
    simulation = done(copied(base / "dataset", base / "simulation"), ["plan", *PLAN])
    done(
        copied(simulation, base / "simulation trained"),
        *([["run", *SIMULATION, "-step", f"train_{n}", "-device", "cpu"] for n in (0, 1)]),
    )
    done(copied(simulation, base / "simulation done"), OTHERS["simulated run"](base))
    planned = done(copied(base / "images", base / "planned"), CASES["plan -i"].words(base / "planned"))
    pointed = done(copied(planned, base / "pointed"), CASES["points"].words(base / "pointed"))
    exported = done(copied(pointed, base / "exported"), annotate("export", "-o", base / "exported" / "out", "--blank"))
    root = copied(exported, base / "answered")
    done(root, annotate("import", *answered(seen(root)[:-1]), "--accept_unchanged", "-who", "anna"))
    root = done(copied(root, base / "closed"), annotate("close", "-share", "0.5"))
    root = copied(root, base / "twice")
    first = painted(root)[0]
    done(root, annotate("import", otherwise(first), "-who", "anna"), annotate("import", otherwise(first, 1), "-who", "bert"))
    done(root, annotate("import", otherwise(first, 0), "-who", "anna"))

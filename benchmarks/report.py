"""A run's numbers as Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.contenders import CONTENDERS, RIVALS
from benchmarks.design import BETA
from benchmarks.goals import Row, Rows, find, per_stratum

BEGIN, END = "<!-- benchmarks.engine: begin -->", "<!-- benchmarks.engine: end -->"


def markdown(answer: dict[str, Any]) -> str:
    """The whole run: where it was made, goals, and a table for each question."""
    rows = answer["rows"]
    parts = [_where(answer), _goals(answer["goals"]), _rivals(rows), _stages(rows), _betas(rows), _memory(rows)]
    return "\n\n".join([*parts, _rest(answer)]) + "\n"


def check_markers(page: Path, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """ValueError unless the page has both markers, in order."""
    text = page.read_text(encoding="utf-8")
    if not 0 <= text.find(marks[0]) < text.find(marks[1]):
        raise ValueError(f"{page} needs the lines {marks[0]!r} and {marks[1]!r}, in this order; the tables go between them")


def insert(page: Path, text: str, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """Put ``text`` between the page's markers."""
    check_markers(page, marks)
    (begin, end), whole = marks, page.read_text(encoding="utf-8")
    before, rest = whole.split(begin, 1)
    page.write_text(f"{before}{begin}\n\n{text}\n{end}{rest.split(end, 1)[1]}", encoding="utf-8")


def publish(given: Any, found: dict[str, Any], text: str, marks: tuple[str, str]) -> None:
    """Print ``text``; put it into the page ``given.markdown``, and ``found`` into the file ``given.json``, if there are any."""
    print(text)
    if given.markdown:
        insert(given.markdown, text + "\n", marks)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _where(answer: dict[str, Any]) -> str:
    machine = answer["machine"]
    memory = f", {machine['memory_bytes'] / 1e9:.0f} GB of memory" if machine["memory_bytes"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in answer["versions"].items())
    settings = answer["settings"]
    return (
        f"`{answer['command']}`, {answer['date'][:10]}, commit {answer['commit'] or 'unknown'}. "
        f"{machine['cores']} cores of {machine['cpu']}{memory}; {machine['os']}; {versions}. "
        f"Times are the best of {settings['repeats']} runs after a warm-up, of fewer once {settings['seconds']:g} s were spent."
    )


def _goals(goals: Sequence[dict[str, Any]]) -> str:
    lines = [
        (goal["goal"], goal["bound"], _number(goal["value"]), {True: "yes", False: "**no**", None: "–"}[goal["met"]])
        for goal in goals
    ]
    return "### Goals\n\n" + as_table(("goal", "bound", "measured", "met"), lines)


def _rivals(rows: Rows) -> str:
    """Every point of the design: our time, and each rival's with how many times it is ours."""
    rivals = [rival for rival in RIVALS if any(row["contender"] == rival for row in rows)]
    lines = []
    for ours in find(rows, "ours", beta=BETA):
        others = [_other(rows, rival, ours) for rival in rivals]
        found = " to ".join(str(n) for n in sorted({min(ours["found"]), max(ours["found"])}))
        point = (_shape(ours), *(str(ours[name]) for name in ("classes", "patch", "picks")), found)
        lines.append((*point, _time(ours["seconds"]), *others))
    head = ("image", "classes", "patch", "picks", "found", CONTENDERS["ours"].label, *(CONTENDERS[r].label for r in rivals))
    return (
        "### Candidates of one image\n\nIn brackets: how many times our time. *found*: picks found in each stratum; fewer "
        "than asked for when no free window is left. –: not run, because it would take too long or too much memory "
        "(`--limit`).\n\n" + as_table(head, lines)
    )


def _other(rows: Rows, rival: str, ours: Row) -> str:
    row = _same(rows, rival, ours)
    return f"{_time(row['seconds'])} ({_number(row['seconds'] / ours['seconds'])}x)" if row else "–"


def _same(rows: Rows, contender: str, point: Row) -> Row | None:
    """The contender's row at the same point."""
    same = {name: point[name] for name in ("shape", "classes", "patch", "picks", "beta")}
    return next(iter(find(rows, contender, **same)), None)


def _stages(rows: Rows) -> str:
    lines = []
    for row in find(rows, "stages"):
        copies = [f"{row[name] / row['copy']:.1f}" for name in ("mean", "weighted_mean", "select")]
        ours = _same(rows, "ours", row)
        whole = f"{per_stratum(ours) / row['copy']:.1f}" if ours else "–"
        lines.append((_shape(row), str(row["patch"]), _time(row["copy"]), *copies, whole))
    head = ("image", "patch", "one copy", "mean", "mean of p_c H", "noise and selection", "a stratum of ClaSP PE")
    return (
        "### In copies of the map\n\nThe unit is the time of one copy of the float32 map into memory that is already there "
        "(`numpy.copyto`, one thread), measured in the same process.\n\n" + as_table(head, lines)
    )


def _betas(rows: Rows) -> str:
    """Our time at each base point for every beta."""
    betas: list[Any] = []
    for row in find(rows, "ours"):
        if row["beta"] not in betas:
            betas.append(row["beta"])
    lines = []
    for base in find(rows, "method"):
        same = {name: base[name] for name in ("shape", "classes", "patch", "picks")}
        times = [next((_time(r["seconds"]) for r in find(rows, "ours", beta=beta, **same)), "–") for beta in betas]
        lines.append((_shape(base), *times))
    head = ("image", *("no noise" if beta is None else f"beta {beta:g}" for beta in betas))
    return "### Ours for every strength of the noise\n\nAt the base points.\n\n" + as_table(head, lines)


def _memory(rows: Rows) -> str:
    contenders = [name for name in CONTENDERS if any(row["contender"] == name for row in rows)]
    lines = []
    for base in [*find(rows, "method"), *_alone(rows)]:
        peaks = [(_same(rows, name, base) or {}).get("peak_bytes") for name in contenders]
        lines.append((_shape(base), str(base["classes"]), str(base["picks"]), *(_memory_cell(peak, base) for peak in peaks)))
    head = ("image", "classes", "picks", *(CONTENDERS[name].label for name in contenders))
    return "### Peak memory beyond the inputs\n\nIn brackets: in float32 copies of the image.\n\n" + as_table(head, lines)


def _alone(rows: Rows) -> list[Row]:
    """Points at which only we were measured."""
    return [r for r in find(rows, "ours", beta=BETA) if not any(_at(r) == _at(o) for o in rows if o["contender"] != "ours")]


def _at(row: Row) -> tuple:
    return row["shape"], row["classes"], row["patch"], row["picks"]


def _memory_cell(peak: int | None, row: Row) -> str:
    if peak is None:
        return "–"
    z, y, x = row["shape"]
    return f"{_number(peak / 1e6)} MB ({peak / (4 * z * y * x):.1f})"


def _rest(answer: dict[str, Any]) -> str:
    """One thread, the whole method, the first call."""
    rows, lines = answer["rows"], []
    for base in find(rows, "method"):
        ours = _same(rows, "ours", base)
        same = {name: base[name] for name in ("shape", "classes", "patch", "picks", "beta")}
        single = find(rows, "ours", threads=1, **same)
        times = [_time(row["seconds"]) if row else "–" for row in (ours, single[0] if single else None, base)]
        lines.append((_shape(base), *times))
    head = ("image", "ours, all threads", "ours, one thread", "the method from the probabilities (`clasp_pe`), all threads")
    text = "### One thread, and the whole method\n\nAt the base points.\n\n" + as_table(head, lines)
    if "first_call" in answer:
        new, cached = (answer["first_call"][name] for name in ("nothing_compiled", "compiled"))
        text += (
            f"\n\nThe first call of a new installation, which compiles the engine, takes {_time(new)}, imports included; that "
            f"of every later process {_time(cached)}."
        )
    return text


def as_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _shape(row: Row) -> str:
    z, y, x = row["shape"]
    return f"{z}-cube" if z == y == x else f"{z}x{y}x{x}"


def _time(seconds: float) -> str:
    """Three digits, in ms or s."""
    return f"{_number(1000 * seconds)} ms" if seconds < 1 else f"{_number(seconds)} s"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"

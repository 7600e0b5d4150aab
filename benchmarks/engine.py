"""Times the query engine against other ways to the same candidates: ``python -m benchmarks.engine --help``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import alone, goals, inputs, machine, report
from benchmarks.alone import Job
from benchmarks.contenders import CONTENDERS, RIVALS
from benchmarks.design import FULL, QUICK, Design, Point
from nnactive_ext.geometry.patch import Triple, triple


def benchmark(
    design: Design,
    rivals: Sequence[str] = RIVALS,
    *,
    limit: float = 1.0,
    repeats: int = 5,
    seconds: float = 3.0,
    folder: str | None = None,
    apart: bool = True,
) -> dict[str, Any]:
    """All that a run measures, as it goes into the JSON file.

    ``limit`` multiplies the limits of the rivals; ``repeats`` and ``seconds`` bound each measurement; inputs are written
    below ``folder`` (None: the system's temporary one); ``apart``: each contender in a process of its own.
    """
    rows: list[dict[str, Any]] = []
    settings = {"limit": limit, "repeats": repeats, "seconds": seconds, "seed": alone.SEED}
    answer = {"benchmark": "engine", **machine.description(), "settings": settings, "rows": rows}
    if apart:
        _say("first call")
        answer["first_call"] = _first_calls()
    for shape, classes in design.inputs():
        if _too_large(shape, classes):
            _say(f"skipped: {shape} with {classes} channels does not fit into memory")
            continue
        with tempfile.TemporaryDirectory(dir=folder, prefix="benchmark-") as temporary:
            _say(f"{'x'.join(map(str, shape))}, {classes} classes: making the inputs")
            inputs.make(shape, classes, alone.SEED, Path(temporary))
            for contender, points in _plan(design, shape, classes, rivals):
                common = {"contender": contender, "threads": machine.cores()}
                rows += [{**common, **p.row(), "skipped": True} for p in points if not _allowed(contender, p, design, limit)]
                points = [p for p in points if _allowed(contender, p, design, limit)]
                if points:
                    _say(f"  {contender}: {len(points)} measurement(s)")
                    job = Job(temporary, contender, tuple(points), repeats, seconds)
                    measured = alone.apart(job) if apart else alone.run(job)
                    rows += [{**common, **p.row(), **row} for p, row in zip(points, measured, strict=True)]
            base = design.base(shape) if shape in design.shapes else None
            if apart and base and base.classes == classes:
                _say("  ours on one thread")
                (row,) = alone.apart(Job(temporary, "ours", (base,), repeats, seconds), OMP_NUM_THREADS="1")
                rows.append({"contender": "ours", "threads": 1, **base.row(), **row})
    answer["goals"] = goals.goals(rows)
    return answer


def _plan(design: Design, shape: Triple, classes: int, rivals: Sequence[str]) -> Iterator[tuple[str, list[Point]]]:
    """Who is measured where, among the points with these inputs."""
    points, stages, betas, base = [], [], [], []
    if shape in design.shapes:
        points, stages, betas = design.points_of(shape), design.patches_of(shape), design.betas_of(shape)
        base = points[:1]
    plan = {"ours": [*points, *betas, *design.extra], "stages": stages, "method": base}
    for contender, chosen in {**plan, **{rival: points for rival in rivals}}.items():
        chosen = [point for point in chosen if (point.shape, point.classes) == (shape, classes)]
        if chosen:
            yield contender, chosen


def _allowed(contender: str, point: Point, design: Design, limit: float) -> bool:
    """Whether the work is below the contender's limit; away from the base point, below a tenth of it."""
    if contender not in RIVALS:
        return True
    rival = CONTENDERS[contender]
    share = 1.0 if point == design.base(point.shape) else 0.1
    return rival.work(point.shape, point.size, point.classes) <= rival.limit * limit * share


def _first_calls() -> dict[str, float]:
    """Seconds of the first call of a fresh process, before and after the compiled code is on the disk."""
    with tempfile.TemporaryDirectory(prefix="benchmark-cache-") as cache:
        return {name: alone.first_call(NUMBA_CACHE_DIR=cache) for name in ("nothing_compiled", "compiled")}


def _too_large(shape: Triple, classes: int) -> bool:
    """Whether the inputs and ten maps, which the rivals need, are more than the machine's memory."""
    memory = machine.memory_bytes()
    return memory is not None and 4.0 * (classes + 10) * shape[0] * shape[1] * shape[2] > memory


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _shape(text: str) -> Triple:
    """``256`` is a cube, ``48x56x48`` are the extents along (z, y, x)."""
    numbers = text.split("x")
    return triple(numbers * 3 if len(numbers) == 1 else numbers)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    p.add_argument("--quick", action="store_true", help="small images only: a minute, a check that all runs")
    p.add_argument("--shapes", nargs="+", type=_shape, metavar="S", help="images: 256 is a cube, or 48x56x48")
    p.add_argument("--classes", nargs="+", type=int, metavar="C", help="channels, background included; base point first")
    p.add_argument("--patches", nargs="+", type=int, metavar="P", help="widths of the patches; base point first")
    p.add_argument("--picks", nargs="+", type=int, metavar="K", help="picks for each stratum; base point first")
    p.add_argument("--rivals", nargs="*", choices=RIVALS, default=RIVALS, metavar="R", help=f"of {', '.join(RIVALS)}")
    p.add_argument("--limit", type=float, default=1.0, help="multiplies the size up to which slow rivals are run")
    p.add_argument("--repeats", type=int, default=5, help="the best of so many runs counts (default: %(default)s)")
    p.add_argument("--seconds", type=float, default=3.0, help="no more runs after so many seconds (default: %(default)s)")
    p.add_argument("--folder", help="where inputs are written (up to 9 GB, removed at the end; default: temporary folder)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write all numbers")
    p.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    return p


def main(args: Sequence[str] | None = None) -> None:
    options = parser().parse_args(args)
    design = QUICK if options.quick else FULL
    chosen = {name: tuple(getattr(options, name) or ()) for name in ("shapes", "classes", "patches", "picks")}
    chosen = {name: values for name, values in chosen.items() if values}
    if chosen:
        design = replace(design, **chosen, extra=())
    if options.markdown:
        report.check_markers(options.markdown)  # before the work, not after
    answer = benchmark(
        design,
        options.rivals,
        limit=options.limit,
        repeats=options.repeats,
        seconds=options.seconds,
        folder=options.folder,
    )
    text = report.markdown(answer)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(answer, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        report.insert(options.markdown, text)


if __name__ == "__main__":
    main()

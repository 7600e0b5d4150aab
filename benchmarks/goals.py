"""What the engine has to reach, and whether it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.design import FULL, MEMORY_POINT, Point

Row = dict[str, Any]
Rows = Sequence[Row]


def find(rows: Rows, contender: str, **fields: Any) -> list[Row]:
    """The measured rows of a contender whose fields are equal to these; those on all threads unless said otherwise."""
    threads = max((row["threads"] for row in rows), default=1)
    wanted = {"contender": contender, "threads": threads, **fields}
    return [row for row in rows if "skipped" not in row and all(row[name] == value for name, value in wanted.items())]


def per_stratum(ours: Row) -> float:
    """Seconds for each stratum: the unstratified one and the foreground classes, as many as there are channels."""
    return ours["seconds"] / ours["classes"]


def goals(rows: Rows) -> list[dict[str, Any]]:
    """For each goal: what, the bound in words, the value (None: not measured in this run), whether it is met."""
    checked = [
        ("128-cube: times faster than (a)", ">=", 600.0, _times_faster(rows, 128, "published")),
        ("256-cube: times faster, at stride 1, than (c) at stride 8", ">=", 8.0, _times_faster(rows, 256, "pool")),
    ]
    for n in (256, 512):
        checked += [
            (f"{n}-cube: copies of the map per stratum", "<=", 30.0, _copies(rows, n)),
            (f"{n}-cube: the mean's slowest patch size over its fastest", "<=", 1.5, _spread_of_means(rows, n)),
        ]
    checked.append(("512-cube, 3 strata, 100 picks: GB beyond the inputs", "<", 3.0, _gigabytes(rows)))
    return [
        {
            "goal": goal,
            "bound": f"{sign} {bound:g}",
            "value": value,
            "met": None if value is None else _holds(value, sign, bound),
        }
        for goal, sign, bound, value in checked
    ]


def _holds(value: float, sign: str, bound: float) -> bool:
    return {">=": value >= bound, "<=": value <= bound, "<": value < bound}[sign]


def _at(rows: Rows, contender: str, point: Point) -> Row | None:
    return next(iter(find(rows, contender, **point.row())), None)


def _times_faster(rows: Rows, n: int, rival: str) -> float | None:
    ours, other = (_at(rows, name, FULL.base((n,) * 3)) for name in ("ours", rival))
    return other["seconds"] / ours["seconds"] if ours and other else None


def _copies(rows: Rows, n: int) -> float | None:
    ours, stages = (_at(rows, name, FULL.base((n,) * 3)) for name in ("ours", "stages"))
    return per_stratum(ours) / stages["copy"] if ours and stages else None


def _spread_of_means(rows: Rows, n: int) -> float | None:
    stages = [_at(rows, "stages", point) for point in FULL.patches_of((n,) * 3)]
    means = [row["mean"] for row in stages if row]
    return max(means) / min(means) if len(means) == len(stages) else None


def _gigabytes(rows: Rows) -> float | None:
    ours = _at(rows, "ours", MEMORY_POINT)
    return ours["peak_bytes"] / 1e9 if ours and ours["peak_bytes"] is not None else None

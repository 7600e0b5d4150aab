"""Where an experiment stands and what to do next, for people."""

from __future__ import annotations

from typing import Any

from nnactive_ext.exchange.tallies import KINDS
from nnactive_ext.loop.tables import table


def status_text(found: dict[str, Any]) -> str:
    """What :func:`nnactive_ext.loop.status.status` found, for people."""
    where = f"cycle {found['cycle']} of {found['cycles'] - 1}" if found["cycle"] >= 0 else "nothing is trained yet"
    lines = [f"{found['experiment']} ({found['annotator']} annotator): {where}", ""]
    lines.append(f"Pool: {found['pool']} cases" + (f", {len(found['dropped'])} dropped" if found["dropped"] else ""))
    if found["annotated_voxels"]:
        total = sum(found["annotated_voxels"].values())
        shares = ", ".join(f"{name} {n:,}" for name, n in found["annotated_voxels"].items())
        lines.append(f"Labels in place: {total:,} voxels in {found['annotated_cases']} cases ({shares})")
    if found["folds"]:
        lines.append(f"Members trained on them: {len(found['trained_folds'])} of {len(found['folds'])}")
    if found.get("tasks"):
        lines += ["", _table(found)]
        for tasks in found["tasks"]:
            for row in tasks["tasks"]:
                if "agreement" in row:
                    who = ", ".join(answer["who"] for answer in row["answers"])
                    dice = ", ".join(f"{n} {'-' if d is None else format(d, '.2f')}" for n, d in row["agreement"].items())
                    lines.append(f"{row['task']}: {who} agree with Dice {dice}; what counts: {row['rule']}")
    if "marked" in found:
        rows = [["points marked", "boxes", "of"]] + [[n, str(m["boxes"]), str(m["of"])] for n, m in found["marked"].items()]
        lines += ["", table(rows, numbers=True)]
    scores = [dice for dice in found["mean_dice"] if dice is not None]
    if scores:
        lines += ["", "Mean Dice per cycle: " + ", ".join(f"{100 * dice:.1f}" for dice in scores)]
    return "\n".join([*lines, "", found["next"]])


def _table(found: dict[str, Any]) -> str:
    """Tasks and voxels answered, per cycle and then per class over all cycles."""
    rows = [["tasks", *reversed(KINDS), "voxels"]]
    cycles = [(f"of cycle {t['cycle']}", t, sum(c["voxels"] for c in t["classes"].values())) for t in found["tasks"]]
    classes = [(name, counts, counts["voxels"]) for name, counts in found["classes"].items()]
    for name, counts, voxels in [*cycles, *classes]:
        asked = any(counts[kind] for kind in KINDS)
        numbers = [str(counts[kind]) if asked else "-" for kind in reversed(KINDS)]
        rows.append([name, *numbers, f"{voxels:,}" if voxels else "-"])
    return table(rows, numbers=True)

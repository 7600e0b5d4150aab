"""Where an experiment stands and what to do next, for people and for programs."""

from __future__ import annotations

from typing import Any

from nnactive_ext.annotation.answers import Book, agreement
from nnactive_ext.annotation.export import tasks_folder
from nnactive_ext.annotation.ledger import Ledger
from nnactive_ext.annotation.marking import marked
from nnactive_ext.annotation.queue import tasks_of
from nnactive_ext.ensemble import fold_folder
from nnactive_ext.evaluation import read_results
from nnactive_ext.experiment import Experiment
from nnactive_ext.members import is_trained
from nnactive_ext.report import table


def status(experiment: Experiment) -> dict[str, Any]:
    """Everything as plain values: cycles, tasks, annotated voxels, members, results, the next step."""
    plan, state = experiment.plan, experiment.state
    folds = experiment.folds() if state["cycle"] >= 0 else []
    trained = [f for f in folds if is_trained(fold_folder(experiment, f), plan.experiment, state["cycle"])]
    voxels: dict[str, int] = {}
    names = {0: "background", **experiment.dataset.labels.foreground}
    for counts in state["annotated"].values():
        for label, count in counts.items():
            name = names[int(label)]
            voxels[name] = voxels.get(name, 0) + count
    results = read_results(experiment)
    found = {
        "experiment": experiment.name,
        "folder": str(experiment.raw),
        "annotator": plan.annotator,
        "cycle": state["cycle"],
        "cycles": plan.cycles,
        "open_cycle": experiment.last_loop if experiment.last_loop > state["cycle"] else None,
        "pool": len(plan.pool),
        "dropped": list(plan.dropped),
        "annotated_cases": len(state["annotated"]),
        "annotated_voxels": voxels,
        "folds": folds,
        "trained_folds": trained,
        "mean_dice": [result["mean_dice"] for result in results],
        "changes": [dict(change) for change in plan.changes],
    }
    if plan.human:
        found["tasks"] = [_tasks(experiment, cycle) for cycle in range(experiment.last_loop + 1)]
        if found["open_cycle"] == 0 and plan.starting_budget:
            found["marked"] = {name: {"boxes": n, "of": goal} for name, (n, goal) in marked(experiment).items()}
    found["next"] = next_step(experiment)
    return found


def _tasks(experiment: Experiment, cycle: int) -> dict[str, Any]:
    ledger = Ledger(experiment.annotation)
    book, labels = Book.of(ledger), experiment.dataset.labels
    rows = []
    for task in tasks_of(experiment, cycle):
        answers = book.answers.get(task.id, [])
        row: dict[str, Any] = {"task": task.id, "status": book.status(task.id), "stratum": task.stratum}
        row["answers"] = [{"who": a.who, "when": a.when, "unsure": a.unsure, "of": a.voxels} for a in answers]
        if len(answers) > 1:
            between = agreement([ledger.read_answer(a.place) for a in answers], labels.classes, labels.ignore)
            row["agreement"] = {name: round(dice, 4) if dice == dice else None for name, dice in between.items()}
            row["rule"] = book.rule_of(task.id)
        rows.append(row)
    counts = {kind: sum(row["status"] == kind for row in rows) for kind in ("open", "partial", "done")}
    return {"cycle": cycle, **counts, "tasks": rows}


def next_step(experiment: Experiment) -> str:
    """One or two lines: what a person should do now."""
    plan, state = experiment.plan, experiment.state
    number = int(experiment.name[7:10])
    device = " -device cpu" if plan.preset == "cpu" else ""
    cycle = experiment.last_loop
    if plan.human and cycle > state["cycle"]:
        book = Book.of(Ledger(experiment.annotation))
        kinds = [book.status(task.id) for task in tasks_of(experiment, cycle)]
        if kinds.count("done") >= plan.share * len(kinds) - 1e-9 and (kinds or cycle > 0 or not plan.starting_budget):
            return f"Next: nnactive_run -d {number}{device}"
        folder = tasks_folder(experiment, cycle)
        lines = []
        missing = {name: goal - n for name, (n, goal) in marked(experiment).items() if n < goal} if cycle == 0 else {}
        if missing and plan.starting_budget:
            short = ", ".join(f"{n} of {name}" for name, n in missing.items())
            lines.append(f"Next: mark points ({short}): nnactive_annotate points -d {number} FILE...")
        if not (folder / "index.html").is_file():
            lines.append(f"{'Then' if lines else 'Next'}: nnactive_annotate export -d {number}{device if cycle else ''}")
        else:
            lines.append(f"{'Then' if lines else 'Next'}: annotate the tasks ({folder / 'index.html'})")
            lines.append(f"and hand them in: nnactive_annotate import -d {number} {folder}")
        return "\n".join(lines)
    if state["cycle"] >= plan.cycles - 1 and len(read_results(experiment)) > state["cycle"]:
        return (
            f"All {plan.cycles} cycles are done. The members are in {experiment.model_folder}.\n"
            f"To go on: nnactive_change -d {number} -cycles {plan.cycles + 1}, then nnactive_run -d {number}{device}"
        )
    return f"Next: nnactive_run -d {number}{device}"


def status_text(found: dict[str, Any]) -> str:
    """What :func:`status` found, for people."""
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
        rows = [["tasks of cycle", "done", "partly", "open"]]
        rows += [[str(t["cycle"]), str(t["done"]), str(t["partial"]), str(t["open"])] for t in found["tasks"]]
        lines += ["", table(rows, numbers=True)]
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

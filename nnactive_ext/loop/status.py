"""Where an experiment stands and what to do next, as plain values and as text."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnactive_ext.cluster.under_way import running
from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.export import last_export
from nnactive_ext.exchange.exported_labels import exported_now
from nnactive_ext.exchange.marking import marked
from nnactive_ext.exchange.tallies import KINDS, in_order, tasks_per_class, voxels_per_class
from nnactive_ext.experiment.commands import hand_in
from nnactive_ext.experiment.evaluating import common_inference, comparable, has_scores
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.inference import NNUNET
from nnactive_ext.experiment.label_changes import BACKGROUND, IGNORE, LABELS
from nnactive_ext.experiment.observed import differences, environments, variables
from nnactive_ext.experiment.result import StratumYield, read_results, same_classes
from nnactive_ext.labelling.agreement import agreement
from nnactive_ext.labelling.answers import CountingAnswers, held_in, read_answer, status_of
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.minutes import measured
from nnactive_ext.labelling.precision import advice, precision_by_cycle
from nnactive_ext.labelling.repeats import rater_lines, raters
from nnactive_ext.labelling.tasks import Task, all_tasks, tasks_of
from nnactive_ext.loop.findings import annotated, missed_words, nothing_predicted, yields_by_cycle
from nnactive_ext.loop.leaving import leaving
from nnactive_ext.loop.tables import yields_table
from nnactive_ext.members.ensemble import trained_folds
from nnactive_ext.members.yields import Yields, of_labels
from nnactive_ext.nnunet.dataset import Labels
from nnactive_ext.pages.terminal import paragraph, table
from nnactive_ext.planning.cost import PAYS, rows
from nnactive_ext.planning.remaining import remaining
from nnactive_ext.screening.files import undecided
from nnactive_ext.words import count, duration, folded, listed, plural


def status(experiment: Experiment) -> dict[str, Any]:
    """Say where an experiment stands; nothing is changed.

    Args:
        experiment: an experiment.

    Returns:
        Plain values, as ``nnactive_status --json`` prints them: cycles, tasks, annotated voxels, members, results, and the
        next step.
    """
    plan, state = experiment.plan, experiment.state
    folds = experiment.folds() if state["cycle"] >= 0 else []
    voxels: dict[str, int] = {}
    names = {0: "background", **experiment.dataset.labels.foreground}
    for counts in state["annotated"].values():
        for label, number in counts.items():
            name = names[int(label)]
            voxels[name] = voxels.get(name, 0) + number
    results, named = read_results(experiment.results), environments(experiment)
    found = {
        "experiment": experiment.name,
        "folder": str(experiment.raw),
        "annotator": plan.annotator,
        "cycle": state["cycle"],
        "cycles": plan.cycles,
        "open_cycle": experiment.last_loop if experiment.last_loop > state["cycle"] else None,
        "pool": len(plan.pool),
        "dropped": [case for case in plan.dropped if case not in plan.called_irrelevant],
        "called_irrelevant": list(plan.called_irrelevant),
        "annotated_cases": len(state["annotated"]),
        "annotated_voxels": voxels,
        "folds": folds,
        "trained_folds": trained_folds(experiment) if folds else [],
        "mean_dice": [result.mean_dice for result in comparable([results])[0]],
        "inference": str(common_inference([results])[0]),
        "changes": [dict(change) for change in plan.changes],
        "differences": differences(named),
        "variables": variables(named),
        "labels": dict(experiment.dataset.labels.names),
        "under_way": experiment.under_way() or None,
        "running": [asdict(one) for one in running(experiment)] if folds else [],
    }
    yields = yields_by_cycle(experiment, results, thorough=False) if not plan.human else {}
    if plan.human:
        found["tasks"], yields = _tasks(experiment, names)
        found |= _time(experiment)
        found |= {"raters": facts} if (facts := raters(experiment).facts) else {}
        found["classes"] = _in_all([tasks["classes"] for tasks in found["tasks"]])
        if found["open_cycle"] == 0 and plan.starting_budget:
            found["marked"] = {name: {"boxes": n, "of": goal} for name, (n, goal) in marked(experiment).items()}
    found["yields"] = {str(cycle): {name: asdict(one) for name, one in strata.items()} for cycle, strata in yields.items()}
    found["missed"] = missed_words(experiment, yields)
    found["flagged"] = [asdict(one) for one in undecided(experiment)]
    found["nothing_predicted"] = nothing_predicted(experiment, same_classes(results))
    if precision := precision_by_cycle(experiment):
        found["precision"] = [
            {**asdict(one), "precision": one.precision, "recall": one.recall, "words": one.words} for one in precision
        ]
        found["precision_advice"] = advice(experiment, precision)
    found["next"] = "\n".join([*reopened(experiment), next_step(experiment)])
    return found


def _tasks(experiment: Experiment, names: Mapping[int, str]) -> tuple[list[dict[str, Any]], dict[int, Yields]]:
    """Per cycle: its tasks, how many are open, partial and done, in all and per class, and the voxels answered; and what the
    patches of each stratum held."""
    ledger, labels = Ledger(experiment.annotation), experiment.dataset.labels
    counted, tasks = CountingAnswers.of(ledger), all_tasks(experiment)
    held = {task: held_in(ledger, counted, task.id, labels.ignore) for task in tasks}
    voxels = voxels_per_class(held, names, labels.ignore)
    by_cycle: dict[int, list[Task]] = {cycle: [] for cycle in range(experiment.last_loop + 1)}
    for task in tasks:
        by_cycle[task.cycle].append(task)
    yields = {cycle: of_labels(((task, held[task]) for task in chosen), labels) for cycle, chosen in by_cycle.items()}
    kinds = {task.id: status_of(ledger, counted, task.id, labels.ignore) for task in tasks}
    found = []
    for cycle, chosen in by_cycle.items():
        numbers: dict[str, dict[str, int]] = {
            name: {**counts, "voxels": 0} for name, counts in tasks_per_class(chosen, kinds).items()
        }
        for name, of_class in voxels.get(cycle, {}).items():
            numbers.setdefault(name, {**dict.fromkeys(KINDS, 0), "voxels": 0})["voxels"] = of_class
        listed_tasks = [_task(task, kinds[task.id], ledger, counted, labels) for task in chosen]
        counts = {kind: sum(row["status"] == kind for row in listed_tasks) for kind in KINDS}
        found.append({"cycle": cycle, **counts, "classes": numbers, "tasks": listed_tasks})
    return found, annotated(yields)


def _time(experiment: Experiment) -> dict[str, Any]:
    """``minutes`` per patch, and what is left (``remaining``), at that pace; nothing where no time was measured."""
    counted = CountingAnswers.of(Ledger(experiment.annotation))
    found = measured(experiment, counted)
    if found is None:
        return {}
    minutes = {**asdict(found.patches), "classes": {name: asdict(one) for name, one in found.per_class.items()}}
    cost = remaining(experiment, found, counted)
    if cost is None:
        return {"minutes": minutes}
    pays = next(value for what, value, _ in rows(cost) if what == PAYS)
    left = {"patches": cost.patches, "hours": cost.annotation_hours, "why": cost.minutes_why, "active_learning_pays": pays}
    return {"minutes": minutes, "remaining": left}


def _task(task: Task, kind: str, ledger: Ledger, counted: CountingAnswers, labels: Labels) -> dict[str, Any]:
    answers = counted.answers.get(task.id, [])
    row: dict[str, Any] = {"task": task.id, "status": kind, "stratum": task.stratum}
    if verdict := counted.opinions.words(task.id):
        row["verdict"] = verdict
    row["answers"] = [{"who": a.who, "when": a.when, "unsure": a.unsure, "of": a.voxels} for a in answers]
    if len(answers) > 1:
        between = agreement([read_answer(ledger, counted, a) for a in answers], labels.classes, labels.ignore)
        row["agreement"] = {name: round(dice, 4) if dice == dice else None for name, dice in between.items()}
        row["rule"] = counted.rule_of(task.id)
    return row


def _in_all(cycles: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Per class: tasks and voxels of all cycles."""
    found: dict[str, dict[str, int]] = {}
    for classes in cycles:
        for name, counts in classes.items():
            total = found.setdefault(name, dict.fromkeys(counts, 0))
            for kind, number in counts.items():
                total[kind] += number
    return found


def next_step(experiment: Experiment) -> str:
    """What a person should do now, in the last line, which begins with "Next:"; lines before it say what else can be done.

    Commands print it when their work is done, so that a damaged file which it alone needs is no error of theirs.
    """
    try:
        return _next_step(experiment)
    except NnActiveError as error:
        return f"What is next cannot be said before this is mended: {error}"


def _next_step(experiment: Experiment) -> str:
    plan, state = experiment.plan, experiment.state
    if plan.human and experiment.last_loop > state["cycle"]:
        return _next_of_annotators(experiment)
    commands = experiment.commands
    if all_cycles_done(experiment):
        trained = trained_folds(experiment)
        turned = "(nnUNetv2_predict does not turn images: see docs/rollout.md, Use the model)"
        with_them = [
            f"The members are in {experiment.model_folder}.",
            "To segment other images with them:",
            *([turned] if plan.turned else []),
            *(f"    {line}" for line in commands.predict(trained)),
            *(f"{what}: {command}" for what, command in leaving(experiment)),
        ]
        lines = [
            f"{cycles_done(plan.cycles)}.",
            *(with_them if trained else []),
            f"To go on: {commands.change('-cycles', plan.cycles + 1)}, then {commands.run}",
            f"Next: see how good they are, and whether to go on: {commands.report}",
        ]
        return "\n".join(lines)
    return f"Next: {commands.run}"


def cycles_done(cycles: int) -> str:
    """That nothing planned is left."""
    return f"All {cycles} cycles are done" if cycles > 1 else "The only cycle is done"


def all_cycles_done(experiment: Experiment) -> bool:
    """Whether the last planned cycle is trained and evaluated, and nothing is open."""
    plan, cycle = experiment.plan, experiment.state["cycle"]
    if experiment.last_loop > cycle or cycle < plan.cycles - 1:
        return False
    results = read_results(experiment.results)
    return len(results) > cycle and has_scores(experiment, results[-1])


def _next_of_annotators(experiment: Experiment) -> str:
    """:func:`next_step` while a cycle is open: mark points first, then annotate, in the browser or by export, then train."""
    plan, commands, cycle = experiment.plan, experiment.commands, experiment.last_loop
    ledger, ignore = Ledger(experiment.annotation), experiment.dataset.labels.ignore
    counted, tasks = CountingAnswers.of(ledger), tasks_of(experiment, cycle)
    kinds = [status_of(ledger, counted, task.id, ignore) for task in tasks]
    folder, serve, export = last_export(experiment, cycle), commands.serve, commands.export(cycle > 0)
    if kinds.count("done") >= plan.share * len(kinds) - 1e-9 and (kinds or cycle > 0 or not plan.starting_budget):
        others, step = f"Or train on what there is: {commands.run}", commands.run
    elif (
        (folder / "index.html").is_file()
        and exported_now(experiment, tasks)
        and all(kind != "open" or _is_in(folder, task) for task, kind in zip(tasks, kinds, strict=True))
    ):  # points that were marked after an export added tasks to it
        hand_back = hand_in(experiment.number, folder)
        others = f"Annotate the tasks that are out ({folder / 'index.html'}) and hand them in: {hand_back}"
        step = f"annotate the tasks ({folder / 'index.html'}) and hand them in: {hand_back}"
    else:
        others, step = f"With another viewer: {export}", f"annotate in the browser: {serve}"
    goals = marked(experiment).items() if cycle == 0 and plan.starting_budget else ()
    if missing := [f"{goal - n} of {name}" for name, (n, goal) in goals if n < goal]:
        points = f"Points from a file: {commands.annotate('points', 'FILE...')}"
        return f"{points}\n{others}\nNext: mark points ({', '.join(missing)}) and annotate in the browser: {serve}"
    if step == commands.run:
        return f"Next: {step}"
    return f"{others}\nNext: {step}" if step.endswith(serve) else f"In the browser: {serve}\nNext: {step}"


def _is_in(folder: Path, task: Task) -> bool:
    """Whether a task was exported to a folder, under one of its names."""
    return any((folder / name).is_dir() for name in task.names)


def by_hand(experiment: Experiment) -> str:
    """The steps of a cycle as commands of their own, one line each: train the members, and query the next patches."""
    commands, plan = experiment.commands, experiment.plan
    lines = commands.by_hand(experiment.folds())
    if experiment.state["cycle"] < plan.cycles - 1:
        lines.append(commands.query())
    return "\n".join(["To do the next cycle step by step:", *(f"    {line}" for line in lines)])


def reopened(experiment: Experiment) -> list[str]:
    """How to send out tasks of closed cycles again that a change of the classes left open in part; one line per cycle."""
    if not (experiment.plan.human and experiment.plan.label_version):
        return []
    ledger, labels = Ledger(experiment.annotation), experiment.dataset.labels
    counted, lines = CountingAnswers.of(ledger), []
    for cycle in range(experiment.state["cycle"] + 1):
        tasks = [
            task
            for task in tasks_of(experiment, cycle)
            if any(counted.since(answer.event) for answer in counted.counting(task.id))
            and status_of(ledger, counted, task.id, labels.ignore) == "partial"
        ]
        if tasks:
            command = experiment.commands.annotate("export", "-cycle", cycle)
            n = f"{len(tasks)} {plural(len(tasks), 'task')}"
            lines.append(f"Classes were changed, and {n} of cycle {cycle} can be completed: {command}")
    return lines


def status_text(found: dict[str, Any]) -> str:
    """What :func:`nnactive_ext.loop.status.status` found, for people, and the line of :mod:`nnactive_ext.report.worth` as
    ``another_cycle``, if it is there."""
    where = f"cycle {found['cycle']} of {found['cycles'] - 1}" if found["cycle"] >= 0 else "nothing is trained yet"
    lines = [f"{found['experiment']} ({found['annotator']} annotator): {where}", ""]
    lines += [f"WARNING: {found['nothing_predicted']}", ""] if found.get("nothing_predicted") else []
    gone = [("dropped", found["dropped"]), ("irrelevant", found["called_irrelevant"])]
    lines.append(", ".join([f"Pool: {found['pool']} cases", *(f"{len(cases)} {why}" for why, cases in gone if cases)]))
    if any(change["what"] == LABELS for change in found["changes"]):
        names = ", ".join(name for name in found["labels"] if name not in (BACKGROUND, IGNORE))
        lines.append(paragraph(f"Classes: {names}"))
    for change in found["changes"]:
        if change["what"] == LABELS:
            how = "; ".join(change["operations"])
            lines.append(paragraph(f"  changed after cycle {change['after_cycle']} by {change['who']}: {how}", indent="    "))
    if found["annotated_voxels"]:
        total = sum(found["annotated_voxels"].values())
        voxels = found["annotated_voxels"]
        shares = ", ".join(f"{name} {voxels[name]:,}" for name in in_order(voxels, found["labels"]))
        lines.append(paragraph(f"Labels in place: {total:,} voxels in {found['annotated_cases']} cases ({shares})"))
    if found["folds"]:
        lines.append(f"Members trained on them: {len(found['trained_folds'])} of {len(found['folds'])}")
    for name, values in found["variables"].items():
        lines += [
            paragraph(f"These members were trained with {name}={value} instead of the number in nnU-Net's plans: {listed(who)}")
            for value, who in values.items()
        ]
    lines += [_reread(change) for change in found["changes"] if change["what"] == "references"]
    if found.get("tasks"):
        lines += ["", _table(found)]
        for tasks in found["tasks"]:
            for row in tasks["tasks"]:
                if "agreement" in row:
                    who = ", ".join(answer["who"] for answer in row["answers"])
                    dice = ", ".join(f"{n} {'-' if d is None else format(d, '.2f')}" for n, d in row["agreement"].items())
                    lines.append(paragraph(f"{row['task']}: {who} agree with Dice {dice}; what counts: {row['rule']}"))
    lines += map(paragraph, rater_lines(found.get("raters", {})))
    lines += _verdict_lines(found)
    if "marked" in found:
        goals = [["points marked", "patches", "of"]] + [[n, str(m["boxes"]), str(m["of"])] for n, m in found["marked"].items()]
        lines += ["", table(goals, numbers=True)]
    lines += ["", *_time_lines(found)] if "minutes" in found else []
    yields = {int(c): {n: StratumYield(**one) for n, one in strata.items()} for c, strata in found.get("yields", {}).items()}
    lines += ["", yields_table(yields, list(found["labels"]))] if yields else []
    lines += ["", found["missed"]] if found.get("missed") else []
    lines += _flagged_lines(found.get("flagged", ()))
    if found.get("differences"):
        lines += ["", "WARNING: not all of this experiment was made in the same way:"]
        lines += [paragraph(f"  {text}", indent="    ") for text in folded(found["differences"])]
    scores = [dice for dice in found["mean_dice"] if dice is not None]
    if scores:
        how = "" if found.get("inference", str(NNUNET)) == str(NNUNET) else f" ({found['inference']})"
        lines += ["", paragraph(f"Mean Dice per cycle{how}: " + ", ".join(f"{100 * dice:.1f}" for dice in scores))]
    lines += ["", paragraph(found["another_cycle"])] if found.get("another_cycle") else []
    if found["under_way"]:
        lines += ["", f"Under way: {found['under_way']}. Answers may be handed in meanwhile."]
    lines += _running_lines(found.get("running", ()))
    return "\n".join([*lines, "", found["next"]])


def _flagged_lines(flagged: Sequence[Mapping[str, Any]]) -> list[str]:
    """The cases that the last screening flagged and nobody decided about."""
    if not flagged:
        return []
    lines = ["", f"Flagged by a screening, without a verdict ({flagged[0]['page']}):"]
    return lines + [paragraph(f"  {one['case']}: {one['why']}", indent="    ") for one in flagged]


def _running_lines(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which steps run, where, since when, how far they are, and where they write."""
    lines = []
    for one in steps:
        where = ", ".join(
            [one["host"], *([f"GPU {one['gpu']}"] if one["gpu"] else []), *([f"job {one['job']}"] if one["job"] else [])]
        )
        epoch = f", epoch {one['epoch']}" if one["epoch"] >= 0 else ""
        since = duration(max(0.0, time.time() - one["since"]))
        lines.append(f"  {one['step']} on {where}, for {since}{epoch}: {one['log']}")
    return ["Steps that run:", *lines] if lines else []


def _verdict_lines(found: Mapping[str, Any]) -> list[str]:
    """How many patches of each cycle were irrelevant, which cases left the pool, and what helps against too many."""
    if not found.get("precision"):
        return []
    gone = found["called_irrelevant"]
    lines = ["", *(paragraph(one["words"]) for one in found["precision"])]
    lines += [paragraph(f"Cases that left the pool as irrelevant: {listed(gone)}")] if gone else []
    return [*lines, *([paragraph(found["precision_advice"])] if found["precision_advice"] else [])]


def _time_lines(found: Mapping[str, Any]) -> list[str]:
    """How long patches took, and what is left."""
    minutes, left = found["minutes"], found.get("remaining")
    said = (
        f"Minutes per patch, measured on {count(minutes['patches'], 'patch', 'patches')}: median {minutes['median']:.2g} "
        f"(quartiles {minutes['lower']:.2g} to {minutes['upper']:.2g})"
    )
    classes = [f"{name} {one['median']:.2g} ({one['patches']})" for name, one in minutes["classes"].items()]
    lines = [paragraph(f"{said}; medians of patches with {', '.join(classes)}" if classes else said)]
    if left:
        lines.append(
            paragraph(
                f"Still to annotate: {count(left['patches'], 'patch', 'patches')}, {left['hours']:,.1f} h ({left['why']}); "
                f"{PAYS} {left['active_learning_pays']}"
            )
        )
    return lines


def _reread(change: Mapping[str, Any]) -> str:
    cycles = ", ".join(str(cycle) for cycle in change["results"])
    before = f"; results of cycle {cycles} rest on those before" if cycles else ""
    return f"Reference labels changed after cycle {change['after_cycle']} ({listed(change['cases'])}){before}"


def _table(found: dict[str, Any]) -> str:
    """Tasks and voxels answered, per cycle and then per class over all cycles."""
    lines = [["tasks", *reversed(KINDS), "voxels"]]
    cycles = [(f"of cycle {t['cycle']}", t, sum(c["voxels"] for c in t["classes"].values())) for t in found["tasks"]]
    counted = found["classes"]
    classes = [(name, counted[name], counted[name]["voxels"]) for name in in_order(counted, found["labels"])]
    for name, counts, voxels in [*cycles, *classes]:
        asked = any(counts[kind] for kind in KINDS)
        numbers = [str(counts[kind]) if asked else "-" for kind in reversed(KINDS)]
        lines.append([name, *numbers, f"{voxels:,}" if voxels else "-"])
    return table(lines, numbers=True)

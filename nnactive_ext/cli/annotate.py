"""nnactive_annotate: tasks out to people's viewers, their answers in."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnactive_ext.cli.failing import failing_clearly
from nnactive_ext.cli.options import add_device, add_quiet, current_user
from nnactive_ext.errors import NnActiveError

if TYPE_CHECKING:
    from nnactive_ext.experiment.experiment import Experiment


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_annotate",
        description="Hands the boxes of a query to people, in the viewer they use, and takes labels back.",
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    export = commands.add_parser("export", help="write the open cycle's tasks: crops, label maps, files for each viewer")
    export.add_argument("-o", type=Path, metavar="FOLDER", help="where to (default: tasks/ in the experiment's raw folder)")
    export.add_argument("--blank", action="store_true", help="empty boxes instead of the members' prediction")
    export.add_argument("-margin", type=float, metavar="MM", help="context around each box (default: as much as the box)")
    export.add_argument("-cycle", type=int, metavar="N", help="export this cycle's tasks (default: the open one's)")
    export.add_argument("-f", nargs="+", type=int, metavar="FOLD", help="members that predict (default: all trained ones)")
    add_device(export)
    add_quiet(export)
    back = commands.add_parser("import", help="take annotated label maps in: files, or folders with them")
    back.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help=".nii.gz, .nrrd, .seg.nrrd, .mha; crops or whole images"
    )
    back.add_argument("-task", metavar="TASK", help="the task that the file answers, whatever its name")
    back.add_argument(
        "--accept_unchanged", action="store_true", help="take boxes as they were exported, too: the prediction is right"
    )
    points = commands.add_parser(
        "points", help="put boxes around marked points: Slicer .mrk.json, or tables (case, class, ...)"
    )
    points.add_argument("paths", nargs="+", type=Path, metavar="FILE")
    withdraw = commands.add_parser("withdraw", help="take back the last answer to a task; the one before counts again")
    withdraw.add_argument("task", metavar="TASK")
    rule = commands.add_parser("rule", help="say which answer counts where several people answered a task")
    rule.add_argument("rule", metavar="RULE", help="latest, first, consensus, or the name of an annotator")
    rule.add_argument("-task", metavar="TASK", help="for this task only")
    close = commands.add_parser("close", help="put the answers in place as labels, so that training can start")
    close.add_argument("-share", type=float, metavar="SHARE", help="of the tasks that must be done (default: the experiment's)")
    add_quiet(close)
    for command in (back, points, withdraw, rule):
        command.add_argument("-who", metavar="NAME", help="the annotator (default: the experiment's expert, else the user)")
        add_quiet(command)
    for command in commands.choices.values():
        command.add_argument("-d", required=True, metavar="DATASET", help="number or name of the experiment")
    return made


def main(args: list[str] | None = None) -> None:
    options = parser().parse_args(args)
    with failing_clearly():
        _run(options)


def _run(options: argparse.Namespace) -> None:
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.labelling.closing import apply_corrections, noted
    from nnactive_ext.loop.status import next_step
    from nnactive_ext.nnunet.environment import require_nnunet_folders

    require_nnunet_folders()
    experiment = Experiment.find(options.d)
    if not experiment.plan.human:
        raise NnActiveError(f"{experiment.name} has a simulated annotator; roll-outs are made with nnactive_plan -i FOLDER.")
    with experiment.lock():
        experiment = Experiment.find(options.d)
        try:
            _correct(experiment, noted(experiment), options, apply_corrections)  # what a killed command left behind
        except NnActiveError as error:
            print(f"WARNING: {error}")  # the command may be what mends it
        _COMMANDS[options.command](experiment, options)
        print(next_step(Experiment.find(options.d)))


def _export(experiment: Experiment, options: argparse.Namespace) -> None:
    from nnactive_ext.exchange.export import export, tasks_folder
    from nnactive_ext.nnunet.environment import prepare_device

    cycle = experiment.last_loop if options.cycle is None else options.cycle
    if not 0 <= cycle <= experiment.last_loop:
        raise NnActiveError(f"-cycle {cycle}: {experiment.name} has the cycles 0 to {experiment.last_loop}.")
    if options.cycle is None and cycle <= experiment.state["cycle"]:
        raise NnActiveError(
            f"{experiment.name}: no cycle is open for annotation. Query first, or export an earlier one again with -cycle."
        )
    folder = (options.o or tasks_folder(experiment, cycle)).absolute()

    def open_ensemble():
        from nnactive_ext.members.ensemble import NnUNetEnsemble, trained_folds

        prepare_device(options.device)
        folds = options.f or trained_folds(experiment) or experiment.folds()  # without any it says how to train them
        return NnUNetEnsemble(experiment, folds, options.device)

    # Nothing is trained before the first cycle's boxes are annotated.
    blank = options.blank or experiment.state["cycle"] < 0
    made = export(experiment, cycle, folder, None if blank else open_ensemble, options.margin, not options.disable_progress_bar)
    print(f"{len(made.tasks)} tasks: {folder / 'index.html'}")
    if made.kept:
        print(f"{len(made.kept)} label map(s) there were edited since they were exported and are kept: {made.kept[0]}, ...")


def _import(experiment: Experiment, options: argparse.Namespace) -> None:
    from nnactive_ext.exchange.receive import receive
    from nnactive_ext.labelling.closing import apply_corrections
    from nnactive_ext.labelling.tasks import find_task

    only = find_task(experiment, options.task) if options.task else None
    if only and len(options.paths) > 1:
        raise NnActiveError("-task: give one file with it.")
    results = receive(experiment, options.paths, _who(experiment, options), only, options.accept_unchanged)
    answered = {result.task.id for result in results if result.taken and result.task}
    for result in results:
        # The untouched export that lies beside an answer is no news.
        beside = not result.taken and result.task is not None and result.task.id in answered
        if not result.refused and not beside:
            print(f"{result.task.id if result.task else result.file}: {'' if result.taken else 'not taken: '}{result.text}")
    late = [r.task.patch.case for r in results if r.taken and r.task and r.task.cycle <= experiment.state["cycle"]]
    _correct(experiment, late, options, apply_corrections)
    refused = [result for result in results if result.refused]
    if refused:
        taken = sum(result.taken for result in results)
        lines = [f"{result.file}: {result.text}" for result in refused]
        raise NnActiveError(
            "\n".join([*lines, f"{len(refused)} file(s) refused, {taken} box(es) taken. Mend and import them again."])
        )


def _correct(experiment: Experiment, cases: list[str], options: argparse.Namespace, apply) -> None:
    """Answers to tasks of closed cycles change labels at once."""
    if cases:
        for warning in apply(experiment, cases, not options.disable_progress_bar):
            print(f"WARNING: {warning}")
        print(f"Labels of a closed cycle were corrected in {len(set(cases))} case(s); members trained before have not seen it.")


def _points(experiment: Experiment, options: argparse.Namespace) -> None:
    from nnactive_ext.exchange.marking import add_points, marked

    made = add_points(experiment, options.paths, _who(experiment, options))
    print(f"{len(made.added)} boxes added; {len(made.covered)} points lie in boxes that were chosen before.")
    if experiment.state["cycle"] < 0:
        for name, (number, goal) in marked(experiment).items():
            print(f"  {name}: {number} of {goal}" + ("" if number < goal else ", enough"))


def _withdraw(experiment: Experiment, options: argparse.Namespace) -> None:
    from nnactive_ext.labelling.answers import Book
    from nnactive_ext.labelling.closing import apply_corrections, check_withdrawal, note
    from nnactive_ext.labelling.ledger import Ledger
    from nnactive_ext.labelling.tasks import find_task

    task, ledger = find_task(experiment, options.task), Ledger(experiment.annotation)
    answers = Book.of(ledger).answers.get(task.id, [])
    mine = [answer for answer in answers if options.who in (None, answer.who)]
    if not mine:
        raise NnActiveError(f"{task.id}: {options.who or 'nobody'} has an answer there that could be taken back.")
    if options.who is None and len(mine) > 1:
        raise NnActiveError(f"{task.id}: answered by {', '.join(answer.who for answer in mine)}. Say whose to take back: -who")
    if task.cycle <= experiment.state["cycle"]:
        check_withdrawal(experiment, mine[-1])
        note(experiment, [task.patch.case])
    ledger.add("withdraw", mine[-1].who, task=task.id, withdrawn=mine[-1].event)
    print(f"{task.id}: the answer of {mine[-1].who} from {mine[-1].when} is taken back.")
    if task.cycle <= experiment.state["cycle"]:
        _correct(experiment, [task.patch.case], options, apply_corrections)


def _rule(experiment: Experiment, options: argparse.Namespace) -> None:
    from nnactive_ext.labelling.answers import RULES, Book
    from nnactive_ext.labelling.closing import apply_corrections, note
    from nnactive_ext.labelling.ledger import Ledger
    from nnactive_ext.labelling.tasks import all_tasks, find_task

    ledger = Ledger(experiment.annotation)
    book = Book.of(ledger)
    people = {answer.who for answers in book.answers.values() for answer in answers}
    if options.rule not in RULES and options.rule not in people:
        raise NnActiveError(
            f"rule {options.rule}: neither {', '.join(RULES)} nor an annotator ({', '.join(sorted(people)) or 'none'})."
        )
    task, who = find_task(experiment, options.task) if options.task else None, _who(experiment, options)
    several = [t for t in all_tasks(experiment) if len(book.answers.get(t.id, [])) > 1 and task in (None, t)]
    closed = [t.patch.case for t in several if t.cycle <= experiment.state["cycle"]]
    note(experiment, closed)
    ledger.add("rule", who, rule=options.rule, task=task.id if task else None)
    print(f"What counts for {task.id if task else 'every task'} now: {options.rule}; {len(several)} have several answers.")
    _correct(experiment, closed, options, apply_corrections)


def _close(experiment: Experiment, options: argparse.Namespace) -> None:
    from nnactive_ext.labelling.closing import close_cycle

    cycle = experiment.last_loop
    if cycle <= experiment.state["cycle"]:
        raise NnActiveError(f"{experiment.name}: no cycle is open for annotation.")
    if options.share is not None and not 0 <= options.share <= 1:
        raise NnActiveError(f"-share {options.share:g}: a share is from 0 to 1.")
    for warning in close_cycle(experiment, cycle, options.share, not options.disable_progress_bar):
        print(f"WARNING: {warning}")
    print(f"The labels of cycle {cycle} are in place.")


def _who(experiment: Experiment, options: argparse.Namespace) -> str:
    from nnactive_ext.labelling.answers import check_annotator

    name = options.who if options.who is not None else experiment.plan.expert or current_user()
    check_annotator(name)
    return name


_COMMANDS = {
    "export": _export,
    "import": _import,
    "points": _points,
    "withdraw": _withdraw,
    "rule": _rule,
    "close": _close,
}

if __name__ == "__main__":
    main()

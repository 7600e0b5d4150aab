"""nnactive_annotate: tasks out to people's viewers, their answers in."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from nnactive_ext.cli.command import command
from nnactive_ext.cli.options import (
    add_device,
    add_experiment,
    add_folds,
    add_lock,
    add_precision,
    add_quiet,
    current_user,
    prepare,
)
from nnactive_ext.errors import NOTHING_TAKEN, NnActiveError
from nnactive_ext.words import count, folded, listed, plural, warned

if TYPE_CHECKING:
    from nnactive_ext.experiment.experiment import Experiment


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_annotate",
        description="Exchanges annotation tasks with people: exports the patches of a query for the viewer they use, and "
        "imports their label maps. For the options of a command: nnactive_annotate COMMAND -h.",
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        add_experiment(made)
        add_lock(made)
        return made

    export = add("export", "write the tasks of the open cycle: image crops, label maps to edit, and files for each viewer")
    export.add_argument(
        "-o", type=Path, metavar="FOLDER", help="folder for the tasks (default: tasks/cycle_NNN in the experiment's raw folder)"
    )
    _add_start(export)
    export.add_argument(
        "--pseudonyms",
        action="store_true",
        help="write pseudonyms instead of the names of cases, and no paths of this machine. The table of pseudonyms stays in "
        "the experiment, and import takes the answers back",
    )
    export.add_argument(
        "--single",
        action="store_true",
        help="put the viewer (2.3 MB) into each annotate.html, so that the page of one task can be sent alone",
    )
    export.add_argument("-cycle", type=int, metavar="N", help="cycle whose tasks to export (default: the open cycle)")
    add_quiet(export)
    back = add("import", "import annotated label maps, from files or from folders that contain them")
    back.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="label maps of crops or of whole images (.nii.gz, .nrrd, .seg.nrrd, .mha, DICOM SEG; of crops also "
        ".tif and .npy), verdicts.csv with the columns task_or_case, verdict and why, or folders",
    )
    back.add_argument(
        "-task", metavar="TASK", help="task that the file answers, whatever its name (default: found from name and place)"
    )
    back.add_argument(
        "--accept_unchanged",
        action="store_true",
        help="also import label maps that were not edited after the export, because the prediction is right",
    )
    back.add_argument(
        "--accept_outside",
        action="store_true",
        help="also import label maps with many labelled voxels outside the patch; these voxels are skipped",
    )
    back.add_argument(
        "-label_version",
        type=int,
        metavar="N",
        help="classes that the files were painted with: those after N changes of the classes (default: found "
        "from the task's folder)",
    )
    back.epilog = (
        f"Exit status: 0 if an answer was taken, or is known already; 1 if a file was refused; {NOTHING_TAKEN} if no file was "
        "refused and no answer was taken, as of label maps that nobody saved."
    )
    points = add("points", "add patches around marked points of structures")
    points.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="points from 3D Slicer (.mrk.json, .fcsv), or tables (case, class, ...)",
    )
    serve = add("serve", "open a local page in the browser, in which people annotate the tasks of the last cycle")
    serve.add_argument(
        "-host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (default: %(default)s, this machine only)"
    )
    serve.add_argument("-port", type=int, default=0, metavar="PORT", help="port to listen on (default: a free one)")
    serve.add_argument(
        "--public",
        action="store_true",
        help="allow a -host that other machines can reach: whoever has the address and its token then sees the images and "
        "can hand in answers, and nothing on the way is encrypted",
    )
    serve.add_argument(
        "--pseudonyms",
        action="store_true",
        help="show pseudonyms instead of the names of cases, those of export --pseudonyms. The table of pseudonyms stays in "
        "the experiment",
    )
    serve.add_argument(
        "-nninteractive",
        metavar="URL",
        help="address of your own nninteractive-server, such as http://gpu-box:1527: points, scribbles and lassos of the page "
        "are answered by it. It receives the voxels of the tasks that are prompted (default: none)",
    )
    serve.add_argument(
        "-editor",
        choices=["light", "slicer"],
        default="light",
        help="editor that the queue leads to until a person uses another: light, which paints in the browser itself; slicer, "
        "3D Slicer's segment editor, which needs the extra slicer (1 GB) and some 700 MB of memory a person "
        "(default: %(default)s)",
    )
    serve.add_argument("--no_browser", action="store_true", help="print the address and open no browser")
    _add_start(serve)
    add_precision(serve)
    verdict = add("verdict", "say that patches or whole cases do not belong to the experiment, or that they do")
    verdict.add_argument("subjects", nargs="+", metavar="TASK_OR_CASE", help="tasks, and cases of the pool")
    verdict.add_argument(
        "verdict",
        choices=["irrelevant", "relevant"],
        help="irrelevant: a task is done and its patch stays ignore; a case leaves the pool and its labels are not trained on. "
        "relevant: the opposite, also after irrelevant",
    )
    verdict.add_argument("-why", nargs="+", default=[], metavar="WORD", help="reason, to be recorded")
    withdraw = add(
        "withdraw", "withdraw the last answer to a task, or the last verdict, so that the one before it counts again"
    )
    withdraw.add_argument(
        "task", metavar="TASK_OR_CASE", help="task whose answer or verdict to withdraw, or case with a verdict"
    )
    rule = add("rule", "choose which answer counts where several people answered a task")
    rule.add_argument(
        "rule",
        metavar="RULE",
        help="latest: the last answer; first: the answer of who answered first; consensus: the voxels on which all agree; or "
        "the name of an annotator",
    )
    rule.add_argument("-task", metavar="TASK", help="task that the rule is for (default: all tasks)")
    close = add("close", "turn the answers of the open cycle into labels, so that training can start")
    close.add_argument(
        "-share",
        type=float,
        metavar="SHARE",
        help="share of the cycle's tasks, from 0 to 1, that must be done (default: the experiment's)",
    )
    add_quiet(close)
    who = {withdraw: "the only one who answered the task"}
    for parser in (back, points, serve, verdict, withdraw, rule):
        default = who.get(parser, "the experiment's expert, else the user who runs the command")
        parser.add_argument("-who", metavar="NAME", help=f"name of the annotator (default: {default})")
        if parser is not serve:
            add_quiet(parser)
    return made


def _add_start(parser: argparse.ArgumentParser) -> None:
    """What tasks show, and what they start with."""
    from nnactive_ext.exchange.starting import ABOVE

    parser.add_argument(
        "--blank",
        action="store_true",
        help="start with empty patches instead of the members' predictions",
    )
    parser.add_argument(
        "-start_above",
        type=float,
        default=ABOVE,
        metavar="DICE",
        help="Dice of a class, 0 to 1, from which tasks start with its prediction; it is that of the last cycle in "
        "cross-validation, or on the test set if there is one. Below it, and where it is not known, tasks start blank for the "
        "class; 0: start with every prediction (default: %(default)s)",
    )
    parser.add_argument(
        "-margin", type=float, metavar="MM", help="context around each patch, in mm (default: the size of the patch)"
    )
    add_folds(parser, "members that predict, by their folds", "all trained members")
    add_device(parser)


def _export(experiment: Experiment, options: argparse.Namespace) -> None:
    from nnactive_ext.exchange.export import export, tasks_folder
    from nnactive_ext.experiment.pseudonyms import pseudonyms
    from nnactive_ext.files import unsynced

    cycle = experiment.last_loop if options.cycle is None else options.cycle
    if not 0 <= cycle <= experiment.last_loop:
        raise NnActiveError(f"-cycle {cycle}: {experiment.name} has the cycles 0 to {experiment.last_loop}.")
    if options.cycle is None and cycle <= experiment.state["cycle"]:
        raise NnActiveError(
            f"{experiment.name}: no cycle is open for annotation. Query first, or export an earlier one again with -cycle."
        )
    folder = (options.o or tasks_folder(experiment, cycle, options.pseudonyms)).absolute()
    if not options.pseudonyms and pseudonyms(experiment.annotation):
        print("WARNING: tasks of this experiment were exported with pseudonyms before; these carry the names of cases.")

    def open_ensemble():
        from nnactive_ext.members.ensemble import NnUNetEnsemble, trained_folds

        prepare(options.device)
        folds = options.f or trained_folds(experiment) or experiment.folds()  # without any it says how to train them
        return NnUNetEnsemble(experiment, folds, options.device)

    # No member is trained before the first cycle's patches are annotated.
    blank = options.blank or experiment.state["cycle"] < 0
    ensemble = None if blank else open_ensemble
    progress = not options.disable_progress_bar
    how = (options.margin, progress, options.start_above, options.pseudonyms, options.single)
    with unsynced():  # tasks can be exported again
        made = export(experiment, cycle, folder, ensemble, *how)
    print(f"{count(len(made.tasks), 'task')}: {folder / 'index.html'}")
    if made.start and made.start.blank:
        print(f"These classes start blank: {made.start.words}. -start_above 0 starts with every prediction.")
    if made.kept:
        print(
            f"{len(made.kept)} label map(s) in the folder were edited after an earlier export and are kept: {made.kept[0]}, ..."
        )


def _import(experiment: Experiment, options: argparse.Namespace) -> None:
    from nnactive_ext.exchange.blank_starts import started_blank
    from nnactive_ext.exchange.receive import receive
    from nnactive_ext.labelling.tasks import find_task

    only = find_task(experiment, options.task) if options.task else None
    if only and len(options.paths) > 1:
        raise NnActiveError("-task names the task of one file. Import one file with it.")
    who, unchanged = _who(experiment, options), options.accept_unchanged
    results = receive(experiment, options.paths, who, only, unchanged, options.label_version, options.accept_outside)
    answered = {result.task.id for result in results if result.taken and result.task}
    for result in results:
        if result.taken:
            print(f"{result.task.id if result.task else result.file.name}: {result.text}")
    # The untouched export that lies beside an answer is no news.
    skipped = [r for r in results if not (r.taken or r.refused or (r.task and r.task.id in answered))]
    options.status = 0 if any(result.taken or result.counts for result in results) else NOTHING_TAKEN
    if any(result.empty for result in results):
        options.next = (
            f"if the patches that are empty are right: {experiment.commands.annotate('import', *_again(options, who))}"
        )
    for line in folded([f"{r.task.id if r.task else r.file}: not taken: {r.text}" for r in skipped], most=20):
        print(line)
    late = [case for result in results for case in result.follow]
    late += [r.task.patch.case for r in results if r.taken and r.task and r.task.in_place(experiment.state["cycle"])]
    _correct(experiment, late, options)
    blank = started_blank(experiment) if unchanged else {}
    untouched = [result for result in results if result.taken and result.untouched and result.task]
    if classes := sorted({name for result in untouched if result.task for name in blank.get(result.task.id, ())}):
        print(
            f"WARNING: {count(len(untouched), 'label map')} came back as exported, and started blank for "
            f"{', '.join(classes)}: the answers say that there is none. If nobody looked, withdraw them: "
            f"{experiment.commands.annotate('withdraw', 'TASK')}"
        )
    refused = [result for result in results if result.refused]
    if refused:
        taken = sum(result.taken for result in results)
        lines = [f"{result.file}: {result.text}" for result in refused]
        raise NnActiveError(
            "\n".join(
                [
                    *lines,
                    f"{len(refused)} file(s) refused, {taken} patch(es) imported. Correct the files and import them again.",
                ]
            )
        )


def _again(options: argparse.Namespace, who: str) -> list[object]:
    """The words after the number in the same import that also takes what is empty or was not saved."""
    more = ["-task", options.task] if options.task else []
    more += [] if options.label_version is None else ["-label_version", options.label_version]
    return [*options.paths, "-who", who, *more, "--accept_unchanged"]


def _correct(experiment: Experiment, cases: list[str], options: argparse.Namespace) -> None:
    """Answers to tasks of closed cycles change labels at once, unless members are being trained on these labels."""
    from nnactive_ext.labelling.closing import apply_corrections

    if cases and options.under_way:
        print(
            f"The answers are kept; the labels of {count(len(set(cases)), 'case')} follow in the next cycle, because labels do "
            f"not change while {options.under_way} is at work."
        )
    elif cases:
        before = set(experiment.plan.pool)
        for line in warned(apply_corrections(experiment, cases, not options.disable_progress_bar)):
            print(line)
        pool = set(experiment.anew().plan.pool)
        if left := sorted(before - pool):
            print(f"Left the pool, with {plural(len(left), 'its', 'their')} labels: {listed(left)}.")
        if back := sorted(pool - before):
            print(f"Back in the pool, with {plural(len(back), 'its', 'their')} labels: {listed(back)}.")
        if (stayed := set(cases) & before & pool) and experiment.state["cycle"] >= 0:
            print(f"Corrected labels of closed cycles in {len(stayed)} case(s); members trained before did not see them.")


def _points(experiment: Experiment, options: argparse.Namespace) -> None:
    from nnactive_ext.exchange.marking import add_points, marked

    made = add_points(experiment, options.paths, _who(experiment, options))
    covered = count(len(made.covered), "point lies", "points lie")
    print(f"{count(len(made.added), 'patch', 'patches')} added; {covered} in patches that were chosen before.")
    if experiment.state["cycle"] < 0:
        for name, (number, goal) in marked(experiment).items():
            print(f"  {name}: {number} of {goal}" + ("" if number < goal else ", enough"))


def _serve(experiment: Experiment, options: argparse.Namespace) -> None:
    from nnactive_ext.cli.options import typed_device
    from nnactive_ext.exchange.crops import check_margin
    from nnactive_ext.experiment.pseudonyms import pseudonyms
    from nnactive_ext.serve.server import serve
    from nnactive_ext.serve.site import Site

    check_margin(options.margin)
    start = {"blank": options.blank, "start_above": options.start_above, "margin": options.margin}
    start |= {"folds": options.f, "device": typed_device(options)}  # not the default: a page finds the device itself
    run = {"device": typed_device(options), "precision": options.precision}
    private, editor = options.pseudonyms, options.editor
    site = Site(experiment.number, _who(experiment, options), start, run, private=private, editor=editor)
    if not site.private and pseudonyms(experiment.annotation):
        print("WARNING: tasks of this experiment were sent out with pseudonyms before; these pages show the names of cases.")
    if options.nninteractive is not None:
        from nnactive_ext.serve.interactive import interactive_at

        site.interactive = interactive_at(options.nninteractive)
    serve(site, options.host, options.port, options.public, not options.no_browser, lambda text: print(text, flush=True))


def _verdict(experiment: Experiment, options: argparse.Namespace) -> None:
    from nnactive_ext.labelling.verdicts import Subjects, give

    known = Subjects(experiment)
    subjects = [known.of(name) for name in options.subjects]
    cases = give(experiment, subjects, options.verdict == "irrelevant", _who(experiment, options), " ".join(options.why))
    print(f"{options.verdict}: {', '.join(one if isinstance(one, str) else one.id for one in subjects)}")
    _correct(experiment, cases, options)


def _withdraw(experiment: Experiment, options: argparse.Namespace) -> None:
    from nnactive_ext.labelling.ruling import withdrawn
    from nnactive_ext.labelling.verdicts import subject_of, verdict_is_last, verdict_withdrawn

    subject = subject_of(experiment, options.task)
    if isinstance(subject, str) or verdict_is_last(experiment, subject, options.who):
        with verdict_withdrawn(experiment, subject, options.who) as (verdict, cases):
            print(f"{verdict.task or verdict.case}: the verdict of {verdict.who} is withdrawn.")
            return _correct(experiment, cases, options)
    with withdrawn(experiment, subject, options.who) as (answer, cases):
        print(f"{answer.task}: the answer of {answer.who} from {answer.when} is withdrawn.")
        _correct(experiment, cases, options)


def _rule(experiment: Experiment, options: argparse.Namespace) -> None:
    from nnactive_ext.labelling.ruling import set_rule
    from nnactive_ext.labelling.tasks import find_task

    task = find_task(experiment, options.task) if options.task else None
    several, cases = set_rule(experiment, options.rule, _who(experiment, options), task)
    what = f"task {task.id}" if task else f"all tasks, of which {several} have several answers"
    print(f"The rule {options.rule} now applies to {what}.")
    _correct(experiment, cases, options)


def _close(experiment: Experiment, options: argparse.Namespace) -> None:
    from nnactive_ext.labelling.closing import close_cycle
    from nnactive_ext.loop.status import by_hand

    cycle = experiment.last_loop
    if cycle <= experiment.state["cycle"]:
        raise NnActiveError(f"{experiment.name}: no cycle is open for annotation.")
    if options.share is not None and not 0 <= options.share <= 1:
        raise NnActiveError(f"-share {options.share:g}: a share must be from 0 to 1.")
    for line in warned(close_cycle(experiment, cycle, options.share, not options.disable_progress_bar)):
        print(line)
    print(f"The labels of cycle {cycle} are in place.")
    print(by_hand(experiment))


def _who(experiment: Experiment, options: argparse.Namespace) -> str:
    from nnactive_ext.labelling.answers import check_annotator

    name = options.who if options.who is not None else experiment.plan.expert or current_user()
    check_annotator(name)
    return name


_COMMANDS = {
    "export": _export,
    "import": _import,
    "points": _points,
    "verdict": _verdict,
    "withdraw": _withdraw,
    "rule": _rule,
    "close": _close,
}


@command(parser)
def main(options: argparse.Namespace) -> None:
    from nnactive_ext.experiment import journal
    from nnactive_ext.experiment.commands import plan_rollout, typed_command
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.labelling.closing import noted
    from nnactive_ext.labelling.finishing import finish_change
    from nnactive_ext.labelling.opening import open_experiment
    from nnactive_ext.loop.status import next_step

    finish_change(Experiment.find(options.d))
    experiment = open_experiment(options.d)
    if not experiment.plan.human:
        raise NnActiveError(f"{experiment.name} has a simulated annotator; roll-outs are made with {plan_rollout()}")
    if options.command == "serve":  # which takes the lock for each answer
        return _serve(experiment, options)
    journal.once.set(typed_command.get())
    # Closing changes what members are trained on; everything else may be done while they are.
    with experiment.running() if options.command == "close" else nullcontext(), experiment.lock():
        experiment = open_experiment(options.d, locked=True)
        options.under_way = experiment.under_way()
        if not options.under_way:
            try:
                _correct(experiment, noted(experiment), options)  # what a killed command left behind
                experiment = experiment.anew()
            except NnActiveError as error:
                print(f"WARNING: {error}")  # this command may resolve it
        options.status, options.next = 0, ""
        if done := journal.was_finished(experiment.raw):
            print(
                f"This command was interrupted, and what it began was finished: {done}. It is not carried out again; to do "
                "that, type it once more."
            )
        else:
            _COMMANDS[options.command](experiment, options)
        print(f"Under way: {options.under_way}." if options.under_way else next_step(experiment.anew()))
        if options.next:
            print(f"Next: {options.next}")
        print(end="", flush=True)
        journal.said(experiment.raw)
    if options.status:
        raise SystemExit(options.status)


if __name__ == "__main__":
    main()

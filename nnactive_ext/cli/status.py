"""nnactive_status: where an experiment stands and what to do next."""

from __future__ import annotations

import argparse

from nnactive_ext.cli.failing import failing_clearly


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_status", description="Says where an experiment stands: cycle, tasks, labels, members, what to do next."
    )
    made.add_argument("-d", required=True, metavar="DATASET", help="number or name of the experiment")
    made.add_argument("--json", action="store_true", help="for programs: one JSON object, with every task")
    return made


def main(args: list[str] | None = None) -> None:
    options = parser().parse_args(args)
    with failing_clearly():
        _run(options)


def _run(options: argparse.Namespace) -> None:
    import json

    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.loop.status import status, status_text
    from nnactive_ext.nnunet.environment import require_nnunet_folders

    require_nnunet_folders()
    found = status(Experiment.find(options.d))
    print(json.dumps(found, indent=1, ensure_ascii=False) if options.json else status_text(found))


if __name__ == "__main__":
    main()

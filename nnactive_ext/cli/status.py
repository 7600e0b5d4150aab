"""nnactive_status: where an experiment stands and what to do next."""

from __future__ import annotations

import argparse

from nnactive_ext.cli.command import command
from nnactive_ext.cli.options import add_experiment


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_status",
        description="Shows the state of an experiment: its cycle, annotation tasks, labels and trained members, and the "
        "command to run next.",
    )
    add_experiment(made)
    made.add_argument("--json", action="store_true", help="print one JSON object with every task, for programs to read")
    return made


@command(parser)
def main(options: argparse.Namespace) -> None:
    import gc
    import json

    from nnactive_ext.errors import NnActiveError
    from nnactive_ext.labelling.opening import open_experiment
    from nnactive_ext.loop.status import status, status_text
    from nnactive_ext.report.worth import worth

    gc.disable()  # looking for circles of objects among 50,000 tasks takes a quarter of the time, and there are none
    try:
        experiment = open_experiment(options.d)
        found = status(experiment)
        try:
            found["another_cycle"] = worth(experiment)
        except NnActiveError as error:  # of a file that nothing else here needs
            found["another_cycle"] = f"Whether another cycle is worth it cannot be said before this is mended: {error}"
        print(json.dumps(found, indent=1, ensure_ascii=False) if options.json else status_text(found))
    finally:
        gc.enable()


if __name__ == "__main__":
    main()

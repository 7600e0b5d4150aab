"""nnactive_env: the shell lines with which nnU-Net's own commands find our trainers, and lock as we do; what may run here."""

from __future__ import annotations

import argparse
import os
import shlex

from nnactive_ext.cli.command import command
from nnactive_ext.cli.options import add_lock
from nnactive_ext.experiment.lock_settings import VARIABLE
from nnactive_ext.nnunet.environment import TRAINERS, trainer_search_path


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _powershell(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


LINES = {
    "sh": lambda name, value: f"export {name}={shlex.quote(value)}",
    "fish": lambda name, value: f"set -gx {name} {_fish(value)}",
    "powershell": lambda name, value: f"$env:{name} = {_powershell(value)}",
    "cmd": lambda name, value: f'set "{name}={value}"',
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_env",
        description="Prints the shell line that lets nnU-Net's own commands find the trainers of this package, and with -lock "
        'one more, so that they lock alike. Use it as: eval "$(nnactive_env)". Folders that nnUNet_extTrainer names are kept.',
    )
    made.add_argument(
        "--shell",
        choices=LINES,
        default="sh",
        help="shell that reads the line; sh is also for bash and zsh (default: %(default)s)",
    )
    made.add_argument(
        "--trust",
        nargs="+",
        metavar="WHAT",
        help="let Python files with query methods (FILE.py, as they are now) or networks (package.module.Class) that "
        "experiments and benchmarks of others name run on this machine; prints no shell line",
    )
    add_lock(made)
    return made


@command(parser, folders=False)
def main(options: argparse.Namespace) -> None:
    if options.trust:
        from nnactive_ext.nnunet.trusted import confirm

        for sentence in list(map(confirm, options.trust)):
            print(sentence)
        return
    line = LINES[options.shell]
    print(line(TRAINERS, trainer_search_path(os.environ)))
    if kind := os.environ.get(VARIABLE):
        print(line(VARIABLE, kind))


if __name__ == "__main__":
    main()

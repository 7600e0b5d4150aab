"""nnactive_env: the shell line with which nnU-Net's own commands find our trainers."""

from __future__ import annotations

import argparse
import os
import shlex

from nnactive_ext.cli.command import command
from nnactive_ext.nnunet.environment import TRAINERS, trainer_search_path


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _powershell(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


LINES = {
    "sh": lambda value: f"export {TRAINERS}={shlex.quote(value)}",
    "fish": lambda value: f"set -gx {TRAINERS} {_fish(value)}",
    "powershell": lambda value: f"$env:{TRAINERS} = {_powershell(value)}",
    "cmd": lambda value: f'set "{TRAINERS}={value}"',
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_env",
        description="Prints the shell line that lets nnU-Net's own commands find the trainers of this package. Use it as: "
        'eval "$(nnactive_env)". Folders that nnUNet_extTrainer already names are kept.',
    )
    made.add_argument(
        "--shell",
        choices=LINES,
        default="sh",
        help="shell that reads the line; sh is also for bash and zsh (default: %(default)s)",
    )
    return made


@command(parser, folders=False)
def main(options: argparse.Namespace) -> None:
    print(LINES[options.shell](trainer_search_path(os.environ)))


if __name__ == "__main__":
    main()

"""nnactive_env: the shell line with which nnU-Net's own commands find our trainers."""

from __future__ import annotations

import argparse
import os
import shlex

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
        description='Prints the line that lets nnU-Net find our trainers. Use it as: eval "$(nnactive_env)". '
        "Folders already in nnUNet_extTrainer are kept.",
    )
    made.add_argument("--shell", choices=LINES, default="sh", help="the shell (default: sh, also bash and zsh)")
    return made


def main(args: list[str] | None = None) -> None:
    options = parser().parse_args(args)
    print(LINES[options.shell](trainer_search_path(os.environ)))

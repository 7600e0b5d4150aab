"""The commands in what the product prints, and whether their parsers understand them."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex

START = re.compile(r'eval "\$\(nnactive_env\)"|nnactive_[a-z_]+ (?:[a-z]+ )?-|nnUNetv2_[a-z]+ (?:-|\d|Dataset)')
END = re.compile(r", then |, annotate, then |; or |;|   #|$|(?= plans more)")


def commands_in(text: str) -> list[str]:
    """Whole commands, in order; mere names of commands are none."""
    found = []
    for line in text.splitlines():
        at = 0
        while start := START.search(line, at):
            end = END.search(line, start.end())
            assert end is not None
            found.append(line[start.start() : end.start()].strip().rstrip(")."))
            if found[-1].startswith('eval "$(nnactive_env'):
                found[-1] = 'eval "$(nnactive_env)"'
            at = max(end.end(), start.end())
    return found


def understood(text: str) -> list[str]:
    """The commands in ``text``; each of ours is parsed, and nnU-Net's are complete."""
    found = commands_in(text)
    assert found, text
    for line in found:
        command, *words = shlex.split(line)
        if command.startswith("nnactive_"):
            parsed(command, words)
        elif command.startswith("nnUNetv2_"):
            assert "-tr" in words
    return found


def parsed(command: str, words: list[str]) -> argparse.Namespace:
    """The arguments of a command of ours as its parser reads them."""
    module = importlib.import_module(f"nnactive_ext.cli.{command.removeprefix('nnactive_')}")
    parser: argparse.ArgumentParser = module.parser()
    return parser.parse_args(words)

"""What all commands have in common: read the arguments, check the folders, and end with one message if something goes wrong."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from nnactive_ext.cli.options import typed_device
from nnactive_ext.errors import DENIED, NO_SPACE, NnActiveError
from nnactive_ext.experiment.lock_settings import locking


def command(
    parser: Callable[[], argparse.ArgumentParser], folders: bool | Callable[[argparse.Namespace], bool] = True
) -> Callable[[Callable[[argparse.Namespace], None]], Callable[..., None]]:
    """Turn a function of the parsed options into a command's ``main(args=None)``.

    ``folders``: the command needs nnU-Net's three folders; where that depends on the options, a function of them.
    """

    def made(call: Callable[[argparse.Namespace], None]) -> Callable[..., None]:
        def main(args: Sequence[str] | None = None) -> None:
            reader = parser()
            options = reader.parse_args(args)
            with failing_clearly(), locking(_name(reader.prog, options), getattr(options, "lock", None)):
                if folders(options) if callable(folders) else folders:
                    from nnactive_ext.experiment.commands import named_device, text, typed_command
                    from nnactive_ext.nnunet.environment import require_nnunet_folders

                    require_nnunet_folders()
                    named_device.set(typed_device(options))
                    typed_command.set(text(reader.prog, *(sys.argv[1:] if args is None else args)))
                call(options)

        return main

    return made


def _name(program: str, options: argparse.Namespace) -> str:
    return " ".join(filter(None, (program, getattr(options, "command", ""))))


@contextmanager
def failing_clearly() -> Iterator[None]:
    """Turn errors that the user can resolve into a message and an exit status; others keep their traceback."""
    try:
        yield
    except NnActiveError as error:
        _stop(str(error), error.status)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        if error.errno in NO_SPACE:
            free = "Free some space and run the same command again; nothing half-written was kept."
            _stop(f"{place}no space left on the device. {free}", 1)
        if error.errno in DENIED:
            _stop(f"{place}cannot be written or read ({os.strerror(error.errno)}). Check its permissions.", 1)
        raise
    except KeyboardInterrupt:
        _stop("Interrupted. Run the same command again to continue.", 130)


def _stop(message: str, status: int) -> None:
    # Names of files may hold bytes that are no UTF-8.
    print(f"ERROR: {message.encode(errors='backslashreplace').decode()}", file=sys.stderr)
    raise SystemExit(status)

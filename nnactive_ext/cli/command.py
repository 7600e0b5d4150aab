"""What all commands have in common: read the arguments, check the folders, and end with one message if something goes wrong."""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from nnactive_ext import __version__
from nnactive_ext.cli.options import typed_device
from nnactive_ext.errors import DENIED, FAULTY, NO_SPACE, OUTPUT_CLOSED, TOO_MANY_FILES, NnActiveError, brief
from nnactive_ext.experiment.lock_settings import locking
from nnactive_ext.refusals import logged

_AGAIN = "Run the same command again"


def command(
    parser: Callable[[], argparse.ArgumentParser], folders: bool | Callable[[argparse.Namespace], bool] = True
) -> Callable[[Callable[[argparse.Namespace], None]], Callable[..., None]]:
    """Turn a function of the parsed options into a command's ``main(args=None)``.

    ``folders``: the command needs nnU-Net's three folders; where that depends on the options, a function of them.
    """

    def made(call: Callable[[argparse.Namespace], None]) -> Callable[..., None]:
        def main(args: Sequence[str] | None = None) -> None:
            with failing_clearly():
                reader = parser()
                reader.add_argument("--version", action="version", version=f"%(prog)s of nnactive_ext {__version__}")
                options = reader.parse_args(args)
                with locking(_name(reader.prog, options), getattr(options, "lock", None)):
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
    """Turn errors that the user can resolve, and those of the machine, into a message and an exit status; others are faults of
    this package and keep their traceback."""
    try:
        try:
            yield
        finally:
            _flush()
    except NnActiveError as error:
        _stop(str(error), error.status)
    except BrokenPipeError as error:
        if not _output_is_closed():  # a process of ours has ended
            _stop(_of_the_system(error), 1)
        _stop(f"The output of this command was closed while it was at work. {_AGAIN}.", OUTPUT_CLOSED)
    except OSError as error:
        _stop(_of_the_system(error), 1)
    except MemoryError:
        _stop(f"Not enough memory. End other programs, or use fewer processes (-np). {_AGAIN}.", 1)
    except KeyboardInterrupt:
        _stop("Interrupted. Run the same command again to continue.", 130)


def _of_the_system(error: OSError) -> str:
    """What an error of the operating system means, and what to do."""
    place = f"{error.filename}: " if error.filename else ""
    why = error.strerror or brief(error)
    if error.errno in NO_SPACE:
        return f"{place}no space left on the device. Free some space. {_AGAIN}; nothing half-written was kept."
    if error.errno in DENIED:
        return f"{place}cannot be written or read ({why}). Check its permissions."
    if error.errno in TOO_MANY_FILES:
        return f"{place}{why}. Raise the limit (ulimit -n 4096), or use fewer processes (-np). {_AGAIN}."
    if error.errno in FAULTY:
        return f"{place}{why}: the disk or the network's file system fails. Check it. {_AGAIN}."
    return f"{place}{why}. {_AGAIN}. {logged(error)}"


def _output_is_closed() -> bool:
    """Whether nobody reads what is printed."""
    if sys.stdout is None or not hasattr(select, "poll"):
        return True
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # of streams that are no files
            poll = select.poll()
            poll.register(stream.fileno(), select.POLLOUT)
            if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
                return True
    return False


def _flush() -> None:
    """Write what was printed, which Python would do when the command has ended; its words about errors there say nothing."""
    if sys.stdout is None:  # closed before the command began
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError, ValueError):  # what is left goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        error.filename = error.filename or "standard output"
        raise


def _stop(message: str, status: int) -> None:
    # Names of files may hold bytes that are no UTF-8.
    with suppress(OSError):
        print(f"ERROR: {message.encode(errors='backslashreplace').decode()}", file=sys.stderr)
    raise SystemExit(status)

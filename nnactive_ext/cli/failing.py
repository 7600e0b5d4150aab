"""How every command ends when something goes wrong: one message on stderr and a status that is not 0."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from nnactive_ext.errors import DENIED, NO_SPACE, NnActiveError


@contextmanager
def failing_clearly() -> Iterator[None]:
    """Turn errors the user can mend into a message and an exit status; others keep their traceback."""
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
        _stop("Interrupted. Run the same command again to go on.", 130)


def _stop(message: str, status: int) -> None:
    # Names of files may hold bytes that are no UTF-8.
    print(f"ERROR: {message.encode(errors='backslashreplace').decode()}", file=sys.stderr)
    raise SystemExit(status)

"""Many problems as one error, because people mend files in one go."""

from __future__ import annotations

from collections.abc import Sequence

from nnactive_ext.errors import NnActiveError

SHOWN = 20


def refuse(problems: Sequence[str], remedy: str = "") -> None:
    """Raise one :class:`NnActiveError` with the first of ``problems``, how many more there are, and what to do; nothing
    happens if there are none."""
    if problems:
        more = [f"... and {len(problems) - SHOWN} more."] if len(problems) > SHOWN else []
        raise NnActiveError("\n".join([*problems[:SHOWN], *more, *([remedy] if remedy else [])]))

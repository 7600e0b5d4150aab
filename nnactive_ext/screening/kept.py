"""What was measured of images, in files: a screening that was stopped continues, and the next one does not begin again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_arrays, replacing
from nnactive_ext.query_methods.identity import ROOMS, code_digest

FOLDER = "measured"


@dataclass(frozen=True)
class Kept:
    """``CASE.KIND.npz`` in a folder; each is good for exactly the facts that it was written for."""

    folder: Path

    def read(self, case: str, kind: str, facts: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
        """The arrays; None if they are not there, damaged, or good for other facts."""
        good_for = _digest(facts)
        try:
            content = read_arrays(self._file(case, kind))
        except NnActiveError:
            return None
        return content if str(content.pop("for", "")) == good_for else None

    def write(self, case: str, kind: str, facts: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        """Write arrays, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self._file(case, kind)) as temporary, open(temporary, "wb") as handle:
            np.savez(handle, **{"for": np.array(_digest(facts)), **arrays})  # type: ignore[arg-type]

    def _file(self, case: str, kind: str) -> Path:
        return self.folder / f"{case}.{kind}.npz"


def _digest(facts: Mapping[str, Any]) -> str:
    content = {**facts, "code": code_digest(rooms=(*ROOMS, "ood", "screening"))}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

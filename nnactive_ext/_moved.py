"""The addresses of modules before they had rooms; importing one loads the module at its new address, with a warning."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

MOVED = {
    "annotators": "labelling.annotators",
    "budget": "planning.sizes",
    "dataset": "nnunet.dataset",
    "ensemble": "members.ensemble",
    "environment": "nnunet.environment",
    "labels": "labelling.labels",
    "loops": "experiment.loops",
    "patch": "geometry.patch",
    "preprocessing": "nnunet.preprocessing",
    "query": "querying.query",
    "statistics": "members.statistics",
    "text_report": "loop.tables",
    "timing": "experiment.timing",
    "annotation.viewers.napari": "exchange.viewers.napari",
}
"""Old address -> new address, both below ``nnactive_ext``: what the documentation named before the moves."""


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Comes last among the finders, so it is asked only for what does not exist."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, old = fullname.partition(".")
        if package != "nnactive_ext":
            return None
        if old in MOVED:
            return importlib.machinery.ModuleSpec(fullname, self, origin=MOVED[old])
        if any(name.startswith(f"{old}.") for name in MOVED):  # a folder that no longer exists
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        if spec.origin is None:
            return None
        new = f"nnactive_ext.{spec.origin}"
        warnings.warn(f"{spec.name} is {new} now; import it from there.", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(new)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """The module was executed under its new name; it gets back the spec that the import system replaced."""
        if module.__spec__ is not None and module.__spec__.loader_state is not None:
            module.__spec__ = module.__spec__.loader_state


def keep_old_addresses() -> None:
    """Let old addresses be imported."""
    sys.meta_path.append(_Finder())

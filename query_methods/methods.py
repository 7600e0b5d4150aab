"""The query methods by name: each is one line, a value composed of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.query_methods import external
from nnactive_ext.query_methods.base import DrawnMethod, RankedMethod
from nnactive_ext.query_methods.choices import Covering, Farthest, PlusPlus, Ratio, Typical
from nnactive_ext.query_methods.comparison import FOREGROUND, Comparison
from nnactive_ext.query_methods.laser import Laser
from nnactive_ext.query_methods.options import with_options
from nnactive_ext.query_methods.perturbation import Schedule
from nnactive_ext.query_methods.precomputed import Precomputed
from nnactive_ext.query_methods.random_patches import RandomPatches
from nnactive_ext.query_methods.scores import bald, expected_entropy, least_confidence, margin, predictive_entropy
from nnactive_ext.query_methods.uncertainty import Uncertainty

Method = RankedMethod | DrawnMethod

DEFAULT = "clasp_pe"

METHODS: tuple[Uncertainty | RandomPatches | Precomputed | Comparison | Laser, ...] = (
    Uncertainty("clasp_pe", predictive_entropy, Schedule(1, 100), alpha=0.66, cite="ClaSP PE, TMLR 2026; thesis 8.2, D.4"),
    Uncertainty("clap_pe", predictive_entropy, 1.0, alpha=0.66, cite="ClaSP PE, TMLR 2026; thesis 8.2"),
    Uncertainty("cla_pe_66", predictive_entropy, alpha=0.66, cite="ClaSP PE, TMLR 2026; thesis 8.2"),
    Uncertainty("cla_pe_33", predictive_entropy, alpha=0.33, cite="ClaSP PE, TMLR 2026; thesis 8.2"),
    Uncertainty("predictive_entropy", predictive_entropy, cite="nnActive, TMLR 2025; thesis Eq 3.1"),
    Uncertainty("expected_entropy", expected_entropy, cite="thesis Eq 2.10"),
    Uncertainty("bald", bald, cite="nnActive, TMLR 2025; thesis Eq 3.2"),
    Uncertainty("least_confidence", least_confidence, cite="Settles, Active Learning Literature Survey, 2009, 3.1"),
    Uncertainty("margin", margin, cite="Settles, Active Learning Literature Survey, 2009, 3.1"),
    Uncertainty("power_pe", predictive_entropy, 1.0, cite="nnActive, TMLR 2025; thesis Eq 3.3, 7.1"),
    Uncertainty("power_bald", bald, 1.0, cite="nnActive, TMLR 2025; thesis Eq 3.3, 7.1"),
    Uncertainty("softrank_bald", bald, 1.0, perturbation="softrank", cite="nnActive, TMLR 2025; thesis Eq 3.5"),
    Comparison("coreset", Farthest(), FOREGROUND, cite="Core-Set, ICLR 2018; thesis Eq 3.6"),
    Comparison(
        "badge", PlusPlus(), predictive_entropy, features="gradient", labelled=False, cite="BADGE, ICLR 2020; thesis Eq 3.7"
    ),
    Comparison("kmeans_bald", Farthest(), bald, normalise="standard", cite="nnActive's kmeans_bald"),
    Comparison("typiclust", Typical(), FOREGROUND, normalise="unit", cite="TypiClust, ICML 2022"),
    Comparison("probcover", Covering(), FOREGROUND, normalise="unit", cite="ProbCover, NeurIPS 2022"),
    Comparison("sisom", Ratio(), predictive_entropy, features="layers", cite="SISOM, Eq 2-13"),
    Comparison("sisome", Ratio(energy=True), predictive_entropy, features="layers", cite="SISOM, Eq 11"),
    Laser("laser", cite="LaSeR, Algorithm 1"),
    RandomPatches("random", cite="nnActive, TMLR 2025; thesis 7.3"),
    RandomPatches("random_fg_33", foreground=0.33, cite="nnActive, TMLR 2025; thesis 7.3"),
    RandomPatches("random_fg_66", foreground=0.66, cite="nnActive, TMLR 2025; thesis 7.3"),
    Precomputed("precomputed", cite="nnActive's precomputed queries"),
)


def names() -> tuple[str, ...]:
    """The names of our methods, the default first."""
    return tuple(method.name for method in METHODS)


def get(name: str, /, **options: Any) -> Method:
    """The method called ``name``, its ``options`` set to other values; given as text, or as values.

    ``name`` is one of ours, one that an installed package offers (ours come first), or ``path/to/file.py:name`` for a value
    in a user's file. An unknown method, an option it does not have and a value an option cannot take are NnActiveErrors
    that list what is known; so is whatever keeps it from being used at all.

    >>> get("clasp_pe", alpha="0.5", beta="1:50")  # doctest: +ELLIPSIS
    Uncertainty(name='clasp_pe', ..., beta=Schedule(first=1.0, last=50.0, kind='exponential'), alpha=0.5, ...)
    """
    method = with_options(_named(name), options, name)
    if isinstance(method, Precomputed):
        method.folder()  # which says what is wrong with its source
    if isinstance(method, Comparison) and (folder := method.describe.folder) and not Path(folder).is_dir():
        raise NnActiveError(
            f"{folder}: no such folder. features=file:FOLDER names a folder with a file CASE.npz for each case."
        )
    return method


def get_confirmed(name: str, /, **options: Any) -> Method:
    """As :func:`get`, for names that stand in a plan or in another file, which somebody may have sent: a user's file is run
    only if it was confirmed on this machine (:mod:`nnactive_ext.nnunet.trusted`)."""
    external.check_confirmed(name)
    return get(name, **options)


def lasting(name: str, options: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """A method and its options as a plan keeps them: with absolute paths, so they mean the same in every folder."""
    options = dict(options)
    if external.is_in_file(name):
        file, value = external.split(name)
        name = f"{file}:{value}"
    source = options.get("source", "")
    if source and not source.isdecimal() and Path(source).is_dir():
        options["source"] = str(Path(source).absolute())
    kind, colon, folder = options.get("features", "").partition(":")
    if kind == "file" and colon and folder:
        options["features"] = f"file:{Path(folder).absolute()}"
    return name, options


def _named(name: str) -> Method:
    for method in METHODS:
        if method.name == name:
            return method
    if external.is_in_file(name):
        return external.from_file(name)
    installed = external.installed()
    if name in installed:
        return external.from_package(installed[name])
    known = ", ".join((*names(), *(other for other in installed if other not in names())))
    raise NnActiveError(
        f"There is no query method {name!r}. Known: {known}; or path/to/file.py:name for a method in your own file."
    )

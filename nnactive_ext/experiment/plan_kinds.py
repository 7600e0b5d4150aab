"""What the parts of a plan hold that are plain objects: its settings and its changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from nnactive_ext.paths import Name
from nnactive_ext.schemas import Amount, Count, Millimetres, Shape, Share, Spacing, typed

DROPPED, IRRELEVANT, RELEVANT, ADDED = "dropped", "irrelevant", "relevant", "added"
"""Changes of the pool: cases that somebody dropped, that left because of a verdict, that came back, and that are new."""


class PlanSettings(TypedDict, total=False):
    """The settings that are read again after planning; None is what was left open."""

    members: str
    evaluate: str | None
    evaluate_mirroring: str | None
    evaluate_step: float | None
    screen: Share | None
    repeat: Share | None
    relevance: list[str] | None
    start: list[str] | None
    groups: str | None
    series: list[str] | None
    spacing: list[str] | None
    block_size: list[str] | None
    gpu_memory_target: Amount | None
    overwrite_target_spacing: list[Millimetres] | None
    overwrite_plans_name: str | None


class _Geometry(TypedDict):
    shape: Shape
    spacing: Spacing


class _Entry(TypedDict):
    images: list[str]
    label: str


class _Left(TypedDict):
    """What the coming back of a case needs that left the pool."""

    geometry: _Geometry
    entry: _Entry


class _Change(TypedDict):
    what: str


class _Cycles(_Change):
    before: Count


class _Cases(_Change):
    after: list[Name]
    after_cycle: int


class _Seed(_Change):
    before: Count
    after_cycle: int


class _CasesLeft(_Cases):
    left: dict[Name, _Left]


class LabelsChanged(_Change):
    """A change of classes, here and in the ledger."""

    before: dict[str, Count]
    after: dict[str, Count]
    mapping: dict[str, Count]
    operations: list[str]


_KINDS = {
    "cycles": _Cycles,
    "seed": _Seed,
    "references": _Cases,
    DROPPED: _Cases,
    RELEVANT: _Cases,
    ADDED: _Cases,
    IRRELEVANT: _CasesLeft,
    "labels": LabelsChanged,
}


class _Pretrained(TypedDict, total=False):
    file: Name


def check_pretrained(pretrained: Mapping[str, Any]) -> None:
    """The file of pretrained weights, if there is one, lies in the folder for it; ValueError otherwise."""
    typed(_Pretrained, dict(pretrained))


def check_change(change: Mapping[str, Any]) -> None:
    """What every reader of ``change`` looks at is there; ValueError otherwise."""
    found = typed(_Change, dict(change))
    typed(_KINDS.get(found["what"], _Change), found)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Settings that are read again are of their kind; ValueError otherwise."""
    typed(PlanSettings, dict(settings))

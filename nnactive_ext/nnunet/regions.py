"""Regions of region-based training: whether painting them in nnU-Net's order gives every label back, and an order that does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Regions = Mapping[str, frozenset[int]]
"""Name -> the label values in the region, in the order in which nnU-Net paints them."""


def regions_of(names: Mapping[str, Any]) -> dict[str, frozenset[int]]:
    """The regions that nnU-Net makes of the ``labels`` of a dataset.json: all entries but background and ignore."""
    found = {}
    for name, value in names.items():
        region = frozenset(int(v) for v in value) if isinstance(value, (list, tuple)) else frozenset([int(value)])
        if name != "ignore" and region != {0}:
            found[name] = region
    return found


def order_problem(names: Mapping[str, Any], order: Sequence[Any]) -> str:
    """Find out whether nnU-Net's decoding of regions gives every label back.

    nnU-Net paints region after region, in the order of ``labels``, each with its entry of ``regions_class_order``.

    Args:
        names: the ``labels`` of a dataset.json, with regions.
        order: its ``regions_class_order``.

    Returns:
        What is wrong, and labels and an order that are right; empty if a perfect network's regions give back every label map.
    """
    regions = regions_of(names)
    problem = _problem(regions, order)
    return f"{problem}. {_remedy(names, regions)}" if problem else ""


def _problem(regions: Regions, order: Sequence[Any]) -> str:
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in order):
        return f"regions_class_order must hold whole numbers; found {json.dumps(list(order))}"
    if len(order) != len(regions):
        return f"regions_class_order has {len(order)} entries for {len(regions)} regions ({', '.join(regions)})"
    for value, (name, region) in zip(order, regions.items(), strict=True):
        if value not in region:
            return f"regions_class_order paints the region {name} with {value}, which is none of its labels {sorted(region)}"
    for label in sorted(frozenset().union(*regions.values())):
        painted, name = [(value, name) for value, name in zip(order, regions, strict=True) if label in regions[name]][-1]
        if painted != label:
            return (
                f"with the regions_class_order {list(order)}, a perfect network's label {label} would become {painted}: "
                f"{name} is the last region with label {label}, and it is painted with {painted}"
            )
    return ""


def _remedy(names: Mapping[str, Any], regions: Regions) -> str:
    in_order, left = _last_for(list(regions), regions)
    if left:
        in_order, left = _rearranged(regions)
    if left:
        return _impossible(in_order, regions)
    order = [min(label, default=min(regions[name])) for name, label in in_order.items()]
    others = {name: value for name, value in names.items() if name not in regions and name != "ignore"}
    ignore = {name: value for name, value in names.items() if name == "ignore"}
    labels = {**others, **{name: names[name] for name in in_order}, **ignore}
    changed = list(in_order) != list(regions)
    text = f'"labels": {json.dumps(labels)}, ' if changed else ""
    return f'Write {text}"regions_class_order": {json.dumps(order)}'


def _last_for(names: Sequence[str], regions: Regions) -> tuple[dict[str, set[int]], set[str]]:
    """For each region, the labels that it is painted over last; and the regions for which that is more than one."""
    last = {label: name for name in names for label in regions[name]}
    found = {name: {label for label, region in last.items() if region == name} for name in names}
    return found, {name for name, labels in found.items() if len(labels) > 1}


def _rearranged(regions: Regions) -> tuple[dict[str, set[int]], set[str]]:
    """Regions in an order in which each is the last one for a label at most; and those for which there is none.

    The last region to be painted must have one label. Without that label, the same holds for the regions before it; taking any
    region that can be the last one never spoils the choice of the others.
    """
    rest, uncovered = list(regions), set(frozenset().union(*regions.values()))
    backwards: dict[str, set[int]] = {}
    while rest:
        fitting = [name for name in rest if len(regions[name] & uncovered) <= 1]
        if not fitting:
            return {name: set(regions[name] & uncovered) for name in rest}, set(rest)
        backwards[fitting[-1]] = set(regions[fitting[-1]] & uncovered)
        rest.remove(fitting[-1])
        uncovered -= backwards[fitting[-1]]
    return dict(reversed(backwards.items())), set()


def _impossible(mixed: Mapping[str, set[int]], regions: Regions) -> str:
    """Why there is no order: two labels lie in the same regions, or none of the ``mixed`` regions can be painted last."""
    labels = sorted(set().union(*mixed.values()))
    within = {label: frozenset(name for name in regions if label in regions[name]) for label in labels}
    same = [(a, b) for a in labels for b in labels if a < b and within[a] == within[b]]
    if same:
        a, b = same[0]
        why = f"The labels {a} and {b} lie in exactly the same regions ({', '.join(sorted(within[a]))})"
    else:
        a, b = labels[:2]
        why = f"Each of the regions {', '.join(mixed)} has several labels that no other region is for"
    return f"{why}, so no order can tell them apart. Make label {a or b} a region of its own"

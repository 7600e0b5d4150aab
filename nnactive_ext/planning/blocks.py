"""The cases of a roll-out on volumes larger than memory: blocks that are drawn from them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.blocks import BlockTable
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.images.lengths import typed_spacing
from nnactive_ext.intake.find import Found, FoundCase, find
from nnactive_ext.intake.volumes import SIZE, Asked, channels_of, find_blocks
from nnactive_ext.nnunet.dataset import nnunet_folder
from nnactive_ext.planning.options import planned_value
from nnactive_ext.planning.settings import Settings


def cases_in(settings: Settings, classes: Sequence[str]) -> Found:
    """The cases of the folder or volume of a roll-out: its images, or with ``-blocks`` the blocks that are drawn.

    Raises:
        NnActiveError: lists what is wrong with them; or the disk has no room for the blocks.
    """
    folder = settings.folder
    assert folder is not None
    if settings.blocks is None:
        _refuse(settings, ("block_size", "level", "time"), "goes with -blocks N, which draws blocks from a large volume")
        spacing = typed_spacing(settings.spacing) if settings.spacing else None
        named = settings.pattern, settings.label_maps, settings.label_pattern
        return find(folder, settings.channels, *named, classes=list(classes), series=settings.series, spacing=spacing)
    _refuse(settings, ("pattern", "label_maps", "series"), "does not go with -blocks. Leave it out")
    return with_room(find_blocks(folder, asked(settings)))


def channels_in(settings: Settings) -> list[str] | None:
    """The names of the channels that the volumes state."""
    assert settings.folder is not None
    return channels_of(settings.folder, asked(settings))


def asked(settings: Settings) -> Asked:
    """Which blocks a plan wants."""
    spacing = typed_spacing(settings.spacing) if settings.spacing else None
    size, channels = settings.block_size or SIZE, settings.channels
    return Asked(settings.blocks or 0, size, settings.level, settings.time, spacing, settings.seed, channels)


def more_blocks(experiment: Experiment, path: Path, number: int, spacing: Sequence[str] | None) -> Found:
    """Draw ``number`` blocks more, of the planned size and level, none of which overlaps one that exists or was dropped."""
    plan = experiment.plan
    typed = spacing or planned_value(plan, "spacing")
    size, level, time = (planned_value(plan, name) for name in ("block_size", "level", "time"))
    mm = typed_spacing(typed) if typed else None
    channels = list(experiment.dataset.json["channel_names"].values())
    wanted = Asked(number, size or SIZE, level or 0, time, mm, plan.seed, channels)
    return with_room(find_blocks(path, wanted, list(BlockTable.read(experiment.raw).blocks.values())))


def with_room(found: Found) -> Found:
    """``found``; an error where the disk of nnUNet_raw has no room for its blocks."""
    raw = nnunet_folder("nnUNet_raw")
    needed = sum(source.bytes for case in found.cases.values() for source in case.sources)
    free = shutil.disk_usage(raw).free
    if free < needed:
        raise NnActiveError(
            f"{raw}: the blocks need up to {needed / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free. Free some, or draw fewer "
            "(-blocks) or smaller ones (-block_size)."
        )
    return found


def table_of(found: Mapping[str, FoundCase]) -> BlockTable:
    """The table of those cases that are blocks."""
    return BlockTable({case: block for case, entry in found.items() if (block := entry.sources[0].block)})


def _refuse(settings: Settings, names: Sequence[str], why: str) -> None:
    defaults = {name: Settings.__dataclass_fields__[name].default for name in names}
    for name in names:
        if getattr(settings, name) != defaults[name]:
            raise NnActiveError(f"-{name} {why}.")

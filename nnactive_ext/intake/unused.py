"""What a folder holds besides the images that are used: lost cases are problems, everything else is named."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from nnactive_ext.intake.folder import Contents, Item
from nnactive_ext.intake.passed_over import Note, is_quiet, lost_case, lost_pictures, named, shown
from nnactive_ext.words import count

_MASKS = ("segmentations", "segmentation", "masks", "mask", "labels", "label")
"""Names of folders of label maps inside the folder of a case, as TotalSegmentator and microscopists have them."""
_DISC = "DICOMDIR"
"""The file of a hospital's disc, whose other files that are no DICOM are a viewer and its pictures."""


def unused(
    folder: Path, others: Sequence[Path], there: Contents, labels: Path | None, chosen: bool
) -> tuple[list[str], list[Note]]:
    """What a folder of images holds besides them.

    Args:
        folder: the folder of images.
        others: the files in it that are no images, without label maps that were given.
        there: all that it holds.
        labels: the folder of label maps, which may be one of its folders.
        chosen: a pattern chooses images, and what it does not choose is no problem.

    Returns:
        Problems of what looks like cases that are lost, and what else is not used.
    """
    discs = [path.parent for path in others if path.name.upper() == _DISC and path.parent != folder]
    heard = [path for path in others if not is_quiet(path)]
    software = [path for path in heard if any(disc in path.parents for disc in discs)]
    heard = [path for path in heard if path not in set(software)]
    pictures = [stack for stack in there.pictures if not any(disc in stack[0].parents for disc in discs)]
    software += [file for stack in there.pictures if stack not in pictures for file in stack]
    images = {(folder / item.name).as_posix().lower() for item in there.items}
    lost = {path: text for path in heard if not _copy_of(path, images) and (text := lost_case(path))}
    problems = [] if chosen else [*lost.values(), *map(lost_pictures, pictures)]
    problems += [] if chosen else [f"{path}: too deep a folder to be looked into. Move it up." for path in there.deep]
    skipped = [file for stack in pictures for file in stack] if chosen else []
    notes = named(folder, [*(path for path in heard if chosen or path not in lost), *skipped])
    if software:
        notes.append(Note(count(len(software), "file"), f"passed over, on discs with a DICOMDIR: {shown(folder, software)}"))
    if there.derived:
        notes.append(Note(count(len(there.derived), "folder"), f"no raw data of BIDS: {shown(folder, there.derived)}"))
    full = {item.parts[0] for item in there.items}
    known = {path.resolve() for path in (*heard, *there.derived, *([labels] if labels else []))}
    folders = (path for path in sorted(folder.iterdir()) if path.is_dir() and path.name not in full)
    empty = [path for path in folders if not _aside(path, known)]
    if empty:
        notes.append(Note(count(len(empty), "folder"), f"no image in it: {shown(folder, empty)}"))
    return problems, notes


def _copy_of(path: Path, images: Collection[str]) -> bool:
    """Whether an image beside a file has its name: it is no other case, but a copy, a transform or the like."""
    words = path.name.lower().split(".")
    return any(path.with_name(".".join(words[:i])).as_posix().lower() in images for i in range(1, len(words)))


def _aside(path: Path, others: Collection[Path]) -> bool:
    """Whether a folder without images is hidden, or named for what lies in it."""
    path = path.resolve()
    return path.name.startswith((".", "__MACOSX")) or any(other == path or path in other.parents for other in others)


def without_masks(folder: Path, items: Sequence[Item]) -> tuple[list[Item], list[Note]]:
    """The images, without the label maps that lie in a folder of their own below that of a case which has an image."""

    def is_mask(item: Item) -> bool:
        return any(part.lower() in _MASKS for part in item.parts[1 : None if item.slices else -1])

    with_images = {item.parts[0] for item in items if not is_mask(item)}
    masks = [item for item in items if len(item.parts) > 1 and is_mask(item) and item.parts[0] in with_images]
    why = "not used; to use them, give their folder with -label_maps"
    text = f"{why}: {shown(folder, [item.path for item in masks])}" if masks else ""
    left_out = set(map(id, masks))
    images = [item for item in items if id(item) not in left_out]
    return images, [Note(count(len(masks), "label map"), text)] if masks else []

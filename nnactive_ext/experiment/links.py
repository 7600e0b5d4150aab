"""Links in the folders of an experiment, which somebody else may have sent: through them, files elsewhere would be written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.nnunet.dataset import nnunet_folder
from nnactive_ext.nnunet.environment import FOLDERS
from nnactive_ext.paths import TEMPORARY, check_no_link, is_link


def check_links(name: str, source: Path, never: Iterable[Path], inside: Iterable[Path]) -> None:
    """Refuse links that the user has no reason to make.

    Directly in the dataset's folders in nnU-Net's three folders, a folder may be a link to anywhere but another dataset.

    Args:
        name: the dataset's.
        source: the dataset that it was planned from.
        never: folders that are no links.
        inside: folders in which nothing is a link: files there are added to, or written by nnU-Net.

    Raises:
        NnActiveError: names the link.
    """
    for path in _links(nnunet_folder(variable) / name for variable in FOLDERS):
        if not path.is_dir():
            check_no_link(path)
        _check_target(path, name, source)
    for path in (*never, *_links(inside)):
        check_no_link(path)


def _links(folders: Iterable[Path]) -> Iterator[Path]:
    """The links directly in folders, as far as these exist; those with temporary names are about to be removed."""
    for folder in folders:
        try:
            names = sorted(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            continue
        yield from (folder / name for name in names if not name.startswith(TEMPORARY) and is_link(folder / name))


def _check_target(link: Path, name: str, source: Path) -> None:
    """A link to a folder may lead anywhere but to where other datasets are."""
    target = link.resolve()
    roots = [nnunet_folder(variable).resolve() for variable in FOLDERS]
    above = any(root.is_relative_to(target) for root in roots)
    of_other = any(target.is_relative_to(root) and target.relative_to(root).parts[:1] != (name,) for root in roots)
    if above or of_other or target.is_relative_to(source.resolve()):
        raise NnActiveError(
            f"{link}: is a link to {target}, which is not of this experiment, and what is written there would replace files of "
            "another dataset. Replace the link by a folder."
        )

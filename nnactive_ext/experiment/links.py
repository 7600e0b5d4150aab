"""Links in the folders of an experiment, which somebody else may have sent: through them, files elsewhere would be written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nnactive_ext.errors import NnActiveError
from nnactive_ext.nnunet.dataset import nnunet_folder
from nnactive_ext.nnunet.environment import FOLDERS
from nnactive_ext.paths import check_no_link, is_link

if TYPE_CHECKING:
    from nnactive_ext.experiment.experiment import Experiment


def check_links(experiment: Experiment) -> None:
    """Refuse links that the user has no reason to make.

    Directly in the experiment's folders in nnU-Net's three folders, a folder may be a link to anywhere but another dataset.
    Deeper, where something is added to a file or nnU-Net writes, nothing may be one.

    Raises:
        NnActiveError: names the link.
    """
    for path in _links([nnunet_folder(variable) / experiment.name for variable in FOLDERS]):
        if not path.is_dir():
            check_no_link(path)
        _check_target(path, experiment)
    model = experiment.model_folder
    deeper = [experiment.annotation, experiment.raw / "tasks", experiment.results, *experiment.results.glob("cycle_*")]
    for path in (experiment.annotation, *_links([*deeper, model, *model.glob("fold_*")])):
        check_no_link(path)


def _links(folders: Iterable[Path]) -> Iterator[Path]:
    """The links directly in folders, as far as these exist."""
    for folder in folders:
        try:
            names = sorted(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            continue
        yield from (folder / name for name in names if is_link(folder / name))


def _check_target(link: Path, experiment: Experiment) -> None:
    """A link to a folder may lead anywhere but to where other datasets are."""
    target = link.resolve()
    roots = [nnunet_folder(variable).resolve() for variable in FOLDERS]
    above = any(root.is_relative_to(target) for root in roots)
    of_other = any(target.is_relative_to(root) and target.relative_to(root).parts[:1] != (experiment.name,) for root in roots)
    if above or of_other or target.is_relative_to(experiment.source.folder.resolve()):
        raise NnActiveError(
            f"{link}: is a link to {target}, which is not of this experiment, and what is written there would replace files of "
            "another dataset. Replace the link by a folder."
        )

"""Everything that any viewer opens, for one task and for a list of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nnactive_ext.exchange.view import View
from nnactive_ext.exchange.viewers import facts, itksnap, mitk, plain, slicer


def write_task(view: View) -> None:
    """Into the task's folder, where its images and labels are already."""
    facts.write(view)
    slicer.write(view)
    itksnap.write(view)
    mitk.write(view)


def write_list(
    views: Sequence[View], folder: Path, names: Mapping[str, int], number: int, name: str, pages: bool = False
) -> None:
    """Into ``folder``, which holds the folders of ``views``: the list is called ``name``, ``number`` is the dataset's, and some
    tasks hold a page to annotate in (``pages``)."""
    itksnap.write_labels(names, folder / "labels.txt")
    slicer.write_colours(names, folder / "labels.ctbl")
    mitk.write_labels(names, folder / mitk.LABELS)
    mitk.write_list(views, folder, name)
    plain.write_readme(folder, views, names, number, name, pages)

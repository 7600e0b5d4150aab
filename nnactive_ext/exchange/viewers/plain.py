"""README.txt: what to do, for whoever has the folder of tasks and any viewer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nnactive_ext.exchange.view import View
from nnactive_ext.experiment.commands import hand_in
from nnactive_ext.files import write_text
from nnactive_ext.pages.colours import IGNORE

_TEXT = """\
Patches to annotate: {count} ({name})

Each folder here is one task: a part of an image with one patch to annotate. Viewers draw the patch as a box.

    image_*.nii.gz    the image, one file per channel
    <task>.nii.gz     the label map to edit

WHAT TO DO

- Label every voxel inside the box. Background needs no paint.
- {start}
- Voxels inside the box that are "{ignore}" when you open the task are open. Label them, too.
- Outside the box everything is "{ignore}", which means: not annotated. Leave it so. Changes
  outside the box are skipped.
- Paint voxels inside the box that you cannot decide as "{ignore}".
- Save under the name the file has, or any name that begins with the task's, even if nothing had to be changed: a
  file that was never saved counts as not done. Image and voxel size must stay as they are.
- The rest of the image shows what surrounds the box.

LABELS

{labels}

HOW TO OPEN A TASK

{browser}3D Slicer 5   Slicer --python-script <task>/open_in_slicer.py
              Sets up everything; paints in the box only. Save the segmentation as <task>.seg.nrrd, as proposed. Leave the
              segment "query_box" as it is. The box alone: box.mrk.json. Colours: labels.ctbl. If you export a label map
              instead, export visible segments only, and send the file with the names beside it (<task>.labels.csv).
ITK-SNAP      itksnap -w <task>/task.itksnap
              Paints only where nothing is painted yet, and so in the box only. To change a label, choose it and erase (right
              button), or choose to paint over all labels. Save the segmentation image. Names and colours: labels.txt.
MITK          Open {list} and load one task after the other. "{ignore}" is locked. Accepted results
              are <task>/<task>_mitk.nrrd.
napari        pip install "nnactive-ext[napari]"; then drop the task's folder on the window, reader "nnActive annotation
              tasks". Only the box can be painted. Save the selected labels layer as <task>.nii.gz in the task's folder.
              A stack (<task>.tif) says nothing of its place and is taken only if its shape leaves no doubt.
Any other     Edit <task>.nii.gz. task.json has the box, in voxels and in mm.

nnInteractive and other tools that segment from clicks work as usual: use them inside the box. Labels
that they add outside are skipped.

HOW TO HAND IN

    {hand_in}

FOLDER is this folder or a copy of it, NAME is your name. The name of each file must begin with the name of its task.
Files in other formats are refused together with their task: save them as .nii.gz, .nrrd or .seg.nrrd.
"""


_BROWSER = """\
Browser       Open <task>/annotate.html in a current Firefox, Chrome or Edge; niivue.js must lie beside index.html. "Done" saves
              <task>_<time>.nii.gz in the browser's folder for downloads: hand that file in.
"""


def write_readme(
    folder: Path, views: Sequence[View], names: Mapping[str, int], number: int, name: str, pages: bool = False
) -> None:
    """``README.txt`` in ``folder`` for the tasks called ``name`` of dataset ``number``; ``pages``: some hold an editor."""
    start = "The box starts empty, as background."
    if any(view.predicted for view in views):
        start = "The box starts with what a model predicts: correct it."
    if blank := sorted({name for view in views for name in view.blank}):
        start += f" These classes start blank, because the model does not find them well yet: {', '.join(blank)}."
    labels = "\n".join(f"    {value:5}  {label}" for label, value in names.items())
    text = _TEXT.format(
        count=len(views),
        name=name,
        start=start,
        browser=_BROWSER if pages else "",
        ignore=IGNORE,
        labels=labels,
        list=f"{name}_mitk.json",
        hand_in=hand_in(number, who="NAME"),
    )
    write_text(folder / "README.txt", text)

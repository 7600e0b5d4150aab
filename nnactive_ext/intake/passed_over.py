"""Files and folders beside the images that are not used: without a word, named in the plan, or refused as lost cases."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnactive_ext.words import count, listed

_TEXTS = (
    *(".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".log"),
    *(".xlsx", ".xls", ".ods", ".pdf", ".doc", ".docx", ".odt", ".rtf", ".ppt", ".pptx", ".html", ".htm", ".url", ".bib"),
    *(".py", ".ipynb", ".m", ".r", ".rmd", ".sh", ".bat", ".ijm", ".groovy", ".pyc"),
)
_BESIDE = (
    *(".md5", ".sha1", ".sha256", ".sha512", ".sfv", ".bval", ".bvec", ".bvals", ".bvecs", ".db", ".lnk"),
    *(".fcsv", ".ctbl", ".itksnap", ".annot", ".bidsignore"),
)
_QUIET = re.compile(
    r"readme|licen[cs]e|changes|changelog|copying|authors|citation|md5sums?|sha\d+sums?|dicomdir", re.IGNORECASE
)
"""Names without an ending that say what they are."""
_UNPACK = (".zip", ".7z", ".rar", ".tar", ".tgz", ".tbz2", ".txz", ".gz", ".bz2", ".xz", ".zst", ".lz4", ".z")
_MICROSCOPE = (
    *(".czi", ".lif", ".lof", ".nd2", ".lsm", ".ims", ".oib", ".oif", ".oir", ".dv", ".stk", ".vsi", ".svs", ".ndpi", ".mrxs"),
    *(".sld", ".ics", ".ids", ".tf2", ".tf8", ".btf", ".zvi", ".flex"),
)
_ARRAYS = (".npy", ".npz", ".h5", ".hdf5", ".hdf", ".mat", ".n5", ".b2nd", ".raw", ".zraw")
_VOLUMES = (
    *(".mgz", ".mgh", ".gipl", ".mnc", ".mrc", ".rec", ".vtk", ".vti", ".am", ".img", ".hdr"),
    *(".ccp4", ".vol", ".brik", ".head"),
)
_UNFINISHED = (".part", ".partial", ".crdownload", ".filepart", ".download", ".!ut")
_INSIDE = re.compile(r"\.(nii|nrrd|mh[ad]|dcm|tiff?)[^a-z]", re.IGNORECASE)
PICTURES = (".bmp", ".jpg", ".jpeg", ".gif", ".webp", ".png")
_REMEDIES = (
    (_UNFINISHED, "an unfinished download. Download it again"),
    (_UNPACK, "a compressed file or an archive. Unpack it"),
    (_MICROSCOPE, "a microscope's own format. Save it as OME-TIFF, for example with Fiji (Bio-Formats)"),
    ((".zarr",), "a volume that is read in blocks. Plan from it with -blocks (docs/large_volumes.md), save it as NIfTI"),
    (_ARRAYS, "an array without a place and a spacing that could be read. Save it as NIfTI (nibabel) or as TIFF (tifffile)"),
    (_VOLUMES, "this format is not supported. Convert it to .nii.gz, for example with 3D Slicer"),
)
_OR = ", or move it out of the folder."


@dataclass(frozen=True)
class Note:
    """A row of the plan: ``value``, what was found, and ``why``, where it is and what was done."""

    value: str
    why: str


def lost_case(path: Path) -> str:
    """Why a file or folder that is no image we read looks like a case, with its path and what to do; "" if it does not."""
    name = path.name.lower()
    if is_quiet(path) or name.endswith(PICTURES):
        return ""
    for endings, says in _REMEDIES:
        if name.endswith(endings):
            return f"{path}: {says}{_OR}"
    if _INSIDE.search(path.name):
        return f"{path}: an image by a part of its name, but not by its ending. Rename it{_OR}"
    return ""


def lost_pictures(pictures: Sequence[Path]) -> str:
    """As :func:`lost_case`, of a folder of numbered pictures whose format loses grey values."""
    folder, endings = pictures[0].parent, {file.suffix.lower() for file in pictures}
    what = f"{len(pictures)} numbered {listed(sorted(endings))} pictures"
    return f"{folder}: {what}, whose grey values may have changed. If they are slices, save them as PNG or TIFF{_OR}"


def is_quiet(path: Path) -> bool:
    """Whether nobody takes it for an image, so that nobody needs to be told."""
    name = path.name.lower()
    text = name[:-3] if name.endswith(".gz") else name
    return text.endswith((*_TEXTS, *_BESIDE)) or bool(_QUIET.fullmatch(path.stem if path.suffix else name))


def named(folder: Path, others: Iterable[Path]) -> list[Note]:
    """The rows that name files which are neither used nor refused, one for each ending."""
    by_ending: dict[str, list[Path]] = defaultdict(list)
    for path in others:
        by_ending[path.suffix.lower() if path.suffix else "without an ending"].append(path)
    rows = []
    for ending, paths in sorted(by_ending.items()):
        what = f"{count(len(paths), 'file')} {ending}"
        rows.append(Note(what, f"passed over: {shown(folder, paths)}"))
    return rows


def shown(folder: Path, paths: Sequence[Path], most: int = 3) -> str:
    """Paths below ``folder``, the first of many."""
    return listed([path.relative_to(folder).as_posix() for path in sorted(paths)], most)

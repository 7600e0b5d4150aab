"""The files of the user about relevance: ``similarity.csv`` or ``embeddings.npz``, beside ``texts.csv``, in one folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_arrays
from nnactive_ext.geometry.patch import Patch, Triple, triple
from nnactive_ext.intake.case_tables import cases_of, unsure
from nnactive_ext.intake.tables import Line, read_table
from nnactive_ext.relevance.similarity import cosines
from nnactive_ext.relevance.texts import TEXTS, Texts, read_texts
from nnactive_ext.words import count, listed, plural

SIMILARITY, EMBEDDINGS = "similarity.csv", "embeddings.npz"
ARRAYS = ("cases", "image", "texts", "text")
CORPUS, SCALE = "corpus", "logit_scale"
"""Arrays of ``embeddings.npz`` that only TANL needs: embeddings of many words (M, D), and the factor of their cosines."""
BOX = ("start_z", "start_y", "start_x", "size_z", "size_y", "size_x")
_ROUNDING = 1e-6
"""Cosines of single precision may exceed 1 by a little."""


@dataclass(frozen=True)
class Similarity:
    """``of``: case -> its cosine with each text, float64 (T,); where a case has several rows or views, the largest. ``boxed``:
    cases with rows for boxes."""

    texts: Texts
    of: Mapping[str, np.ndarray]
    boxed: Collection[str] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the files."""
        if not self.boxed:
            return self.texts.notes
        of = f"{count(len(self.boxed), 'case')} {plural(len(self.boxed), 'has', 'have')} rows for boxes in {SIMILARITY}"
        return (
            *self.texts.notes,
            f"{of}. They count as views of the case: the largest similarity says how relevant all of it is.",
        )

    def rows(self, cases: Sequence[str]) -> np.ndarray:
        """Float64 (N, T), a row for each of ``cases``."""
        return np.array([self.of[case] for case in cases]).reshape(len(cases), len(self.texts.texts))


@dataclass(frozen=True)
class Words:
    """For TANL: cosines of ``cases`` with the relevant texts (N, K) and with many words (N, M), and their ``scale``."""

    cases: tuple[str, ...]
    relevant: np.ndarray
    corpus: np.ndarray
    scale: float


def read_similarity(
    folder: Path, needed: Mapping[str, Triple], known: Collection[str], labels: Collection[str]
) -> Similarity | None:
    """The similarity of cases to texts that a folder holds.

    Args:
        folder: the user's; all of its files are optional.
        needed: case that must have a row -> voxels (z, y, x) of its image.
        known: other cases that may have one, such as those of the test set.
        labels: the classes of the experiment.

    Returns:
        None if there is no similarity yet.

    Raises:
        NnActiveError: there is no such folder, or a file is damaged, names an unknown case or text, lacks a case or text, or
            holds a number that is no cosine.
    """
    if not folder.is_dir():
        raise NnActiveError(f"-relevance {folder}: no such folder. Name the folder with {TEXTS} and {SIMILARITY}.")
    table, arrays = folder / SIMILARITY, folder / EMBEDDINGS
    if table.is_file() and arrays.is_file():
        raise NnActiveError(f"{folder}: {SIMILARITY} and {EMBEDDINGS} both give similarities. Keep one of them.")
    if not (table.is_file() or arrays.is_file()):
        return None
    if not (folder / TEXTS).is_file():
        raise NnActiveError(f"{folder / TEXTS}: no such file. It says which texts of {table.name} are relevant.")
    texts = read_texts(folder / TEXTS, labels)
    boxed: set[str] = set()
    if table.is_file():
        found = _table(table, texts, needed, {*needed, *known}, boxed)
    else:
        found = _embedded(arrays, texts, {*needed, *known})
    file = table if table.is_file() else arrays
    if missing := [case for case in needed if case not in found]:
        raise NnActiveError(f"{file}: there is nothing about {listed(sorted(missing))}. Add these cases.")
    return Similarity(texts, found, boxed)


def _table(
    file: Path, texts: Texts, shapes: Mapping[str, Triple], known: Collection[str], boxed: set[str]
) -> dict[str, np.ndarray]:
    """The rows by case; cases with rows for boxes are added to ``boxed``."""
    lines = read_table(file)
    if not lines:
        raise NnActiveError(f"{file}: it is empty. Its first line must be case and the ids of {TEXTS}.")
    names, boxes = lines[0].cells, [name for name in BOX if name in lines[0].cells]
    if "case" not in names or len(set(names)) < len(names) or len(boxes) not in (0, len(BOX)):
        raise NnActiveError(
            f"{file}: its first line must be case, the ids of {TEXTS} and, for boxes, {', '.join(BOX)}, each once; it is "
            f"{','.join(names)}."
        )
    _check_ids(file, [name for name in names if name not in ("case", *BOX)], texts)
    found: dict[str, np.ndarray] = {}
    seen: set[tuple[str, str]] = set()
    for line in lines[1:]:
        if len(line.cells) != len(names):
            raise NnActiveError(f"{file}, line {line.number}: it has {len(line.cells)} cells, the first line {len(names)}.")
        cells = dict(zip(names, line.cells, strict=True))
        case = _case(f"{file}, line {line.number}", cells["case"], known)
        box = ",".join(cells[name] for name in boxes)
        if (case, box) in seen:
            raise NnActiveError(f"{file}, line {line.number}: {case} is there twice. Keep one of its lines.")
        seen.add((case, box))
        if box.strip(","):
            _check_box(file, line, [cells[name] for name in BOX], case, shapes)
            boxed.add(case)
        row = np.array([_number(file, line, cells[name], name) for name in texts.ids])
        found[case] = np.maximum(found[case], row) if case in found else row
    return found


def _check_ids(file: Path, given: Sequence[str], texts: Texts) -> None:
    if unknown := [name for name in given if name not in texts.ids]:
        raise NnActiveError(f"{file}: {TEXTS} has no text {listed(unknown)}. Its ids are {listed(list(texts.ids))}.")
    if missing := [name for name in texts.ids if name not in given]:
        raise NnActiveError(f"{file}: there is nothing about the text {listed(missing)} of {TEXTS}. Add it.")
    if len(set(given)) < len(given):
        raise NnActiveError(f"{file}: a text is there twice: {', '.join(given)}. Keep each once.")


def _case(where: str, name: str, known: Collection[str]) -> str:
    cases = cases_of(name, known)
    if len(cases) != 1:
        what = f"may be {unsure(cases)}" if cases else f"is no case of the experiment, which has {listed(sorted(known), 3)}."
        raise NnActiveError(f"{where}: {name!r} {what}")
    return cases[0]


def _check_box(file: Path, line: Line, cells: Sequence[str], case: str, shapes: Mapping[str, Triple]) -> None:
    numbers = [int(cell) if cell.lstrip("-").isdecimal() else -1 for cell in cells]
    inside = Patch(case, triple(numbers[:3]), triple(numbers[3:])).inside(shapes.get(case, (1 << 30,) * 3))
    if not inside:
        raise NnActiveError(
            f"{file}, line {line.number}: the box at {', '.join(cells[:3])} of size {', '.join(cells[3:])} is not inside the "
            f"image of {case}. Boxes are in voxels (z, y, x) of the image as nnU-Net reads it."
        )


def _number(file: Path, line: Line, cell: str, name: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    if not abs(value) <= 1 + _ROUNDING:  # also NaN
        raise NnActiveError(
            f"{file}, line {line.number}: {name} is {cell!r}. Write the cosine similarity, a number from -1 to 1."
        )
    return min(max(value, -1.0), 1.0)


def _arrays(file: Path, more: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of ``embeddings.npz``, checked one by one."""
    remedy = f"It needs the arrays {', '.join(ARRAYS)}, written with numpy.savez and without pickled objects."
    content = read_arrays(file, remedy)
    if missing := [key for key in ARRAYS if key not in content]:
        raise NnActiveError(f"{file}: cannot be read as embeddings ({listed(missing)} missing). {remedy}")
    read = {key: content[key] for key in (*ARRAYS, *(key for key in more if key in content))}
    cases, images, ids, texts = (read[key] for key in ARRAYS)
    width = texts.shape[-1] if texts.ndim == 2 else -1
    shapes = ", ".join(f"{key} {value.shape}" for key, value in read.items())
    if cases.ndim != 1 or ids.ndim != 1 or images.ndim not in (2, 3) or len(images) != len(cases) or 0 in images.shape:
        raise NnActiveError(f"{file}: {shapes}. It needs cases (N,), image (N, D) or (N, views, D), texts (K,), text (K, D).")
    if width != images.shape[-1] or len(texts) != len(ids) or read.get(CORPUS, texts).shape[1:] != (width,):
        raise NnActiveError(f"{file}: {shapes}. Images, texts and words must be embedded by one model, in D dimensions.")
    for key, array in (("image", images), ("text", texts), (CORPUS, read.get(CORPUS, texts))):
        lengths = np.linalg.norm(array, axis=-1) if np.issubdtype(array.dtype, np.number) else np.array(np.nan)
        if not (np.isfinite(lengths).all() and (lengths > 0).all()):
            bad = np.argwhere(~(np.isfinite(lengths) & (lengths > 0)))[0].tolist()
            which = str(cases[bad[0]]) if key == "image" and bad else str(bad)
            raise NnActiveError(f"{file}: {key} of {which} holds NaN, or is 0 everywhere. Embed it again.")
    return read


def _embedded(file: Path, texts: Texts, known: Collection[str]) -> dict[str, np.ndarray]:
    read = _arrays(file)
    names, ids = _named(file, read, texts, known)
    found = cosines(read["image"], read["text"][[ids.index(one) for one in texts.ids]])
    return dict(zip(names, found, strict=True))


def _named(
    file: Path, read: Mapping[str, np.ndarray], texts: Texts, known: Collection[str]
) -> tuple[tuple[str, ...], list[str]]:
    """The cases and the ids of the texts of ``embeddings.npz``, in its order."""
    ids = [str(one) for one in read["texts"]]
    _check_ids(file, ids, texts)
    names = tuple(_case(str(file), str(one), known) for one in read["cases"])
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise NnActiveError(
            f"{file}: {listed(twice)} is there twice. Give several embeddings of a case as views, (N, views, D)."
        )
    return names, ids


def read_words(folder: Path, known: Collection[str], labels: Collection[str]) -> Words:
    """What TANL needs of ``embeddings.npz``: its array ``corpus`` besides, and ``logit_scale`` if there is one.

    Args:
        folder: the user's.
        known: the cases that it may hold.
        labels: the classes of the experiment.

    Returns:
        The cosines of all cases in the file.

    Raises:
        NnActiveError: as :func:`read_similarity`; or there is no corpus.
    """
    from nnactive_ext.ood.negative_labels import SCALE as CLIP

    file = folder / EMBEDDINGS
    if not file.is_file():
        raise NnActiveError(f"{file}: no such file. tanl needs embeddings of images, of texts and of many words.")
    read = _arrays(file, (CORPUS, SCALE))
    if CORPUS not in read or not len(read[CORPUS]):
        raise NnActiveError(f"{file}: there is no array {CORPUS}. tanl needs the embeddings of many words, (M, D).")
    scale = float(read[SCALE]) if SCALE in read and read[SCALE].size == 1 else CLIP
    if not (np.isfinite(scale) and scale > 0):
        raise NnActiveError(f"{file}: {SCALE} is {scale}. Write a number above 0, or leave it out.")
    texts = read_texts(folder / TEXTS, labels)
    names, ids = _named(file, read, texts, known)
    relevant = [ids.index(one.id) for one in texts.texts if one.relevant]
    return Words(names, cosines(read["image"], read["text"][relevant]), cosines(read["image"], read[CORPUS]), scale)

"""What methods that compare patches know of the candidates of a case, stored beside its ranking."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_arrays, replacing
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.nnunet.dataset import Labels
from nnactive_ext.query_methods.base import Content, Described


def write_described(file: Path, described: Described, digest: str) -> None:
    """Write ``CASE.npz``, whole or not at all: ``candidate`` and ``annotated`` (descriptors), ``for`` (the digest) and more."""
    assert described.vectors is not None
    arrays = {
        "for": np.array(digest),
        "candidate": described.vectors[0],
        "annotated": described.vectors[1],
        "sections": np.array(described.sections, int),
        "labelled": described.labelled,
        "entropy": described.entropy,
        "dropped": np.array(described.dropped),
        "candidate_predicted": described.predicted[0],
        "annotated_predicted": described.predicted[1],
        "candidate_energy": described.energy[0],
        "annotated_energy": described.energy[1],
    }
    with replacing(file) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, **arrays)  # type: ignore[arg-type]


def read_described(file: Path, digest: str) -> Described | None:
    """What :func:`write_described` wrote; None if it is not there, damaged, or good for something else than ``digest``."""
    try:
        content = read_arrays(file)
        if str(content["for"]) != digest:
            return None
        return Described(
            predicted=(content["candidate_predicted"], content["annotated_predicted"]),
            labelled=content["labelled"],
            entropy=content["entropy"],
            energy=(content["candidate_energy"], content["annotated_energy"]),
            vectors=(content["candidate"], content["annotated"]),
            sections=tuple(content["sections"].tolist()),
            dropped=int(content["dropped"]),
        )
    except (NnActiveError, KeyError, ValueError, TypeError):
        return None


def content_of(labels: np.ndarray, patches: Sequence[Patch], known: Labels) -> list[Content]:
    """What a label map (z, y, x) with ``ignore`` says of patches, class by class in the network's order."""
    found = []
    for patch in patches:
        here = labels[patch.slices]
        here = here[here != known.ignore]
        voxels = [int(np.isin(here, values).sum()) for values in known.classes.values()]
        every = [value for values in known.classes.values() for value in values]
        found.append(Content(voxels, int(np.isin(here, every).sum()), here.size))
    return found

"""The first patches of an experiment by a query method that needs no trained member (``nnactive_plan -start``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.geometry.patch import Triple
from nnactive_ext.query_methods import methods
from nnactive_ext.query_methods.base import Description, DrawnMethod, PoolCase, Query
from nnactive_ext.query_methods.comparison import Comparison
from nnactive_ext.query_methods.laser import Laser
from nnactive_ext.query_methods.options import method_and_options
from nnactive_ext.querying.descriptor_files import DescriptorFiles
from nnactive_ext.querying.pool import request_for
from nnactive_ext.querying.relevant import similarity_of
from nnactive_ext.relevance.deciding import by_texts


def starting_method(words: Sequence[str], human: bool = False) -> DrawnMethod | Comparison | Laser:
    """The method of ``-start NAME KEY=VALUE ...``.

    Args:
        words: the name of the method and its options.
        human: people annotate, so there are no reference labels.

    Raises:
        NnActiveError: there is no such method, or it needs trained members or labels that are not there.
    """
    name, options = method_and_options(words)
    method = methods.get_confirmed(name or "", **options)
    text = f"-start {' '.join(words)}"
    if isinstance(method, Comparison):
        if method.needs_members:
            raise NnActiveError(
                f"{text}: {method.name} needs trained members to describe patches. Give descriptors in files, as in -start "
                "typiclust features=file:FOLDER."
            )
        return method
    if isinstance(method, Laser):
        return method
    if not isinstance(method, DrawnMethod):
        raise NnActiveError(
            f"{text}: {method.name} needs trained members, and there are none yet. Choose a method that needs none, such as "
            "random, or typiclust features=file:FOLDER."
        )
    if method.needs_reference and human:
        raise NnActiveError(f"{text} needs reference labels, which a roll-out does not have. Choose another method.")
    return method


def check_descriptors(method: object, shapes: Mapping[str, Triple], pretrained: bool) -> None:
    """A method whose descriptors will not be there is an error before anything is trained.

    Args:
        method: any query method.
        shapes: case of the pool -> voxels (z, y, x) of its image.
        pretrained: whether members start from pretrained weights.
    """
    description: Description | None = getattr(method, "describe", None)
    if description is None:
        return
    if description.features == "pretrained" and not pretrained:
        raise NnActiveError(
            "features=pretrained describes patches by the weights that members start from. Give them with -pretrained FILE, or "
            "choose features=encoder."
        )
    if description.folder:
        DescriptorFiles(description.folder, shapes)


def start_query(
    experiment: Experiment, method: DrawnMethod | Comparison | Laser, n: int, pool: Mapping[str, PoolCase]
) -> Query:
    """The first ``n`` patches of an experiment that is being planned, by a :func:`starting_method`."""
    request = request_for(experiment, n, -1)
    if isinstance(method, Comparison):
        files = DescriptorFiles(method.describe.folder, {name: case.shape for name, case in pool.items()})
        return method.start(pool, request, files)
    if isinstance(method, Laser):
        similarity = similarity_of(experiment)
        if similarity is None:
            raise NnActiveError(
                f"-start {method.name} needs the similarity of images to texts as long as nobody gave "
                "verdicts. Give it with -relevance FOLDER (docs/open_set.md)."
            )
        known = by_texts(sorted(pool), similarity).cases
        return method.start({name: replace(case, relevance=known[name]) for name, case in pool.items()}, request)
    return method.draw(pool, request)

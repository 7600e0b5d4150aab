"""Screens the pool of an experiment, or new images, and says what is unlike the reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import Fold
from nnactive_ext.labelling.verdicts import irrelevant_cases, relevant_cases
from nnactive_ext.members.ensemble import check_members
from nnactive_ext.ood.flags import FEWEST
from nnactive_ext.screening import names
from nnactive_ext.screening.by_files import with_files
from nnactive_ext.screening.files import screening_folder
from nnactive_ext.screening.images import Image, pool_images
from nnactive_ext.screening.kept import FOLDER, Kept
from nnactive_ext.screening.measuring import Measured, Measuring
from nnactive_ext.screening.network import Network, OpenEnsemble
from nnactive_ext.screening.new_images import NewImages, Reading, new_images
from nnactive_ext.screening.ratios import Annotated
from nnactive_ext.screening.scoring import Options, Screening, judged
from nnactive_ext.words import count, enumerated


def screen_pool(
    experiment: Experiment,
    open_ensemble: OpenEnsemble,
    folds: Sequence[Fold] | None = None,
    options: Options | None = None,
    progress: bool = True,
) -> Screening:
    """Compare each case of the pool with the annotated ones (before the first label: with all others).

    Args:
        experiment: planned. Members of its current cycle are asked if they are trained.
        open_ensemble: opens the members of some folds; it is called only when a case must be predicted.
        folds: the members (default: all of the experiment).
        options: see :class:`Options`.
        progress: show a progress bar.

    Returns:
        All cases with their scores, and which are flagged; no file of it is written but what was measured of each case.

    Raises:
        NnActiveError: a score was named that needs members and they are not trained, or a case cannot be read or predicted.
    """
    options = options or Options()
    wanted, network, notes = _wanted(experiment, open_ensemble, folds, options)
    images = pool_images(experiment)
    measured = with_files(experiment, measuring_of(experiment, network, wanted, options).all(images, progress), wanted)
    reference, compared = _reference(experiment, [image.name for image in images], options)
    scores, more = judged(measured, reference, wanted, options)
    return Screening(
        title=experiment.name,
        measured=measured,
        images=images,
        shown=np.ones(len(measured), bool),
        reference=reference,
        scores=scores,
        compared=compared,
        options=options,
        notes=[*notes, *more],
        facts=_facts(experiment, network),
        relevant=relevant_cases(experiment),
    )


def screen_new(
    experiment: Experiment,
    folder: Path,
    kept: Path,
    open_ensemble: OpenEnsemble,
    folds: Sequence[Fold] | None = None,
    options: Options | None = None,
    progress: bool = True,
) -> Screening:
    """Compare each image of a folder with the annotated cases of an experiment.

    Args:
        experiment: as for :func:`screen_pool`.
        folder: images, as :func:`nnactive_ext.screening.new_images.new_images` takes them.
        kept: where to keep what was measured of them.
        open_ensemble: as for :func:`screen_pool`, as the others.
        folds: the members.
        options: see :class:`Options`.
        progress: show a progress bar.

    Returns:
        The new images with their scores, and the reference, which is not shown.

    Raises:
        NnActiveError: as :func:`screen_pool`; or the folder holds no image that can be screened.
    """
    options = options or Options()
    if named := [score for score in options.scores or () if score in names.FILES]:
        raise NnActiveError(f"-scores {' '.join(named)}: these are for cases of the pool, whose similarity is in files.")
    wanted, network, notes = _wanted(experiment, open_ensemble, folds, options)
    strange = new_images(folder, Reading.of(experiment), progress)
    pool = pool_images(experiment)
    among, compared = _reference(experiment, [image.name for image in pool], options, new=True)
    chosen = [image for image, there in zip(pool, among, strict=True) if there]
    known = measuring_of(experiment, network, wanted, options).all(chosen, progress)
    own = measuring_of(experiment, network, wanted, options, kept).each(strange.images, strange.refused, progress)
    return of_new(
        strange,
        own,
        title=experiment.name,
        measured=known,
        images=chosen,
        wanted=wanted,
        compared=compared,
        options=options,
        notes=notes,
        facts=_facts(experiment, network),
    )


def of_new(
    new: NewImages,
    own: Sequence[tuple[Image, Measured]],
    *,
    title: str,
    measured: Sequence[Measured],
    images: Sequence[Image | None],
    wanted: Sequence[str],
    compared: str,
    options: Options,
    notes: Sequence[str],
    facts: dict[str, Any],
) -> Screening:
    """The screening of ``new`` images, of which ``own`` were measured; ``measured`` and ``images`` are those of the reference.

    An image that no score could judge is refused: nobody may take it for one that is not flagged.
    """
    every, shown = [*measured, *(one for _, one in own)], [*images, *(image for image, _ in own)]
    reference = np.arange(len(every)) < len(measured)
    scores, more = judged(every, reference, wanted, options)
    unknown = np.all([np.isnan(one.z) for one in scores], axis=0) if scores else np.zeros(len(every), bool)
    if reference.sum() >= FEWEST:
        for image in np.flatnonzero(unknown & ~reference).tolist():
            name = every[image].name
            new.refused[name] = f"{name}: {enumerated([one.name for one in scores])} cannot be computed. Look at this image."
    screened = ~reference & ~np.array([one.name in new.refused for one in every], bool)
    told = [*notes, *more, *new.notes]
    return Screening(
        title, every, shown, screened, reference, scores, compared, options, told, facts, new=True, refused=new.refused
    )


def _wanted(
    experiment: Experiment, open_ensemble: OpenEnsemble, folds: Sequence[Fold] | None, options: Options
) -> tuple[Sequence[str], Network | None, list[str]]:
    """The scores that are computed, the members that are asked (None: none), and what is left out."""
    wanted = options.scores or names.DEFAULT
    names.check_scores(wanted, experiment.plan.trainer)
    if not names.needs_members(wanted):
        return wanted, None, []
    try:
        if experiment.state["cycle"] < 0:
            raise NnActiveError(f"{experiment.name} has no labels yet, so no member is trained.")
        chosen = experiment.folds() if folds is None else folds
        check_members(experiment, chosen)
    except NnActiveError as error:
        if options.scores or folds:
            lacking = " ".join(score for score in wanted if score not in (*names.PLAIN, *names.FILES))
            raise NnActiveError(f"-scores {lacking}: members of the current cycle are needed. {error}") from None
        left = [score for score in wanted if score not in names.PLAIN]
        return names.PLAIN, None, [f"{' and '.join(left)} need members that are trained in the current cycle."]
    network = Network.of(experiment, open_ensemble, chosen)
    if options.scores is None and network.single and not network.mirrors(experiment, chosen[0]):
        why = "there is one member, and it was not trained on mirrored images"
        return [score for score in wanted if score != names.DISAGREEMENT], network, [f"No {names.DISAGREEMENT}: {why}."]
    return wanted, network, []


def measuring_of(
    experiment: Experiment,
    network: Network | None,
    wanted: Sequence[str] = names.DEFAULT,
    options: Options | None = None,
    kept: Path | None = None,
) -> Measuring:
    """What measures images of an experiment, and keeps that in ``kept`` (default: where the pool's measurements are)."""
    folder, options = kept or screening_folder(experiment) / FOLDER, options or Options()
    annotated = Annotated.of(experiment) if network and any(score in names.RATIOS for score in wanted) else None
    return Measuring(
        wanted,
        schemes_of(experiment),
        Kept(folder),
        network,
        options.windows,
        options.aggregation,
        annotated,
        new=kept is not None,
    )


def schemes_of(experiment: Experiment) -> list[str]:
    """nnU-Net's normalisation of each channel: as planned, or, before that, as it is going to be."""
    if experiment.state["cycle"] >= 0:
        return list(experiment.preprocessed.manager()[1].normalization_schemes)
    from nnunetv2.preprocessing.normalization.map_channel_name_to_normalization import get_normalization_scheme

    channels = experiment.dataset.json["channel_names"]
    return [get_normalization_scheme(channels[key]).__name__ for key in sorted(channels, key=int)]


def _reference(experiment: Experiment, cases: Sequence[str], options: Options, new: bool = False) -> tuple[np.ndarray, str]:
    """Which cases the others are compared with, bool (N,), and in words. Irrelevant ones are never among them."""
    annotated = {case for case, counts in experiment.state["annotated"].items() if sum(counts.values())}
    out, called = irrelevant_cases(experiment), relevant_cases(experiment)
    everything = options.everything or not annotated
    chosen = (set(cases) if everything else annotated | called) - out
    found = np.array([case in chosen for case in cases])
    number = int(found.sum())
    if everything and new:
        return found, f"{count(number, 'case')} of the pool"
    if everything:
        return found, "each other" if number == len(cases) else f"{count(number, 'case')} of them"
    return found, f"the {number} that are annotated" + (" or called relevant" if called - annotated else "")


def _facts(experiment: Experiment, network: Network | None) -> dict[str, Any]:
    return {"cycle": experiment.state["cycle"], "members": network.facts if network else None}

"""The quantiles of a case's intensities: as stored where absolute values mean something, else preprocessed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nnactive_ext.nnunet.dataset import Case, read_images
from nnactive_ext.nnunet.preprocessing import Preprocessed

STEPS = 101
"""Quantiles at 0, 1, .. 100 %."""
ABSOLUTE = ("CTNormalization", "NoNormalization", "RGBTo01Normalization")
"""nnU-Net's normalisations that treat all images alike, so that an offset or a gain stays visible."""


def quantiles(image: np.ndarray) -> np.ndarray:
    """The 101 quantiles of each channel.

    Args:
        image: numbers (channel, ...). Voxels that are not finite do not count.

    Returns:
        float64 (channel, 101), in the unit of the image; NaN for a channel without a finite voxel.
    """
    found = np.full((len(image), STEPS), np.nan)
    for channel, voxels in enumerate(image):
        finite = voxels[np.isfinite(voxels)]
        if finite.size:
            found[channel] = np.quantile(finite, np.linspace(0, 1, STEPS))
    return found


def quantiles_by_scheme(
    schemes: Sequence[str], stored: Callable[[], np.ndarray], preprocessed: Callable[[], np.ndarray]
) -> np.ndarray:
    """The quantiles of a case, per channel of the image that its normalisation makes comparable.

    Args:
        schemes: nnU-Net's normalisation of each channel, such as ``CTNormalization``.
        stored: reads the image as stored (channel, z, y, x); it is called only if a scheme keeps absolute values.
        preprocessed: reads the preprocessed image (channel, z, y, x); it is called only if a scheme works image by image.

    Returns:
        float64 (channel, 101): in the stored unit for :data:`ABSOLUTE` schemes, else of normalised intensities.
    """
    absolute = np.array([scheme in ABSOLUTE for scheme in schemes])
    found = np.full((len(schemes), STEPS), np.nan)
    for read, chosen in ((stored, absolute), (preprocessed, ~absolute)):
        if chosen.any():
            found[chosen] = quantiles(read()[chosen])
    return found


def quantiles_of_case(case: Case, target: Preprocessed) -> np.ndarray:
    """The quantiles of a case of an experiment, float64 (channel, 101); only the files that are needed are read.

    Raises:
        NnActiveError: an image cannot be read.
    """
    plans, configuration = target.manager()

    def stored() -> np.ndarray:
        return np.asarray(read_images(plans.image_reader_writer_class(), case.images)[0])

    return quantiles_by_scheme(configuration.normalization_schemes, stored, lambda: target.load(case.name)[0])

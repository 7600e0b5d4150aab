"""How similar cases are to texts that describe what is looked for, and less so to texts that describe what is not."""

from __future__ import annotations

import numpy as np

_TEXTS = 5000
"""Texts that are compared at a time, since all views of all images with 100,000 words would fill the memory."""


def text_scores(similarity: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Each relevant text's similarity minus the mean over the irrelevant texts (LaSeR, Eq 1 before its maximum).

    Args:
        similarity: float (N, T), cosines of N cases with T texts.
        relevant: bool (T,), whether a text describes what is looked for; at least one does. A text that is there twice counts
            twice in the mean.

    Returns:
        float64 (N, K) for the K relevant texts, in their order; without irrelevant texts, their cosines.

    >>> text_scores(np.array([[0.31, 0.27, 0.20, 0.22]]), np.array([True, True, False, False])).round(2)
    array([[0.1 , 0.06]])
    """
    similarity, relevant = np.asarray(similarity, np.float64), np.asarray(relevant, bool)
    if not relevant.any():
        raise ValueError("at least one text must be relevant")
    others = similarity[:, ~relevant]
    return similarity[:, relevant] - (others.mean(axis=1, keepdims=True) if others.size else 0.0)


def text_relevance(similarity: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """S_vlm: the largest of :func:`text_scores` (LaSeR, Eq 1).

    Args:
        similarity: float (N, T), cosines of N cases with T texts.
        relevant: bool (T,), whether a text describes what is looked for.

    Returns:
        float64 (N,), from -2 to 2; the higher, the more relevant.
    """
    return text_scores(similarity, relevant).max(axis=1)


def cosines(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """The cosine of each image with each text, the largest over an image's views.

    Args:
        images: float (N, D) or (N, views, D), of any length above 0.
        texts: float (K, D), of any length above 0.

    Returns:
        float64 (N, K), from -1 to 1.
    """
    images = np.asarray(images, np.float64)
    views = images[:, None] if images.ndim == 2 else images
    texts = np.asarray(texts, np.float64)
    views = views / np.linalg.norm(views, axis=-1, keepdims=True)
    texts = texts / np.linalg.norm(texts, axis=-1, keepdims=True)
    found = np.empty((len(views), len(texts)))
    for start in range(0, len(texts), _TEXTS):
        some = slice(start, start + _TEXTS)
        found[:, some] = (views @ texts[some].T).max(axis=1)
    return np.clip(found, -1, 1)

from .detector import can_learn, detected, margins
from .mixing import delta_by_precision, mixed, precision_above_median, scheduled_delta
from .reading import Similarity, Words, read_similarity, read_words
from .similarity import cosines, text_relevance, text_scores
from .texts import Text, Texts, read_texts

__all__ = [
    "Similarity",
    "Text",
    "Texts",
    "Words",
    "can_learn",
    "cosines",
    "delta_by_precision",
    "detected",
    "margins",
    "mixed",
    "precision_above_median",
    "read_similarity",
    "read_texts",
    "read_words",
    "scheduled_delta",
    "text_relevance",
    "text_scores",
]

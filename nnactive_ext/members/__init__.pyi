from .cross_validation import cross_validate
from .ensemble import Ensemble, NnUNetEnsemble
from .evaluation import evaluate
from .model_zip import export_model
from .statistics import RunningStatistics
from .training import train_member
from .validating import validate
from .whole import predict_volume

__all__ = [
    "Ensemble",
    "NnUNetEnsemble",
    "RunningStatistics",
    "cross_validate",
    "evaluate",
    "export_model",
    "predict_volume",
    "train_member",
    "validate",
]

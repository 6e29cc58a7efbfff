"""Training by recipes: losses, additional loss terms, and rules that set windows, by name."""

from a2sg.training.losses import Criterion, Loss, register_loss
from a2sg.training.policies import register_policy
from a2sg.training.regression import RegressionLoss
from a2sg.training.regularizers import IMLoss, Regularizer, RMPLoss, register_regularizer

__all__ = [
    "Criterion",
    "IMLoss",
    "Loss",
    "RMPLoss",
    "RegressionLoss",
    "Regularizer",
    "register_loss",
    "register_policy",
    "register_regularizer",
]

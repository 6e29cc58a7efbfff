"""Training by recipes: losses, their further terms, and rules that set windows, by name."""

from a2sg.training.losses import Loss, register_loss
from a2sg.training.policies import register_policy
from a2sg.training.regularizers import IMLoss, Regularizer, RMPLoss, register_regularizer

__all__ = [
    "IMLoss",
    "Loss",
    "RMPLoss",
    "Regularizer",
    "register_loss",
    "register_policy",
    "register_regularizer",
]

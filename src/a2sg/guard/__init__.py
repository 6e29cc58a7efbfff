"""Training steps whose numbers are not finite do no harm."""

from a2sg.guard.steps import StepGuard

__all__ = ["StepGuard"]

"""Protection against training steps whose numbers are not finite."""

from a2sg.guard.steps import StepGuard

__all__ = ["StepGuard"]

"""Which of the T steps of a sequence a layer is at, told from its calls."""

from __future__ import annotations

from typing import NoReturn

import torch

from a2sg.errors import InputError


class StepCount:
    """Counts the steps of a sequence, and says so when they are not T.

    Args:
        steps: T.
        told: whether somebody always says where a sequence begins (the state of a host's neuron does). If
            not, the call after the T-th begins the next one.

    Attributes:
        done: steps of the sequence so far.
        live: whether a step of the sequence takes part in a backward pass; nothing else has to fit T.
        together: the counts of one model, this one included. An error ends the sequences of all.
        at: the step that was done last, from 0.
        label: what errors call the layer.
    """

    def __init__(self, steps: int, told: bool = False) -> None:
        self.steps = steps
        self.told = told
        self.label = "a layer"
        self.done = 0
        self.at = 0
        self.live = False
        self.together = [self]
        self._inside: int | None = None  # steps since the model's forward began; None if nobody says
        self._replayed = 0

    def begin(self) -> None:
        """A sequence begins with the next step.

        Raises:
            InputError: if the last one had begun and did not have T steps.
        """
        if misfit := self.finish():
            self._fail(misfit)

    def finish(self) -> str:
        """End the sequence; what is wrong with it, or nothing."""
        short = self.live and 0 < self.done < self.steps
        misfit = self._misfit(f"saw {self.done} steps of a sequence") if short else ""
        self.done = 0
        self.live = False
        return misfit

    def enter(self) -> None:
        """The model's forward begins: with a sequence, unless the caller's loop makes one step of each."""
        if self.done in (0, self.steps) or not self.live or (self._inside or 0) > 1:
            self.begin()
        self._inside = 0

    def next(self) -> int:
        """The step that is now done, from 0.

        Raises:
            InputError: if it is one more than T.
        """
        if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1:
            # A checkpoint runs the layer again, in the backward pass.
            self.at = self._replayed % self.steps
            self._replayed += 1
            return self.at
        if self.done == self.steps:
            whole = self.told or (self._inside or 0) >= self.steps
            if whole and self.live:
                self._fail(self._misfit(f"was called for step {self.steps + 1} of a sequence"))
            self.finish()
        self.done += 1
        if self._inside is not None:
            self._inside += 1
        self._replayed = 0
        self.at = self.done - 1
        return self.at

    def _fail(self, misfit: str) -> NoReturn:
        for count in self.together:
            count.finish()
        raise InputError(misfit)

    def _misfit(self, what: str) -> str:
        return (
            f"{self.label} {what}, but steps={self.steps}: steps must be the T that the model runs for each "
            "backward pass (evaluation with another T belongs under torch.no_grad())"
        )

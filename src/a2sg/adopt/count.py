"""Which of the T steps of a sequence a layer is at, counted from its calls."""

from __future__ import annotations

from typing import Any, NoReturn

import torch

from a2sg.errors import InputError, many
from a2sg.kernels.tracing import in_backward

WRONG = (
    "steps must be the T that the model runs for each backward pass (evaluation with another T belongs under "
    "torch.no_grad())"
)
SHARED = "one neuron serves several layers: give each its own"
APART = f"{SHARED}, or pass example=, which tells their calls apart"
UNRESET = (
    "the state was not reset after the last backward pass: call functional.reset_net, utils.reset or "
    "reset_states, or pass no state"
)
AT_ONCE = (
    "or it takes single steps, and was given all of them in one call: loop over them, or set step_mode='m'"
)
ONLINE = "the state is detached after every step, as in online training: each step is a sequence, so steps=1"
BROKEN_OFF = "a forward pass was broken off: go on, the next sequence begins at its first step"
"""What may be wrong if a sequence does not have T steps, in the order in which to check."""
ALONE = (
    "activation checkpointing with use_reentrant=True repeats parts of a sequence, and does not tell which: "
    "use use_reentrant=False, or checkpoint all steps of the layer together"
)


class StepCount:
    """Counts the steps of a sequence, and raises an error when they are not T.

    Args:
        steps: T.
        told: whether the start of each sequence is always reported (as the state of a library's neuron does).
            If not, the call after the T-th starts the next sequence.

    Attributes:
        done: steps of the sequence so far.
        live: whether a step of the sequence takes part in a backward pass; only such sequences need T steps.
        together: the counts of one model, including this one. An error ends all their sequences.
        at: the last step that was done, from 0.
        label: the layer's name in errors.
    """

    def __init__(self, steps: int, told: bool = False) -> None:
        self.steps = steps
        self.told = told
        self.label = "a layer"
        self.done = 0
        self.at = 0
        self.live = False
        self.together = [self]
        self._inside: int | None = None  # steps since the model's forward began; None if that is not reported
        self._fresh = False  # whether the start of this sequence was reported
        self._over = False  # whether such a sequence is over, and the start of the next not yet reported
        self._replayed = 0
        self._replay = -1  # the backward pass that repeats the layer
        self._taken = False  # whether a gradient came back to a repeated step since the repeat began

    def begin(self) -> None:
        """Start a sequence with the next step.

        Raises:
            InputError: if the last one had begun and did not have T steps.
        """
        if misfit := self.finish():
            self._fail(misfit)
        self._fresh, self._over = True, False

    def finish(self) -> str:
        """End the sequence; returns what is wrong with it, if anything."""
        misfit = self._too_few() if self.live and 0 < self.done < self.steps else ""
        self._over = self._over or (self._fresh and self.live)
        self._fresh = False
        self.done = 0
        self.live = False
        return misfit

    def enter(self) -> None:
        """The model's forward begins, and a sequence with it, unless each forward is one step of a loop."""
        done = self.done in (0, self.steps) or not self.live or (self._inside or 0) > 1
        if done and not self.told:
            self.begin()
        self._inside = 0

    @property
    def replaying(self) -> bool:
        """Whether activation checkpointing repeats a forward pass, within a backward pass."""
        return in_backward()

    def take(self) -> None:
        """A gradient has come back to a repeated step."""
        self._taken = True

    def next(self) -> int:
        """Count a step; returns its number, from 0.

        Raises:
            InputError: if it is one more than T, continues a sequence that is over, or is repeated alone.
        """
        if self.replaying:
            # Activation checkpointing runs the layer again, in the backward pass.
            task = torch._C._current_graph_task_id()
            if task != self._replay:
                self._replay, self._replayed = task, 0
            self.at = self._replayed % self.steps
            if self.at == 0:
                self._taken = False
            elif self._taken:
                self._fail(f"{self.label}: {ALONE}")
            self._replayed += 1
            return self.at
        if self.done == self.steps:
            whole = self.told or (self._inside or 0) >= self.steps
            if whole and self.live:
                self._fail(self._too_many())
            self.finish()
        if self.told and self.done == 0 and self._over:
            self._fail(f"{self.label} begins a sequence, but {UNRESET}")
        self.done += 1
        if self._inside is not None:
            self._inside += 1
        self.at = self.done - 1
        return self.at

    def __getstate__(self) -> dict[str, Any]:
        """A copy is at the start of a sequence, and shares no counts."""
        return {"steps": self.steps, "told": self.told, "label": self.label}

    def __setstate__(self, state: dict[str, Any]) -> None:
        StepCount.__init__(self, state["steps"], state["told"])
        self.label = state["label"]

    def _fail(self, misfit: str) -> NoReturn:
        for count in self.together:
            count.finish()
        raise InputError(misfit)

    def _too_few(self) -> str:
        others: list[str] = []
        if self.told and self._inside:
            others = [f"{SHARED}, {AT_ONCE}" if self.done == 1 else SHARED]
        elif self.told and self.done == 1:
            others = [ONLINE]
        return self._misfit(f"saw {many(self.done, 'step')} of a sequence", *(others or [BROKEN_OFF]))

    def _too_many(self) -> str:
        other = (UNRESET if self._inside == 0 else SHARED) if self.told else APART
        return self._misfit(f"was called for step {self.steps + 1} of a sequence", other)

    def _misfit(self, what: str, *others: str) -> str:
        return "; if it is, ".join((f"{self.label} {what}, but steps={self.steps}: {WRONG}", *others))


class Turns(StepCount):
    """Counts the calls that a module makes in each forward of the model: the same ones as in the example.

    Args:
        calls: how many.
    """

    def enter(self) -> None:
        """The model's forward begins."""
        self.begin()
        self._inside = 0

    def next(self) -> int:
        """Count a call; returns its number, from 0.

        Raises:
            InputError: if it is one too many, or activation checkpointing repeats it.
        """
        if torch._C._current_graph_task_id() != -1:
            raise InputError(
                f"{self.label} calls spike functions for several layers, and activation checkpointing "
                "repeats some of these calls, so they cannot be matched to layers: give each layer its own "
                "neuron, or an a2sg.SpikeSite"
            )
        return super().next()

    def _too_few(self) -> str:
        return self._other(f"{self.done} times")

    def _too_many(self) -> str:
        return self._other(f"more than {self.steps} times")

    def _other(self, calls: str) -> str:
        return (
            f"{self.label} called spike functions {calls} in a forward pass, but {self.steps} times in the "
            "example, so calls cannot be matched to layers: adapt with an example like your batches; or, if "
            "layers are left out at random, give each its own neuron"
        )

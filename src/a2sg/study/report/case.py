"""A run of an analysis, with what several parts measure of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from a2sg.modes import in_mode
from a2sg.study.measure.curvature import empirical_fisher
from a2sg.study.measure.curvature_results import Curvature
from a2sg.study.measure.objective import Objective
from a2sg.study.measure.variation import BatchVariation, batch_variation
from a2sg.study.run import Run


@dataclass(frozen=True)
class Case:
    """A finished run.

    Attributes:
        label: its name on the page.
        run: its network, in evaluation mode, and all that is in its folder.
        summary: what it found.
        objective: its network and loss on the samples.
        batches: of the variation.
    """

    label: str
    run: Run = field(repr=False)
    summary: dict[str, Any]
    objective: Objective
    batches: Sequence[tuple[Tensor, Tensor]] = field(repr=False)

    @property
    def model(self) -> nn.Module:
        """The run's network."""
        return self.run.model

    @property
    def loss(self) -> Callable[[Any, Tensor], Tensor]:
        """What the run was trained with."""
        return self.run.loss

    @cached_property
    def fisher(self) -> Curvature:
        """The empirical Fisher: curvature shows it, and theory has it predicted."""
        return empirical_fisher(self.objective, show_progress=False)

    @cached_property
    def variation(self) -> BatchVariation:
        """Of the gradients of training, and so with batch norms in training mode."""
        with in_mode(self.model, training=True):
            return batch_variation(self.model, self.batches, self.loss)

    @property
    def batch(self) -> tuple[Tensor, Tensor]:
        """The samples: (inputs, labels)."""
        return self.objective.inputs, self.objective.labels

    @property
    def weights(self) -> list[str]:
        """The layers that hold weights, of two or more dimensions: others have scales and biases alone."""
        held = self.objective
        return [
            name for name, block in held.layers.items() if any(held.parameters[at].dim() > 1 for at in block)
        ]

    @contextmanager
    def at(self, epoch: int) -> Iterator[Case]:
        """The case as it was after one of the run's epochs: the same network, with those weights meanwhile.

        Raises:
            InputError: if these weights cannot be read.
        """
        with self.run.at(epoch):
            # One that knows nothing yet of what this one has measured, unless they are the same.
            yield self if epoch == self.run.config.epochs else replace(self)

"""Normalisations before a neuron, by name."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from a2sg.kernels import Norm
from a2sg.models.layers import RankBatchNorm, TdBatchNorm, norm_of


class TimeMeanBatchNorm(TdBatchNorm):
    """Batch norm of the mean over time, its one output repeated for all steps (the A2SG research code).

    Arguments and initial weights as for `TdBatchNorm`. The neuron gets a constant current, so when
    something came within the T steps is lost, and the gradients of its steps are alike (method, section 2).
    """

    centres: ClassVar[bool] = True

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mean(0, keepdim=True)).expand_as(x)

    def _merged(
        self, current: Tensor, held: tuple[int, int], steps: int, added: bool
    ) -> tuple[Tensor, Norm] | None:
        if added:  # the sum differs from step to step, so it would be normalised at each step
            return None
        mean, size = current.unflatten(0, held).mean(0), (1, held[1])
        return mean, norm_of(self.bn, mean, size)


class SyncTdBatchNorm(TdBatchNorm):
    """`TdBatchNorm` with the statistics of all ranks of a distributed run: those of the whole batch.

    Alone, as in one process, it is `TdBatchNorm`, with the same parameters.
    """

    centres: ClassVar[bool] = True
    kind = RankBatchNorm


NORMS: dict[str, type[TdBatchNorm]] = {
    "td": TdBatchNorm,
    "time_mean": TimeMeanBatchNorm,
    "sync": SyncTdBatchNorm,
}
"""Names that `a2sg.create_model` takes. Each is made from channels, `threshold` and `alpha`."""

"""Searches: which windows the table covers, how it is filled, and which window is chosen.

`exact` and `grid` give the same windows: `exact` in one pass over the data, `grid` by evaluating every
candidate as the research code does. `bayes` refines the grid's best with a Gaussian process. `random` is the
control: its windows move as often and as far, but at random.
"""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor

from a2sg.kernels.sums import Fill, each

TIE = 1e-9
"""Relative difference below which two scores count as equal."""


class Search(ABC):
    """A search over windows between two bounds.

    Args:
        candidates: the user's candidates, ascending `[C]`: float64, with values that float32 holds exactly.
    """

    def __init__(self, candidates: Tensor) -> None:
        self.candidates = candidates
        self.lattice = self._lattice()
        """Every window at which sums are kept, ascending `[L]`."""

    @property
    def fill(self) -> Fill | None:
        """How sums are computed; None is the backend's fastest way."""
        return None

    def _lattice(self) -> Tensor:
        return self.candidates

    @abstractmethod
    def choose(self, scores: Tensor) -> Tensor:
        """The index into the lattice of the best window of each row.

        Args:
            scores: `[rows, L]`, higher is better; -inf where a window cannot be chosen. `Exact` and `Grid`
                choose on the device of the scores; the others on the CPU, so that they wait for a GPU.
        """


class Exact(Search):
    """Every candidate, in one pass over the data. Ties go to the smaller window."""

    def choose(self, scores: Tensor) -> Tensor:
        return first_best(scores)


class Grid(Exact):
    """Every candidate, with one evaluation of the whole gradient for each (the research code's cost)."""

    @property
    def fill(self) -> Fill:
        return each


class Bayes(Search):
    """The grid's best, then one round of expected improvement around it (method, section 4).

    A Gaussian process (zero mean, RBF kernel of length 0.05 and variance 1, noise 1e-2) is fitted to the
    scores at the candidates. Of about 150 windows within ±0.05 of the best, the one with the largest expected
    improvement is evaluated, and chosen if it is better. The sums at all those windows come from the same
    single pass, so they add up over micro-batches and ranks like any others. Scores are standardised first,
    so that the scale of the gradients does not matter.
    """

    REACH: ClassVar[float] = 0.05
    PROPOSALS: ClassVar[int] = 150
    LENGTH: ClassVar[float] = 0.05
    NOISE: ClassVar[float] = 1e-2

    def _lattice(self) -> Tensor:
        spacing = (self.candidates[1] - self.candidates[0]).item()
        self._finer = max(1, math.ceil(spacing * (self.PROPOSALS - 1) / (2 * self.REACH)))
        part = torch.arange(self._finer, dtype=torch.float64) / self._finer
        steps = self.candidates[:-1, None] + self.candidates.diff()[:, None] * part
        return torch.cat([steps.flatten(), self.candidates[-1:]]).float().double()

    def choose(self, scores: Tensor) -> Tensor:
        known = scores.cpu()
        best = first_best(known[:, :: self._finer]) * self._finer
        found = torch.stack([self._refine(row, int(at)) for row, at in zip(known, best, strict=True)])
        return found.to(scores.device)

    def _refine(self, scores: Tensor, best: int) -> Tensor:
        coarse = scores[:: self._finer]
        known = coarse.isfinite()
        spread = coarse[known].std(correction=0) if known.any() else scores.new_zeros(())
        near = (self.lattice - self.lattice[best]).abs() <= self.REACH
        if spread > 0:
            value = (coarse[known] - coarse[known].mean()) / spread
            mean, deviation = self._posterior(self.candidates[known], value, self.lattice[near])
            gain = mean - value.max()
            z = gain / deviation
            improvement = gain * _normal_cdf(z) + deviation * torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
            proposal = near.nonzero()[:, 0][improvement.argmax()]
            if scores[proposal] > scores[best]:
                return proposal
        return torch.tensor(best)

    def _posterior(self, known: Tensor, value: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        gram = self._kernel(known, known) + self.NOISE * torch.eye(len(known), dtype=torch.float64)
        factor = torch.linalg.cholesky(gram)
        cross = self._kernel(known, at)
        mean = cross.T @ torch.cholesky_solve(value[:, None], factor)[:, 0]
        whitened = torch.linalg.solve_triangular(factor, cross, upper=False)
        variance = 1 - (whitened * whitened).sum(0)
        return mean, variance.clamp_min(1e-12).sqrt()

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-((a[:, None] - b[None, :]) ** 2) / (2 * self.LENGTH**2))


class Random(Exact):
    """Any of the candidates with equal probability, whatever its score: the control for the other searches.

    The scores' own bits seed the draw: it is the same on every rank and in a resumed run, without any state.
    """

    def choose(self, scores: Tensor) -> Tensor:
        known = scores.cpu()
        generator = torch.Generator().manual_seed(zlib.crc32(known.numpy().tobytes()))
        possible = known.isfinite()
        possible |= ~possible.any(-1, keepdim=True)  # where none is, the caller sees it from the score
        return torch.multinomial(possible.double(), 1, generator=generator)[:, 0].to(scores.device)


def first_best(scores: Tensor) -> Tensor:
    """The first index of the largest value of each row; scores that differ only by rounding are equal."""
    best = scores.amax(-1, keepdim=True)
    return (scores >= best - TIE * best.abs().nan_to_num(posinf=0)).int().argmax(-1)


def _normal_cdf(z: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(z / math.sqrt(2)))


SearchName = Literal["exact", "grid", "bayes", "random"]
SEARCHES: dict[SearchName, type[Search]] = {"exact": Exact, "grid": Grid, "bayes": Bayes, "random": Random}

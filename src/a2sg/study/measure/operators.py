"""Matrices known by their products with vectors, among them the curvature matrices of an objective.

A `Family` is a matrix over all parameters, whose diagonal blocks are operators; any estimator of
`a2sg.study.measure.estimators` takes any of these. Each `…_of` builds the graph of some samples once and
returns a function that multiplies with it: vectors are one tensor for each parameter of a block.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from a2sg.study.measure.directions import flat, split
from a2sg.study.measure.objective import Objective
from a2sg.study.measure.unrolled import SurrogateSpike, unrolled

Block = Sequence[int]
"""Numbers of parameters."""


@dataclass(frozen=True)
class Operator:
    """A square matrix A: `operator @ vector` is A v, `[P]` float64 on the CPU.

    Attributes:
        size: its rows P.
        product: called with v `[P]`; gives A v.
        gram: a smaller symmetric matrix with the same trace and nonzero eigenvalues, if one is known.
    """

    size: int
    product: Callable[[Tensor], Tensor]
    gram: Tensor | None = None

    def __matmul__(self, vector: Tensor) -> Tensor:
        return self.product(vector)

    def shifted(self, by: float) -> Operator:
        """A + `by` times the identity."""
        return Operator(self.size, lambda vector: self @ vector + by * vector)

    def dense(self) -> Tensor:
        """The whole matrix `[P, P]`, from P products."""
        return torch.stack([self @ row for row in torch.eye(self.size, dtype=torch.float64)], 1)


class Family(ABC):
    """A matrix over all parameters of an objective."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.products = 0
        """Number of products so far."""

    def block(self, block: Block) -> Operator:
        """The part of it that belongs to some of the parameters."""

        def product(vector: Tensor) -> Tensor:
            self.products += 1
            return self.multiply(vector, block)

        size = sum(self.objective.parameters[at].numel() for at in block)
        return Operator(size, product)

    @abstractmethod
    def multiply(self, vector: Tensor, block: Block) -> Tensor:
        """A block's product with a vector."""


class SquaresFamily(Family):
    """Σ v vᵀ / N over vectors, computed by number, with their scalar products by layer.

    A vector is one tensor per parameter; blocks are of whole layers.
    """

    def __init__(
        self, objective: Objective, vector: Callable[[int], Sequence[Tensor]], grams: Mapping[str, Tensor]
    ) -> None:
        super().__init__(objective)
        self._vector, self._grams = vector, grams

    def block(self, block: Block) -> Operator:
        layers = [name for name, own in self.objective.layers.items() if set(own) <= set(block)]
        gram = sum((self._grams[name] for name in layers), torch.zeros(())) / len(self.objective)
        return replace(super().block(block), gram=gram)

    def multiply(self, vector: Tensor, block: Block) -> Tensor:
        total = torch.zeros_like(vector)
        for number in range(len(next(iter(self._grams.values())))):
            parts = self._vector(number)
            row = flat([parts[at] for at in block]).to("cpu", torch.float64)
            total.add_(row, alpha=float(row @ vector) / len(self.objective))
        return total


Multiply = Callable[[Sequence[Tensor], Block], Sequence[Tensor]]
Build = Callable[[Objective, range, SurrogateSpike], Multiply]


def gauss_newton_of(objective: Objective, samples: range, spike: SurrogateSpike) -> Multiply:
    """Jᵀ H J v: J of the outputs by the parameters through the surrogate, H of the loss by the outputs."""
    output = objective.output(samples)
    leaf = output.detach().requires_grad_()
    (slope,) = grad([objective.of_output(leaf, samples)], [leaf], create_graph=True)
    # Jᵀ c is linear in c: its derivative with respect to c, backwards, is J.
    cotangent = torch.zeros_like(output, requires_grad=True)
    pulled = grad([output], objective.parameters, [cotangent], create_graph=True)

    def multiply(vector: Sequence[Tensor], block: Block) -> Sequence[Tensor]:
        (pushed,) = grad([pulled[at] for at in block], [cotangent], vector)
        bent = grad([slope], [leaf], [pushed])
        return grad([output], [objective.parameters[at] for at in block], bent)

    return multiply


def hessian_of(objective: Objective, samples: range, spike: SurrogateSpike) -> Multiply:
    """Backward through backward, with the surrogate in both: symmetric."""
    value = objective.of_output(objective.output(samples), samples)
    gradient = grad([value], objective.parameters, create_graph=True)

    def multiply(vector: Sequence[Tensor], block: Block) -> Sequence[Tensor]:
        return grad([gradient[at] for at in block], [objective.parameters[at] for at in block], vector)

    return multiply


def transposed_field_of(objective: Objective, samples: range, spike: SurrogateSpike) -> Multiply:
    """Jᵀ v, J the derivative of the surrogate gradient by the parameters, spikes being constants."""
    multiply = hessian_of(objective, samples, spike)

    def with_constant_spikes(vector: Sequence[Tensor], block: Block) -> Sequence[Tensor]:
        with spike.spikes_constant():
            return multiply(vector, block)

    return with_constant_spikes


class Matrix(Family):
    """The mean over the batch of a curvature matrix; inside `opened`."""

    def __init__(self, objective: Objective, build: Build, spike: SurrogateSpike) -> None:
        super().__init__(objective)
        self._build, self._spike, self._chunks = build, spike, objective.chunks()
        self._whole = build(objective, self._chunks[0], spike) if len(self._chunks) == 1 else None

    def multiply(self, vector: Tensor, block: Block) -> Tensor:
        parts = split(vector, [self.objective.parameters[at] for at in block])
        total = torch.zeros_like(vector)
        for samples in self._chunks:
            multiply = self._whole or self._build(self.objective, samples, self._spike)
            found = flat(multiply(parts, block)).to("cpu", torch.float64)
            total.add_(found, alpha=self.objective.share(samples))
        return total


@contextmanager
def opened(objective: Objective, build: Build) -> Iterator[Matrix]:
    """A matrix of the objective, usable inside this context.

    Raises:
        InputError: if the network has no neurons of this package.
    """
    spike = SurrogateSpike()
    with objective.ready(), unrolled(objective.model, spike):
        yield Matrix(objective, build, spike)


def grad(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    weights: Sequence[Tensor] | None = None,
    create_graph: bool = False,
) -> Sequence[Tensor]:
    """As `torch.autograd.grad`, with 0 for inputs that have no effect; the graph is kept."""
    weights = [torch.ones_like(output) for output in outputs] if weights is None else weights
    pairs = [(o, w) for o, w in zip(outputs, weights, strict=True) if o.requires_grad]
    if not pairs:
        return [torch.zeros_like(one) for one in inputs]
    found, factors = zip(*pairs, strict=True)
    options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
    return torch.autograd.grad(found, list(inputs), factors, create_graph=create_graph, **options)

"""Curvature, named exactly: five quantities that are often called "the Hessian" or "the Fisher" of an SNN.

Spikes are piecewise constant, so the loss itself has no curvature where it has one at all: its Hessian is 0
almost everywhere. What follows are matrices of the surrogate: each function says which, and what it is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from a2sg.errors import require, require_choice, require_positive
from a2sg.study.measure.curvature_results import Curvature, FieldSpectrum, GradNormSq, Spectrum
from a2sg.study.measure.estimators import Estimates
from a2sg.study.measure.gram import Factors, Vector, gram
from a2sg.study.measure.objective import Objective
from a2sg.study.measure.operators import (
    Family,
    Operator,
    SquaresFamily,
    gauss_newton_of,
    hessian_of,
    opened,
    transposed_field_of,
)

MEMORY = 2.0
"""Maximum size of the gradients held at a time, in GiB."""


def grad_norm_sq(objective: Objective) -> GradNormSq:
    """‖mean gradient of the batch‖²: what the A2SG research code calls the Fisher's top eigenvalue.

    It is the only nonzero eigenvalue of g gᵀ, where g is the mean gradient. That matrix has rank one and is
    not the Fisher. The number says how far training is from a stationary point, and nothing about curvature.
    Works with any torch module.
    """
    with objective.ready():
        loss, gradient = objective.value_and_gradient()
    squares = [part.double().square().sum().item() for part in gradient]
    layers = {name: math.fsum(squares[at] for at in block) for name, block in objective.layers.items()}
    return GradNormSq(len(objective), loss, math.fsum(squares), layers)


def empirical_fisher(
    objective: Objective, *, top: int = 1, memory: float = MEMORY, show_progress: bool | None = None
) -> Curvature:
    """F = mean over samples of g gᵀ, where g is a sample's own (surrogate) gradient at its true label.

    Exact: eigenvalues and traces are computed from the `[N, N]` matrix of scalar products of the gradients.
    This is not the Fisher of the model, whose labels are drawn from the model (`gauss_newton`): it goes to 0
    as the losses do. Works with any torch module.

    Args:
        objective: see `Objective`; its loss must be the mean of the samples' losses.
        top: eigenvalues of each layer and the whole; at most N of them are not 0.
        memory: GiB for per-sample gradients: if they do not fit, some are computed several times.
        show_progress: whether there is a progress bar; None shows one on a terminal.

    Raises:
        InputError: if samples are not independent (`training=True`), or the loss is not finite.
    """
    estimates = Estimates(top)
    losses = [0.0] * len(objective)

    def gradient(sample: int) -> Sequence[Tensor]:
        samples = range(sample, sample + 1)
        value = objective.of_output(objective.output(samples), samples)
        losses[sample] = value.item()
        return objective.gradient_of(value)

    with _independent(objective).ready():
        title = "per-sample gradients"
        family = _squares(objective, gradient, len(objective), memory, title, show_progress)
        loss = math.fsum(losses) / len(losses)
        return _measured("empirical Fisher", objective, family, None, estimates.convex, loss)


def gauss_newton(
    objective: Objective,
    *,
    top: int = 1,
    layers: Sequence[str] | None = None,
    method: str = "lanczos",
    probes: int = 16,
    tolerance: float = 1e-4,
    seed: int = 0,
    memory: float = MEMORY,
    show_progress: bool | None = None,
) -> Curvature:
    """G = mean over samples of Jᵀ H J: the generalised Gauss-Newton matrix, through the surrogate.

    J is the (surrogate) Jacobian of a sample's outputs by the parameters, H the Hessian of its loss by its
    outputs. With cross-entropy of a softmax this is the Fisher whose labels are drawn from the model
    (Martens, 2020), for labels smoothed or not. It has no negative eigenvalue if the loss is convex in the
    outputs, and does not need the surrogate's derivative.

    Args:
        objective: see `Objective`.
        top: eigenvalues of each layer and the whole.
        layers: whose blocks to look at; None is all of them, `()` only the whole network.
        method: `"lanczos"` works with products of the matrix and a vector, and estimates traces.
            `"gram"` is exact, all layers at once, and works with any torch module; it takes a backward pass
            per sample and class, and a loss that is the mean of samples' losses, convex in the outputs.
        probes: random vectors for the trace (Hutchinson, 1989); 0 leaves it out. The Gram matrix needs none.
        tolerance: relative, of eigenvalues found by Lanczos.
        seed: of starting vector and probes.
        memory: GiB for gradients held by the Gram matrix.
        show_progress: of the Gram matrix; None shows a bar on a terminal.

    Raises:
        InputError: for an option out of range, a network without neurons of this package (Lanczos), a loss
            that does not fit (Gram matrix), or if it does not converge.
    """
    kind = "generalised Gauss-Newton"
    estimates = Estimates(top, probes, tolerance, seed)
    if require_choice("method", method, ("lanczos", "gram")) == "lanczos":
        with opened(objective, gauss_newton_of) as matrix:
            return _measured(kind, objective, matrix, layers, estimates.convex)
    objective.blocks(layers)
    with _independent(objective).ready():
        factors, title = Factors(objective), "gradients of outputs"
        family = _squares(objective, factors.pulled_back, len(factors), memory, title, show_progress)
        return _measured(kind, objective, family, layers, estimates.convex)


def double_backward_hessian(
    objective: Objective,
    *,
    top: int = 1,
    layers: Sequence[str] | None = None,
    probes: int = 16,
    tolerance: float = 1e-4,
    seed: int = 0,
) -> Curvature:
    """What automatic differentiation gives for the Hessian: backward through backward.

    The surrogate f stands for ds/du in both passes, and its slope f' for d²s/du². This is the Hessian of the
    loss of a network in which each spike is replaced by its value plus f (u - u0) + f' (u - u0)² / 2 about
    the present potential u0: so it is symmetric. It is *not* the Hessian of the loss (0 almost everywhere),
    nor how the surrogate gradient changes as weights do (`surrogate_field_jacobian`).

    Args:
        objective: see `Objective`.
        top: largest and smallest eigenvalues of each layer and the whole.
        layers: whose blocks to look at; None is all of them, `()` only the whole network.
        probes: random vectors for the trace; 0 leaves it out.
        tolerance: of the eigenvalues, relative to the one of largest modulus.
        seed: of starting vector and probes.

    Raises:
        InputError: for an option out of range, a network without neurons of this package, or if it does not
            converge.
    """
    estimates = Estimates(top, probes, tolerance, seed)
    with opened(objective, hessian_of) as matrix:
        return _measured("double-backward Hessian", objective, matrix, layers, estimates.symmetric)


def surrogate_field_jacobian(
    objective: Objective,
    *,
    top: int = 1,
    layers: Sequence[str] | None = None,
    probes: int = 16,
    tolerance: float = 1e-4,
    seed: int = 0,
) -> Curvature:
    """J = dg/dθ: how the surrogate gradient g that an optimizer follows changes as weights do.

    Between flips of spikes g is a smooth function of the weights: spikes are constants, potentials and f(u)
    are not. J is its true derivative there, by finite differences too. It is *not* symmetric, as g is not the
    gradient of any loss, so eigenvalues may be complex. It does not see the jumps of g where spikes flip:
    it holds for steps that flip few.

    Args:
        objective: see `Objective`.
        top: eigenvalues of largest modulus of each layer and the whole.
        layers: whose blocks to look at; None is all of them, `()` only the whole network.
        probes: random vectors for trace and asymmetry, two products each; 0 leaves both out.
        tolerance: relative, of the eigenvalues.
        seed: of starting vector and probes.

    Raises:
        InputError: for an option out of range, a network without neurons of this package, or if it does not
            converge.
    """
    kind = "Jacobian of the surrogate-gradient field"
    estimates = Estimates(top, probes, tolerance, seed)
    with opened(objective, transposed_field_of) as matrix:
        # The transpose has the same eigenvalues, trace and asymmetry.
        return _measured(kind, objective, matrix, layers, estimates.general)


def _measured(
    kind: str,
    objective: Objective,
    matrix: Family,
    layers: Sequence[str] | None,
    estimate: Callable[[Operator], Spectrum | FieldSpectrum],
    loss: float | None = None,
) -> Curvature:
    """The same estimate for the whole matrix and for the block of each layer."""
    blocks = objective.blocks(layers)
    loss = objective.value() if loss is None else loss
    whole = estimate(matrix.block(range(len(objective.parameters))))
    by_layer = {name: estimate(matrix.block(block)) for name, block in blocks.items()}
    return Curvature(kind, len(objective), loss, whole, by_layer, matrix.products)


def _squares(
    objective: Objective, vector: Vector, count: int, memory: float, title: str, show: bool | None
) -> SquaresFamily:
    limit = require_positive("memory", memory) * 2**30
    return SquaresFamily(objective, vector, gram(vector, count, objective.layers, limit, title, show))


def _independent(objective: Objective) -> Objective:
    require(
        not objective.training,
        "gradients of single samples need batch norms in evaluation mode: training=False",
    )
    return objective

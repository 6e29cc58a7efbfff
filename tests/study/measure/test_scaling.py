"""Fits of curvature by window: of power laws that are known, and of a brute-force Hessian."""

import pytest
import torch
from torch import nn
from torch.autograd.functional import hessian
from torch.func import functional_call

from a2sg.errors import InputError
from a2sg.study.measure.scaling import (
    UNIT_AREA,
    WINDOWS,
    Controlled,
    ScalePoint,
    curvature_by_window,
    power_laws,
)
from a2sg.study.measure.unrolled import surrogate_spike, unrolled


def law(exponent, noise=0.0, seeds=4):
    generator = torch.Generator().manual_seed(0)
    return [
        ScalePoint(
            "shape",
            seed,
            window,
            (seed + 1) * window**exponent * float(torch.exp(noise * torch.randn((), generator=generator))),
        )
        for seed in range(seeds)
        for window in WINDOWS
    ]


@pytest.mark.parametrize("exponent", [-2.0, 0.0, 1.5])
def test_a_power_law_is_found(exponent):
    (found,) = power_laws(law(exponent))
    assert found.exponent == pytest.approx(exponent)
    assert found.low == pytest.approx(exponent, abs=1e-9)
    assert found.high == pytest.approx(exponent, abs=1e-9)
    assert found.residual == pytest.approx(0, abs=1e-9)
    (noisy,) = power_laws(law(exponent, noise=0.3))
    assert noisy.low < exponent < noisy.high
    assert 0.1 < noisy.residual < 0.6


def test_points_without_curvature_are_left_out_and_one_seed_has_no_interval():
    points = [
        *law(-1.0, seeds=1),
        ScalePoint("shape", 0, 5.0, 0.0),
        ScalePoint("shape", 0, 6.0, float("nan")),
    ]
    (found,) = power_laws(points)
    assert found.exponent == pytest.approx(-1)
    assert (found.low, found.high, found.left_out, found.seeds) == (None, None, 2, 1)
    with pytest.raises(InputError, match="at least 2 windows with a curvature above 0, not 1"):
        power_laws([ScalePoint("shape", 0, 1.0, 1.0), ScalePoint("shape", 0, 2.0, 0.0)])


def test_nothing_but_the_window_changes():
    controlled = Controlled(inputs=5, hidden=(4,), outputs=2)
    seen = []

    def curvature(model, batch):
        weights = torch.cat([p.detach().flatten() for p in model.parameters()])
        seen.append((model[1].surrogate, model[1].window.tolist(), weights, *batch))
        return 1.0

    points = curvature_by_window(
        curvature, windows=(0.25, 1.0), seeds=(0, 1), samples=6, controlled=controlled
    )
    assert [(p.shape, p.seed, p.window) for p in points] == [
        (name, seed, window) for name in UNIT_AREA for seed in (0, 1) for window in (0.25, 1.0)
    ]
    for point, (shape, window, weights, x, y) in zip(points, seen, strict=True):
        assert shape == UNIT_AREA[point.shape]
        assert window == [point.window] * 2
        same = seen[2 * point.seed]
        assert torch.equal(weights, same[2])
        assert torch.equal(x, same[3])
        assert torch.equal(y, same[4])
        assert shape.integral(point.window) == 1
    assert not torch.equal(seen[0][2], seen[2][2])
    assert not torch.equal(seen[0][3], seen[2][3])


def hessian_norm(model, batch):
    """The spectral norm of the double-backward Hessian by the first weights, by brute force."""
    x, y = batch
    name = "0.weight"
    weight = model.get_parameter(name).detach()

    def loss(value):
        return nn.functional.cross_entropy(functional_call(model, {name: value}, (x,)), y)

    with unrolled(model, surrogate_spike):
        matrix = hessian(loss, weight).reshape(weight.numel(), weight.numel())
    return torch.linalg.eigvalsh((matrix + matrix.T) / 2).abs().max().item()


def test_narrow_windows_of_one_area_are_sharper():
    small = Controlled(inputs=4, hidden=(4, 4), outputs=3)
    shapes = {name: UNIT_AREA[name] for name in ("boxcar", "triangle")}
    points = curvature_by_window(
        hessian_norm, shapes=shapes, windows=(0.2, 0.5, 1.25), seeds=(0, 1, 2), samples=64, controlled=small
    )
    assert all(point.curvature > 0 for point in points)
    for found in power_laws(points):
        assert found.exponent < -0.5, found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"windows": (0.5, 0.0)}, "window must be a number above 0"),
        ({"windows": ()}, "give at least one shape"),
        ({"seeds": ()}, "give at least one shape"),
        ({"samples": 0}, "samples must be"),
    ],
)
def test_what_is_wrong_is_told(options, message):
    with pytest.raises(InputError, match=message):
        curvature_by_window(lambda *_: 1.0, **options)

"""The compiled table of sums, against one float64 evaluation per candidate."""

import pytest
import torch

from a2sg import LIF, AdaptiveWindows, IntegerLIF
from a2sg.kernels import Gate, compiled_sums
from a2sg.kernels.compilers import missing
from a2sg.kernels.sums import Observation, Sums
from a2sg.surrogate import Triangle
from a2sg.window.objectives import sgv_from_sums, tgc_from_sums
from a2sg.window.search import first_best
from reference import BY_NAME
from sums_by_hand import CANDIDATES, FEW, assert_same, brute_force, layer, table_of

pytestmark = pytest.mark.skipif(bool(missing("cpu")), reason=missing("cpu"))

fill = compiled_sums.fill
QUICK = ("asymmetric",)
ALL = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BY_NAME]


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ALL)
def test_every_candidate_is_that_of_brute_force(name, dtype):
    case, gate = BY_NAME[name], Gate(BY_NAME[name].shape, (1.0,))
    for size in (1, 501, 1024, 5_000):
        u, g, c, r = layer(size, dtype=dtype, seed=1)
        u[0] = 1.01  # some gradient at every candidate
        for carry, later in ((None, r), (None, None), (c, r)):
            table = table_of(fill, Observation(gate, u, g, carry, later), FEW)
            rows, sgv, tgc = brute_force(case, [1.0], u, g, carry, later, FEW)
            if size == 1:  # the variance of one element is rounding
                sgv = sgv_from_sums(table).tolist()
            assert_same(table, (rows, sgv, tgc), rel=2e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e-8, 1e8, 1e20])
def test_the_size_of_the_gradients_does_not_matter(scale):
    case = BY_NAME["asymmetric"]
    u, g, _, r = layer(300, scale, torch.float32, seed=2)
    table = table_of(fill, Observation(Gate(case.shape, (1.0,)), u, g, None, r), FEW)
    assert_same(table, brute_force(case, [1.0], u, g, None, r, FEW))


def test_all_zero_and_vanishing_gradients_are_zero():
    u, g, _, r = layer(300, dtype=torch.float32)
    gate = Gate(BY_NAME["asymmetric"].shape, (1.0,))
    for size in (0.0, 1e-45):
        table = table_of(fill, Observation(gate, u, g.sign() * size, None, r), FEW)
        assert table.isfinite().all()
        assert (table[:, Sums.SQUARE] == 0).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["upstream", "later"])
def test_what_is_not_finite_shows_at_every_candidate(value, where):
    u, g, _, r = layer(3000, dtype=torch.float32)
    u[7] = 50.0  # outside every window
    (g if where == "upstream" else r)[7] = value
    table = table_of(fill, Observation(Gate(BY_NAME["asymmetric"].shape, (1.0,)), u, g, None, r), FEW)
    assert not table.isfinite().all(1).any()


@pytest.mark.parametrize("size", [4 * 5 * 6, 32 * 4 * 8], ids=["a padded block", "whole blocks"])
@pytest.mark.parametrize("last", ["u", "g", "u and g"])
def test_layouts_that_differ_between_the_tensors(size, last):
    case = BY_NAME["asymmetric"]
    u, g, _, r = (tensor.reshape(-1, 2, 4, size // 8) for tensor in layer(size, dtype=torch.float32, seed=8))
    expected = brute_force(case, [1.0], u, g, None, r, FEW)
    u, g = (
        tensor.to(memory_format=torch.channels_last) if name in last else tensor
        for name, tensor in (("u", u), ("g", g))
    )
    for later in (r, r.transpose(0, 3).contiguous().transpose(0, 3)):
        seen = Observation(Gate(case.shape, (1.0,)), u, g, None, later)
        assert_same(table_of(fill, seen, FEW), expected)


def test_the_same_windows_as_in_float64():
    """Over many layers: a window may differ only where the scores do not, to rounding."""
    case = BY_NAME["asymmetric"]
    gate = Gate(case.shape, (1.0,))
    for seed in range(20):
        u, g, _, r = layer(2000, dtype=torch.float32, seed=seed)
        table = table_of(fill, Observation(gate, u, g, None, r), CANDIDATES)
        _, sgv, tgc = brute_force(case, [1.0], u, g, None, r, CANDIDATES)
        for mine, wanted in (
            (-sgv_from_sums(table), -torch.tensor(sgv)),
            (tgc_from_sums(table), torch.tensor(tgc)),
        ):
            chosen, best = first_best(mine[None])[0], first_best(wanted[None].double())[0]
            assert chosen == best or abs(wanted[chosen] - wanted[best]) < 1e-7 * abs(wanted[best])


@pytest.mark.parametrize(
    "make",
    [
        lambda backend: LIF(3, backend=backend),
        pytest.param(
            lambda backend: IntegerLIF(2, surrogate=Triangle(), backend=backend), marks=pytest.mark.slow
        ),
        pytest.param(
            lambda backend: LIF(3, reset="hard", order="scaled", backend=backend), marks=pytest.mark.slow
        ),
    ],
)
@pytest.mark.parametrize("gradient", ["spike", pytest.param("full", marks=pytest.mark.slow)])
def test_a_compiled_neuron_is_observed_as_the_reference_is(make, gradient):
    histories = []
    for backend in ("reference", "compiled"):
        neuron = make(backend)
        windows = AdaptiveWindows(neuron, every=1, start=0, gradient=gradient)
        generator = torch.Generator().manual_seed(1)
        for _ in range(2):
            current = torch.randn(neuron.steps, 5, 333, generator=generator).add_(0.5).requires_grad_()
            neuron(current).square().sum().backward()
            windows.step()
        histories.append(windows.history)
    for mine, other in zip(*histories, strict=True):
        for name, value in mine.items():
            expected = (
                other[name]
                if isinstance(value, str) or value is None
                else pytest.approx(other[name], rel=1e-6)
            )
            assert value == expected, name

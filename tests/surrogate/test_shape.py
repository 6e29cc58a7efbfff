"""Shapes against the table of the method, written out by hand in reference.py."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from a2sg.errors import InputError
from a2sg.kernels import Gate
from a2sg.surrogate import (
    SURROGATES,
    Arctan,
    Asymmetric,
    Boxcar,
    Dspike,
    FastSigmoid,
    PinnedAsymmetric,
    Sigmoid,
    Surrogate,
    Triangle,
    create_surrogate,
)
from a2sg.surrogate.registry import side_by_side
from reference import AFFINE, BY_NAME, CASES

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
WINDOWS = (0.1, 0.5, 0.7, 1.0, 2.5)


def f64(*values):
    return tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("shape", "low", "at_0", "high"),
    # At window 0.5: f(-0.5), f(0), f(0.5), worked out from the table.
    [
        (Boxcar(), 1, 1, 1),
        (Boxcar(area="unit"), 1, 1, 1),
        (Triangle(), 0, 1, 0),
        (Triangle(area="unit"), 0, 2, 0),
        (Asymmetric(), 0, 0.5, 1),
        (Asymmetric(bias=0.75), 0.25, 0.75, 1.25),
        (Asymmetric(area="unit"), 0, 1, 2),
        (Asymmetric(bias=1.0, area="unit"), 0.5, 1, 1.5),
        (PinnedAsymmetric(floor=0.6), 0.6, 0.8, 1),
        (PinnedAsymmetric(floor=1.0), 1, 1, 1),
        (PinnedAsymmetric(floor=0.0, area="unit"), 0, 1, 2),
        (Arctan(), 0.5, 1, 0.5),
        (Arctan(area="unit"), 1 / math.pi, 2 / math.pi, 1 / math.pi),
        (Sigmoid(), 1 / math.cosh(0.5) ** 2, 1, 1 / math.cosh(0.5) ** 2),
        (FastSigmoid(), 0.25, 1, 0.25),
        (FastSigmoid(area="unit"), 0.25, 1, 0.25),
        # b sech²(b x) / (2 tanh(b/2)) at b = 3
        (
            Dspike(),
            1.5 / math.tanh(1.5) / math.cosh(1.5) ** 2,
            1.5 / math.tanh(1.5),
            1.5 / math.tanh(1.5) / math.cosh(1.5) ** 2,
        ),
    ],
    ids=str,
)
def test_values_at_the_edges_and_in_the_middle(shape, low, at_0, high):
    value = shape.derivative(f64(-0.5, 0.0, 0.5), 0.5)
    assert value.tolist() == pytest.approx([low, at_0, high], rel=1e-14, abs=1e-15)


@every_case
@pytest.mark.parametrize("window", WINDOWS)
def test_values_are_those_of_the_table(case, window):
    x = torch.linspace(-3 * window, 3 * window, 601, dtype=torch.float64)
    expected = case.formula(x, f64(window)[0])
    torch.testing.assert_close(case.shape.derivative(x, window), expected, rtol=1e-12, atol=1e-13)


@every_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_edges_belong_to_the_window_and_nothing_beyond(case, dtype):
    window = tensor(0.625, dtype=dtype)  # exact in every dtype
    out = torch.nextafter(window.float(), tensor(9.0)).to(dtype)
    out = window * (1 + 2 * torch.finfo(dtype).eps) if out == window else out
    low, high, below, above = case.shape.derivative(torch.stack([-window, window, -out, out]), window)
    assert low.dtype == dtype
    if case.shape.bounded:
        assert below == above == 0
        expected = case.formula(f64(-0.625, 0.625), f64(0.625)[0])
        torch.testing.assert_close(torch.stack([low, high]).double(), expected, rtol=1e-2, atol=1e-3)
    else:
        assert below > 0
        assert above > 0


@every_case
@pytest.mark.parametrize("window", WINDOWS)
def test_the_integral_is_the_area(case, window):
    # Midpoints of a uniform grid that has the window's edges on cell borders; the tails of
    # unbounded shapes by the substitution x = tan(angle), which makes the range finite.
    cells = 20_000
    if case.shape.bounded:
        x = ((torch.arange(cells, dtype=torch.float64) + 0.5) / cells * 2 - 1) * 2 * window
        total = case.shape.derivative(x, window).sum() * 4 * window / cells
    else:
        angle = ((torch.arange(cells, dtype=torch.float64) + 0.5) / cells - 0.5) * math.pi
        x = torch.tan(angle)
        total = (case.shape.derivative(x, window) * (1 + x * x)).sum() * math.pi / cells
    assert total.item() == pytest.approx(case.area(window), rel=1e-6)
    if case.shape.area == "free":
        assert case.shape.scale * case.shape.mass * window == pytest.approx(case.area(window))


def between(x, window):
    """Moved off the edges and the middle, where a bounded shape jumps or bends."""
    kinks = f64(-window, 0.0, window)
    near = (x[:, None] - kinks).abs().min(1).values < 1e-3 * window
    return x[~near]


@given(window=st.floats(0.05, 5), case=st.sampled_from(CASES))
def test_the_derivative_of_the_primitive_is_the_derivative(window, case):
    x = between(torch.linspace(-3 * window, 3 * window, 241, dtype=torch.float64), window)
    step = 1e-4 * window
    slope = (case.shape.primitive(x + step, window) - case.shape.primitive(x - step, window)) / (2 * step)
    torch.testing.assert_close(slope, case.formula(x, f64(window)[0]), rtol=1e-6, atol=1e-7 / window)


@every_case
def test_autograd_of_the_primitive_is_the_derivative_edges_included(case):
    window = f64(0.3, 1.0, 2.5)[:, None]
    x = torch.cat(
        [torch.linspace(-3, 3, 121, dtype=torch.float64).expand(3, -1), -window, window, 0 * window], 1
    )
    x = x.clone().requires_grad_()
    case.shape.primitive(x, window).sum().backward()
    torch.testing.assert_close(x.grad, case.shape.derivative(x.detach(), window), rtol=1e-9, atol=1e-12)


@every_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_primitive_goes_from_0_to_the_area_and_never_down(case, dtype):
    big = torch.finfo(dtype).max
    for window in WINDOWS:
        area = case.area(window)
        assert case.shape.integral(window) == pytest.approx(area)
        low, high = case.shape.primitive(tensor([-big, big], dtype=dtype), window).tolist()
        assert (low, high) == (pytest.approx(0, abs=1e-6 * area), pytest.approx(area, rel=1e-6))
        if case.shape.bounded:
            edges = case.shape.primitive(tensor([-window, window], dtype=dtype), window).tolist()
            assert edges == pytest.approx([0, area], rel=1e-6, abs=1e-6)
        rising = case.shape.primitive(torch.linspace(-4, 4, 2001, dtype=dtype), window)
        assert (rising.diff() >= -1e-6 * area).all()


def test_the_primitive_of_several_thresholds_is_the_sum():
    u = torch.linspace(-1, 4, 301, dtype=torch.float64)
    for case in CASES:
        gate = Gate(case.shape, (0.5, 1.5, 2.5))
        expected = sum(case.shape.primitive(u - at, 0.4) for at in (0.5, 1.5, 2.5))
        torch.testing.assert_close(gate.primitive(u, 0.4), expected)


@every_case
def test_windows_broadcast_per_step_layer_and_channel(case):
    distance = torch.randn(3, 2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for shape in ((), (3, 1, 1, 1), (4, 1), (3, 1, 4, 1), (3, 2, 4, 5)):
        window = 0.2 + torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        value = case.shape.derivative(distance, window)
        assert value.shape == distance.shape
        full = window.expand(distance.shape)
        for at in ((0, 0, 0, 0), (2, 1, 3, 4), (1, 0, 2, 3)):
            expected = case.shape.derivative(distance[at], full[at].item())
            torch.testing.assert_close(value[at], expected, rtol=1e-13, atol=0)


@every_case
@pytest.mark.parametrize("threshold", [0.3, 1.0, 1.7])
def test_any_threshold_is_the_centre(case, threshold):
    u = torch.linspace(-2, 4, 401, dtype=torch.float64)
    value = Gate(case.shape, (threshold,)).derivative(u, 0.6)
    torch.testing.assert_close(value, case.formula(u - threshold, f64(0.6)[0]), rtol=1e-12, atol=1e-13)


@every_case
def test_far_away_there_is_no_nan(case):
    for dtype in (torch.float64, torch.float32, torch.float16):
        big = torch.finfo(dtype).max
        value = case.shape.derivative(tensor([-big, -100.0, 100.0, big], dtype=dtype), 0.1)
        assert value.isfinite().all()
        assert (value >= 0).all()
        assert (value <= 1e-4 / (case.shape.mass * 0.1)).all()


@given(
    x=st.floats(-5, 5),
    window=st.floats(1e-3, 10),
    single=st.booleans(),
    case=st.sampled_from(CASES),
)
def test_never_negative(x, window, single, case):
    dtype = torch.float32 if single else torch.float64
    for distance in (x, window, -window):
        assert case.shape.derivative(tensor(distance, dtype=dtype), window).item() >= 0


@every_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_no_rounding_at_an_edge_makes_it_negative(case, dtype):
    window = torch.linspace(0.05, 3, 20_001, dtype=torch.float64).to(dtype)
    for distance in (window, -window, -window * 0.999):
        assert (case.shape.derivative(distance, window) >= 0).all()


@given(x=st.floats(-2, 2), window=st.floats(0.05, 3), case=st.sampled_from(AFFINE))
def test_coefficients_give_the_shape_inside_the_window(x, window, case):
    offset, slope = case.shape.coefficients(f64(window))
    y = case.shape.ordinate(f64(x))
    if abs(x) <= window:
        torch.testing.assert_close(
            offset + slope * y, case.shape.derivative(f64(x), window), rtol=1e-9, atol=1e-12
        )


@given(x=st.floats(-3, 3), window=st.floats(0.05, 3), bias=st.floats(0.5, 3))
def test_lower_bias_means_less_gradient_below_and_a_ramp_that_rises(x, window, bias):
    value = Asymmetric(bias=bias).derivative(f64(x), window).item()
    assert value <= Asymmetric(bias=bias + 0.1).derivative(f64(x), window).item()
    if abs(x) <= window * 0.999:
        assert value < Asymmetric(bias=bias).derivative(f64(x + window * 5e-4), window).item()


@pytest.mark.parametrize("alpha", [0.5, 2.0, 4.0])
def test_shapes_of_other_libraries_as_docstrings_promise(alpha):
    x = torch.linspace(-4, 4, 333, dtype=torch.float64)
    # ATan(α): spike(x) = arctan(π α x / 2) / π + 1/2, differentiated by autograd.
    x1 = x.clone().requires_grad_()
    (torch.atan(math.pi / 2 * alpha * x1) / math.pi + 0.5).sum().backward()
    torch.testing.assert_close(Arctan(area="unit").derivative(x, 2 / (math.pi * alpha)), x1.grad)
    # Sigmoid(α): spike(x) = 1 / (1 + e^{-αx}).
    x2 = x.clone().requires_grad_()
    torch.sigmoid(alpha * x2).sum().backward()
    torch.testing.assert_close(Sigmoid(area="unit").derivative(x, 1 / alpha), x2.grad)
    # SuperSpike, slope k: 1 / (k|x| + 1)².
    torch.testing.assert_close(FastSigmoid().derivative(x, 1 / alpha), 1 / (alpha * x.abs() + 1) ** 2)


def test_dspike_at_the_published_window_has_area_1_and_ends_between_boxcar_and_spike():
    x = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000 - 0.5
    for b in (0.5, 3.0, 10.0):
        assert Dspike(temperature=b).derivative(x, 0.5).mean().item() == pytest.approx(1, rel=1e-6)
    torch.testing.assert_close(Dspike(temperature=1e-4).derivative(x, 0.5), torch.ones_like(x))
    assert Dspike(temperature=50.0).derivative(f64(0.0), 0.5).item() == pytest.approx(25)


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda: Asymmetric(bias=0.49), "0.49"),
        (lambda: Asymmetric(bias=-1.0), "-1"),
        (lambda: Asymmetric(bias=math.nan), "nan"),
        (lambda: PinnedAsymmetric(floor=-0.1), "-0.1"),
        (lambda: PinnedAsymmetric(floor=1.2), "1.2"),
        (lambda: PinnedAsymmetric(floor=math.nan), "nan"),
        (lambda: Dspike(temperature=0.0), "0"),
        (lambda: Dspike(temperature=-2.5), "-2.5"),
        (lambda: Dspike(temperature=math.inf), "inf"),
        *[(lambda cls=cls: cls(area="untied"), "untied") for cls in SURROGATES.values()],
        *[(lambda cls=cls: cls(scale=0.0), "scale must be") for cls in SURROGATES.values()],
        (lambda: create_surrogate("boxkar"), "did you mean 'boxcar'"),
        (lambda: create_surrogate("triangle", bias=0.6), "bias"),
        (lambda: create_surrogate("asymmetric", bias=0.3), "0.3"),
    ],
)
def test_bad_parameters_are_told_with_their_value(make, value):
    with pytest.raises(InputError, match=value.replace(".", r"\.")) as error:
        make()
    assert "\n" not in str(error.value)


def test_shapes_by_name_are_the_classes():
    for name, cls in SURROGATES.items():
        made = create_surrogate(name, area="unit")
        assert type(made) is cls
        assert isinstance(made, Surrogate)
        assert made.area == "unit"
    assert create_surrogate("asymmetric", bias=0.7) == Asymmetric(bias=0.7)
    assert create_surrogate("pinned", floor=0.8) == PinnedAsymmetric(floor=0.8)


def test_every_shape_of_the_package_is_in_the_table_of_cases():
    assert {type(case.shape) for case in BY_NAME.values()} == set(SURROGATES.values())


@pytest.mark.parametrize(
    ("options", "biases"), [({}, (0.5, 0.8)), ({"close": True}, (0.5, 0.6, 0.7, 0.8, 0.9))]
)
@pytest.mark.parametrize("area", ["free", "unit"])
def test_analyses_compare_shapes_by_names_that_tell_their_options(area, options, biases):
    found = side_by_side(area, **options)
    asymmetric = {name: shape for name, shape in found.items() if name.startswith("asymmetric")}
    assert asymmetric == {f"asymmetric {h}": Asymmetric(bias=h, area=area) for h in biases}
    assert found["fast sigmoid"] == FastSigmoid(area=area)
    assert all(shape.area == area for shape in found.values())

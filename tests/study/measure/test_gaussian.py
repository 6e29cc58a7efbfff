"""The CV of a shape under a Gaussian, against closed forms, another quadrature and samples."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from a2sg.errors import InputError
from a2sg.study.measure.gaussian import Stretched, gaussian_cv
from a2sg.surrogate import Arctan, Asymmetric, Boxcar, Dspike, Triangle
from reference import CASES

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
SETTINGS = [(1.0, -0.5, 0.7), (0.3, -2.0, 0.6), (0.2, 0.1, 5.0), (2.0, 0.3, 0.4), (1.0, -1.0, 0.05)]


def partial(mean, deviation, low, high):
    """∫ xᵏ of the density over low .. high, k = 0, 1, 2."""
    a, b = (low - mean) / deviation, (high - mean) / deviation
    pdf, cdf, sf = stats.norm.pdf, stats.norm.cdf, stats.norm.sf
    zero = sf(a) - sf(b) if a > 0 else cdf(b) - cdf(a)  # far out, 1 - cdf has no digits left
    one = pdf(a) - pdf(b)
    two = zero + a * pdf(a) - b * pdf(b)
    return (
        zero,
        mean * zero + deviation * one,
        mean**2 * zero + 2 * mean * deviation * one + deviation**2 * two,
    )


def affine_cv(p, q, window, mean, deviation, symmetric):
    """CV of p + q·x (or |x|) within the window, from partial moments."""
    first = second = 0.0
    for low, high, sign in ((-window, 0.0, -1 if symmetric else 1), (0.0, window, 1)):
        m0, m1, m2 = partial(mean, deviation, low, high)
        first += p * m0 + sign * q * m1
        second += p * p * m0 + 2 * sign * p * q * m1 + q * q * m2
    return math.sqrt(second / first**2 - 1)


@given(window=st.floats(0.1, 3), mean=st.floats(-2, 2), deviation=st.floats(0.1, 3), bias=st.floats(0.5, 2))
def test_affine_shapes_have_a_closed_form(window, mean, deviation, bias):
    for shape, p, q, symmetric in (
        (Boxcar(), 1.0, 0.0, True),
        (Triangle(), 1.0, -1 / window, True),
        (Asymmetric(bias=bias), bias, 1 / (2 * window), False),
    ):
        expected = affine_cv(p, q, window, mean, deviation, symmetric)
        assert gaussian_cv(shape, window, mean, deviation) == pytest.approx(expected, rel=1e-8, abs=1e-7)


@every_case
@pytest.mark.parametrize(("window", "mean", "deviation"), SETTINGS[:3])
def test_every_shape_is_what_another_quadrature_finds(case, window, mean, deviation):
    """Adaptive, and of the formula that was written by hand."""
    beta = torch.tensor(window, dtype=torch.float64)

    def f(x):
        return case.formula(torch.tensor(x, dtype=torch.float64), beta).item()

    ends = {-window, 0.0, window, mean, mean - 10 * deviation, mean + 10 * deviation}
    ends = sorted(x for x in ends if not case.shape.bounded or abs(x) <= window)
    moments = [
        sum(
            integrate.quad(
                lambda x, k=k: f(x) ** k * stats.norm.pdf(x, mean, deviation), a, b, epsrel=1e-9, epsabs=0
            )[0]
            for a, b in pairwise(ends)
        )
        for k in (1, 2)
    ]
    expected = math.sqrt(moments[1] / moments[0] ** 2 - 1)
    assert gaussian_cv(case.shape, window, mean, deviation) == pytest.approx(expected, rel=1e-6)


@every_case
def test_samples_agree(case):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400_000, generator=generator, dtype=torch.float64)
    for window, mean, deviation in SETTINGS[:2]:
        f = case.shape.derivative(mean + deviation * x, window)
        found = gaussian_cv(case.shape, window, mean, deviation)
        # The error of a CV of n samples is below cv² · few / sqrt(n · P(inside)).
        assert found == pytest.approx((f.std() / f.mean()).item(), rel=0.05)


@given(scale=st.floats(0.1, 10), mean=st.floats(-3, 3), deviation=st.floats(0.2, 2))
def test_the_unit_of_the_potential_and_the_height_do_not_matter(scale, mean, deviation):
    for free, unit in ((Triangle(), Triangle(area="unit")), (Arctan(), Arctan(area="unit"))):
        cv = gaussian_cv(free, 1.0, mean, deviation)
        assert gaussian_cv(unit, scale, scale * mean, scale * deviation) == pytest.approx(cv, rel=1e-6)


@given(window=st.floats(0.1, 3), mean=st.floats(-3, 3), deviation=st.floats(0.1, 3))
def test_on_one_support_nothing_varies_less_than_a_constant(window, mean, deviation):
    """Cauchy-Schwarz: (E f)² <= E f² · P(inside), whatever the potentials."""
    boxcar = gaussian_cv(Boxcar(), window, mean, deviation)
    for shape in (Triangle(), Dspike(), Asymmetric(), Asymmetric(bias=0.9)):
        assert gaussian_cv(shape, window, mean, deviation) >= boxcar * (1 - 1e-9)


def test_far_tails_are_numbers_until_they_are_none():
    assert gaussian_cv(Boxcar(), 1.0, -8.0, 0.5) == pytest.approx(
        math.sqrt(1 / stats.norm.sf(14.0)), rel=1e-6
    )
    assert gaussian_cv(Boxcar(), 0.5, -60.0, 1.0) is None
    assert gaussian_cv(Triangle(), 0.5, 0.1, 0.0) == 0
    assert gaussian_cv(Triangle(), 0.5, 0.6, 0.0) is None


@every_case
def test_a_stretched_shape_is_the_shape_at_a_wider_window(case):
    x = torch.linspace(-3, 3, 301, dtype=torch.float64)
    wide = Stretched(case.shape, 1.7)
    for window in (0.4, torch.tensor([[0.3], [1.1]], dtype=torch.float64)):
        assert torch.equal(wide.derivative(x, window), case.shape.derivative(x, window * 1.7))
        assert torch.equal(wide.primitive(x, window), case.shape.primitive(x, window * 1.7))
    assert wide.integral(0.4) == case.shape.integral(0.4 * 1.7)
    assert wide.bounded == case.shape.bounded
    torch.testing.assert_close(wide.profile(x * 1.7), case.shape.profile(x))
    cv = gaussian_cv(case.shape, 0.5 * 1.7, -0.3, 0.8)
    assert gaussian_cv(wide, 0.5, -0.3, 0.8) == pytest.approx(cv, rel=1e-10)


@pytest.mark.parametrize("numbers", [(0, 0, 1), (1, math.nan, 1), (1, 0, -1), (1, 0, math.inf)])
def test_bad_numbers_are_told(numbers):
    with pytest.raises(InputError, match=r"window|mean and deviation"):
        gaussian_cv(Boxcar(), *numbers)

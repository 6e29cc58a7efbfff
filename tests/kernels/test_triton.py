"""The Triton kernels against the reference backend and the blocked sums.

Three ways to run this file, each skipping the tests of the others:

    TRITON_INTERPRET=1 pytest tests/kernels/test_triton.py    the arithmetic, on any machine
    pytest tests/kernels/test_triton.py -m "not gpu"          that it compiles for a GPU, on any machine
    pytest tests/kernels/test_triton.py -m gpu                both, on a GPU
"""

import os
from dataclasses import dataclass

import pytest
import torch

import a2sg
from a2sg.kernels import (
    Dynamics,
    Gate,
    reference,
    sums,
    triton_bins,
    triton_constants,
    triton_neuron,
    triton_products,
    triton_sums,
)
from a2sg.kernels.drive import POTENTIAL, Affine, Arriving, Drive
from a2sg.kernels.reference import REFERENCE
from a2sg.kernels.sums import Observation, Sums
from a2sg.kernels.triton_neuron import TRITON
from a2sg.surrogate import Arctan, Asymmetric, Boxcar, Dspike, Sigmoid, Triangle, WindowedAffine
from ahead import Ahead
from reference import CASES
from sums_by_hand import table_of

triton = pytest.importorskip("triton", reason="triton is not installed")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
PROFILES = pytest.mark.parametrize("shape", [pytest.param(case.shape, id=case.name) for case in CASES])
LEVELS = (0.5, 1.5, 2.5)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    if request.param == "cpu" and not INTERPRETED:
        pytest.skip("on a CPU the kernels run interpreted: set TRITON_INTERPRET=1")
    if request.param == "cuda" and INTERPRETED:
        pytest.skip("TRITON_INTERPRET=1 is set: nothing would be compiled")
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device(request.param)


@dataclass(frozen=True)
class Problem:
    """A neuron, its input and the gradients that come back to it."""

    reset: str = "soft"
    detach: bool = False
    order: str = "field"
    steps: int = 3
    thresholds: tuple = (1.0,)
    size: tuple = (2, 37)
    dtype: torch.dtype = torch.float32
    shape: object = Asymmetric(bias=0.8)
    trained: bool = True
    started: bool = True
    spikes_matter: bool = True
    final_matters: bool = True

    def dynamics(self):
        return Dynamics(Gate(self.shape, self.thresholds), 1.0, self.reset, self.detach, self.order)

    def tensors(self, device):
        """current, decay, initial, window, grad_spikes, grad_final."""
        generator = torch.Generator().manual_seed(self.steps)
        wide = POTENTIAL[self.dtype]

        def draw(*shape, dtype=wide):
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).to(device)

        current = 0.5 + draw(self.steps, *self.size, dtype=self.dtype)
        decay = torch.tensor(0.9, dtype=wide, device=device) if self.trained else 0.9
        initial = draw(*self.size) if self.started else None
        window = (0.3 + draw(self.steps).abs()).float()
        grad_spikes = draw(self.steps, *self.size, dtype=self.dtype) if self.spikes_matter else None
        return current, decay, initial, window, grad_spikes, draw(*self.size) if self.final_matters else None


def check(problem, device, arrange=lambda current: current):
    """Spikes and state to the bit, gradients to rounding."""
    current, decay, initial, window, grad_spikes, grad_final = problem.tensors(device)
    current, dynamics = arrange(current), problem.dynamics()
    drive = Drive(current, len(current), decay, initial)
    assert not TRITON.obstacle(drive, window, dynamics)
    spikes, final, *_ = TRITON.forward(drive, dynamics)
    trace = reference.trace(drive, dynamics)
    assert spikes.dtype == current.dtype
    assert torch.equal(spikes, torch.stack(trace.spikes).to(current.dtype))
    assert final.dtype == trace.final.dtype
    assert torch.equal(final, trace.final)

    back = (Arriving(grad_spikes, grad_final), drive, window, dynamics)
    grads = TRITON.backward(*back, decay_needs_grad=problem.trained)
    expected = REFERENCE.backward(*back, decay_needs_grad=problem.trained)
    tolerance = 1e-11 if problem.dtype == torch.float64 else 2e-5
    assert grads.current.dtype == current.dtype
    if current.dtype in (torch.float16, torch.bfloat16):
        torch.testing.assert_close(grads.current, expected.current.to(current.dtype))
    else:
        torch.testing.assert_close(grads.current, expected.current, rtol=tolerance, atol=tolerance)
    assert (grads.decay is None) == (not problem.trained)
    if problem.trained:
        terms = current.numel()
        torch.testing.assert_close(grads.decay, expected.decay, rtol=tolerance, atol=tolerance * terms**0.5)
    assert (grads.initial is None) == (initial is None)
    if initial is not None:
        torch.testing.assert_close(grads.initial, expected.initial, rtol=tolerance, atol=tolerance)
    return spikes, final, grads


@pytest.mark.parametrize("kept", [32, 0])
@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("order", ["field", "scaled"])
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_every_neuron_is_the_reference(device, monkeypatch, reset, detach, order, steps, kept):
    monkeypatch.setattr(triton_neuron, "KEPT", kept)  # potentials in registers, or in a buffer
    spikes, _, grads = check(Problem(reset, detach, order, steps), device)
    assert 0 < spikes.mean() < 1
    assert (grads.current != 0).any()


FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


@pytest.mark.parametrize("order", ["field", "scaled"])
@pytest.mark.parametrize("held", [1, 3], ids=["shared", "own"])
@pytest.mark.parametrize("addend", [None, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("form", FORMATS)
def test_the_input_is_normalised_and_the_shortcut_added_in_the_kernel(
    device, form, dtype, addend, held, order
):
    if held == 1 and addend is not None:
        pytest.skip("steps that share a current have no shortcut")
    generator = torch.Generator().manual_seed(7)
    wide, size = POTENTIAL[dtype], (2, 6, 3, 5)

    def draw(*shape, dtype=wide):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).to(device)

    current = draw(held * size[0], *size[1:], dtype=dtype).contiguous(memory_format=FORMATS[form])
    affine = Affine(1 + 0.3 * draw(6), 0.5 + 0.3 * draw(6), (held, size[0]))
    shortcut = None if addend is None else draw(3, *size, dtype=addend)
    decay = torch.tensor(0.9, dtype=wide, device=device)
    drive = Drive(current, 3, decay, None, affine, shortcut)
    window, dynamics = (0.3 + draw(3).abs()).float(), Problem(order=order).dynamics()
    found, expected = TRITON.forward(drive, dynamics), REFERENCE.forward(drive, dynamics)
    assert torch.equal(found.spikes, expected.spikes)
    assert torch.equal(found.final, expected.final)
    assert TRITON.forward(drive, dynamics, want_final=False).final is None
    back = (Arriving(draw(3, *size, dtype=dtype)), drive._replace(plan=found.plan), window, dynamics)
    grads = TRITON.backward(*back, decay_needs_grad=True)
    wanted = REFERENCE.backward(*back[:1], drive, *back[2:], decay_needs_grad=True)
    tolerance = {torch.bfloat16: 2e-2, torch.float32: 2e-5, torch.float64: 1e-11}[dtype]
    torch.testing.assert_close(
        grads.current.double().reshape(wanted.current.shape),
        wanted.current.double(),
        rtol=tolerance,
        atol=tolerance,
    )
    torch.testing.assert_close(grads.decay, wanted.decay, rtol=1e-4, atol=1e-4)


class Seer:
    """A watcher that keeps what it is shown."""

    def __init__(self, gradient):
        self.gradient = gradient
        self.shown = []

    def watch(self, gate, window, fill):
        self.gate = gate
        return self.shown.append


@pytest.mark.parametrize("kept", [32, 0])
@pytest.mark.parametrize("gradient", ["spike", "full"])
@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_watcher_is_shown_what_the_reference_shows(device, monkeypatch, dtype, reset, gradient, kept):
    monkeypatch.setattr(triton_neuron, "KEPT", kept)
    problem = Problem(reset, dtype=dtype)
    current, decay, initial, window, *arriving = problem.tensors(device)
    drive, dynamics, seer = Drive(current, 3, decay, initial), problem.dynamics(), Seer(gradient)
    for backend in (TRITON, REFERENCE):
        backend.backward(Arriving(*arriving), drive, window, dynamics, watcher=seer)
        assert seer.gate == dynamics.gate
    mine, wanted = seer.shown
    assert (mine.carry is None) == (gradient == "spike")
    watched = mine.delta if mine.carry is None else mine.delta + mine.carry
    wanted = wanted._replace(passing=watched.flatten(1).count_nonzero(1))
    for found, expected in zip(mine, wanted, strict=True):
        if isinstance(found, torch.Tensor):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        else:
            assert found == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("thresholds", [(1.0,), LEVELS])
def test_every_dtype(device, dtype, thresholds):
    check(Problem(dtype=dtype, thresholds=thresholds, order="scaled"), device)


@pytest.mark.parametrize("steps", [5, 16, 32, 33])
def test_any_number_of_steps(device, steps):
    check(Problem(steps=steps, reset="hard", size=(11,)), device)


@pytest.mark.parametrize("size", [(1,), (127,), (128,), (3, 5, 7), (1025,), (2, 1111)])
def test_any_number_of_neurons(device, size):
    check(Problem(size=size), device)


@pytest.mark.parametrize("steps", [1, 4, 33])
@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("value", [float("nan"), torch.inf, -torch.inf])
def test_the_last_spike_of_a_broken_potential_is_nan(device, value, reset, steps):
    current = torch.zeros(steps, 2, 9, device=device)
    current[0, 1, 3] = value
    dynamics = Dynamics(Gate(Boxcar(), (1.0,)), 1.0, reset, False, "field")
    spikes = TRITON.forward(Drive(current, steps, 0.9, None), dynamics).spikes
    assert spikes.isnan().nonzero().tolist() == [[steps - 1, 1, 3]]


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize(("spikes_matter", "final_matters"), [(True, False), (False, True), (False, False)])
def test_what_is_absent_counts_as_zero(device, trained, started, spikes_matter, final_matters):
    absent = {"spikes_matter": spikes_matter, "final_matters": final_matters}
    check(Problem(reset="hard", order="scaled", trained=trained, started=started, **absent), device)


@PROFILES
@pytest.mark.parametrize("thresholds", [(1.0,), LEVELS])
def test_every_shape_and_level(device, shape, thresholds):
    check(Problem(shape=shape, thresholds=thresholds, dtype=torch.float64), device)


@PROFILES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("window", [0.25, 0.7, 30.0])
def test_the_derivative_is_that_of_the_shape(device, shape, dtype, window):
    """One step of a neuron whose potential is its input: what comes back is ds/du, edges included."""
    threshold = 0.5
    distance = torch.cat([torch.linspace(-4, 4, 401), torch.tensor([-window, window, 0.0, 100.0, -100.0])])
    u = (threshold + distance.to(dtype)).to(device)[None, None]
    windows = torch.tensor([window], device=device)
    dynamics = Dynamics(Gate(shape, (threshold,)), threshold, "soft", False, "field")
    grads = TRITON.backward(Arriving(torch.ones_like(u)), Drive(u, 1, 1.0, None), windows, dynamics)
    expected = shape.derivative(u - threshold, windows)
    rel = 1e-12 if dtype == torch.float64 else 1e-5  # a GPU's exp is good to |x| roundings
    torch.testing.assert_close(grads.current, expected, rtol=rel, atol=1e-30)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_ramp_from_zero_is_zero_at_its_edge_and_never_below(device, dtype):
    windows = torch.arange(33, 65, device=device) / 64  # 49/64 is one whose inverse does not give 1 back
    current = (1 - windows).to(dtype)[:, None, None]
    dynamics = Dynamics(Gate(Asymmetric(), (1.0,)), 1.0, "soft", True, "field")
    ones = torch.ones_like(current)
    drive = Drive(current, len(current), 0.0, None)
    grads = TRITON.backward(Arriving(ones), drive, windows.to(dtype), dynamics)
    assert (grads.current >= 0).all()
    assert (grads.current <= torch.finfo(dtype).eps).all()


@pytest.mark.parametrize("shape", [Boxcar(), Triangle(), Sigmoid()])
def test_neighbouring_windows_share_no_edge(device, shape):
    u = (torch.arange(-8, 32, device=device) / 8)[None, None]
    gate, window = Gate(shape, LEVELS), torch.tensor([0.5], device=device)
    dynamics = Dynamics(gate, 1.0, "soft", False, "field")
    grads = TRITON.backward(Arriving(torch.ones_like(u)), Drive(u, 1, 1.0, None), window, dynamics)
    torch.testing.assert_close(grads.current, gate.derivative(u, window))
    if shape == Boxcar():
        assert ((u >= 0) & (u <= 3)).float().equal(grads.current)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threshold", [0.1, 0.7, 1.0])
def test_a_potential_at_the_threshold_fires(device, dtype, threshold):
    at = torch.full((1, 1, 1), threshold, dtype=dtype, device=device)
    below = torch.nextafter(at, torch.zeros_like(at))
    dynamics = Dynamics(Gate(Boxcar(), (threshold,)), threshold, "soft", False, "field")
    spikes = TRITON.forward(Drive(torch.cat([at, below], 2), 1, 1.0, None), dynamics).spikes
    assert spikes.flatten().tolist() == [1.0, 0.0]


LAYOUTS = {
    "channels last": lambda x: x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3),
    "batch outside time": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "every other": lambda x: x.repeat_interleave(2, dim=-1)[..., ::2],
    "expanded": lambda x: x[:, :, :1].expand_as(x),
    "a view with an offset": lambda x: torch.cat([x, x])[len(x) :],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_layout_of_the_input_does_not_matter(device, name):
    problem = Problem(size=(2, 3, 4, 5), order="scaled")
    spikes, final, grads = check(problem, device, LAYOUTS[name])
    if name == "channels last":
        for result in (spikes, grads.current):
            assert result.stride() == LAYOUTS[name](torch.empty_like(result)).stride()
        for result in (final, grads.initial):
            assert result.is_contiguous(memory_format=torch.channels_last)


class Own(Boxcar):
    def profile(self, z):
        return torch.exp(-z * z)


@dataclass(frozen=True)
class Valley(WindowedAffine):
    symmetric = True
    offset = 0.25
    slope = 0.5


def test_a_shape_of_ones_own_is_refused_unless_it_is_affine(device):
    current, _, _, window, *_ = Problem().tensors(device)
    assert TRITON.obstacle(Drive(current, 3, 0.9, None), window, Problem(shape=Own()).dynamics())
    check(Problem(shape=Valley(area="unit")), device)


def test_what_the_kernels_do_not_take_is_refused(device):
    current, _, _, window, *_ = Problem().tensors(device)
    dynamics = Problem().dynamics()

    def obstacle(current, window):
        return TRITON.obstacle(Drive(current, len(current), 0.9, None), window, dynamics)

    assert not obstacle(current, window)
    assert "one window per step" in obstacle(current, window[:, None, None])
    assert obstacle(current.int(), window)
    assert obstacle(current[:, :0], window)


CANDIDATES = torch.linspace(0.1, 1.0, 7, dtype=torch.float64).float().double()


def layer(device, size=(700,), scale=1.0, dtype=torch.float32):
    """Potential, upstream, carry and later gradient of one layer at one step."""
    generator = torch.Generator().manual_seed(3)
    u, g, c, r = torch.randn(4, *size, generator=generator, dtype=torch.float64)
    parts = 1 + 0.7 * u, scale * (0.2 + g), 0.5 * scale * c, scale * (0.5 * g + r)
    return tuple(part.to(dtype).to(device) for part in parts)


def assert_same_sums(table, expected, rel):
    """To `rel` of the sums of absolute values, as sums of both signs may cancel."""
    square, later = expected[:, Sums.SQUARE], expected[:, Sums.LATER]
    size = torch.stack(
        [
            expected[:, Sums.COUNT],
            expected[:, Sums.ABS],
            expected[:, Sums.ABS],
            square,
            (square * later).sqrt(),
            later,
        ],
        1,
    )
    assert table.dtype == torch.float64
    assert table.shape == expected.shape
    assert ((table - expected).abs() <= rel * size).all()


def tables(seen, candidates):
    """Of all ways to sum that support the observation."""
    lines = (triton_bins.fill, triton_products.fill) if triton_bins.takes(seen) else ()
    return [table_of(fill, seen, candidates) for fill in (triton_sums.fill, *lines)]


def check_sums(gate, parts, candidates):
    candidates, seen = candidates.to(parts[0].device), Observation(gate, *parts)
    expected = table_of(sums.blocked, seen, candidates)
    rel = 1e-11 if parts[0].dtype == torch.float64 else 1e-6
    for table in tables(seen, candidates):
        assert_same_sums(table, expected, rel)
    return table


def test_straight_lines_are_summed_by_gap(device):
    u, g, c, r = layer(device)
    line = Gate(Asymmetric(), (1.0,))
    assert triton_bins.takes(Observation(line, u, g, None, r))
    assert not triton_bins.takes(Observation(line, u, g, c, r))
    assert not triton_bins.takes(Observation(line, u.double(), g.double(), None, None))
    assert not triton_bins.takes(Observation(Gate(Asymmetric(), LEVELS), u, g, None, r))
    assert not triton_bins.takes(Observation(Gate(Sigmoid(), (1.0,)), u, g, None, r))


@pytest.mark.parametrize("shape", [Boxcar(), Triangle(area="unit"), Asymmetric(bias=0.8), Valley()])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_gradients_of_any_type_are_summed_by_gap(device, shape, dtype):
    u, g, _, r = layer(device, (40, 33))
    check_sums(Gate(shape, (1.0,)), (u, g.to(dtype), None, r), CANDIDATES)


def test_a_window_that_holds_only_its_edge(device):
    """Where f almost vanishes on all that a window holds, sums are exact to the size of f = 1."""
    u = torch.tensor([0.5005, 1.499, 5.0], device=device)
    g = torch.tensor([1.0, -2.0, 3.0], device=device)
    candidates = torch.tensor([0.5, 0.4], dtype=torch.float64).float().double().to(device)
    seen = Observation(Gate(Triangle(), (1.0,)), u, g, None, None)
    expected = table_of(sums.blocked, seen, candidates)
    for table in tables(seen, candidates):
        torch.testing.assert_close(table, expected, rtol=0, atol=1e-6)


@PROFILES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("full", [False, True])
def test_sums_of_every_shape(device, shape, dtype, full):
    u, g, c, r = layer(device, dtype=dtype)
    table = check_sums(Gate(shape, (1.0,)), (u, g, c if full else None, r), CANDIDATES)
    assert (table[:, Sums.ABS :] != 0).all()


@pytest.mark.parametrize("shape", [Boxcar(), Asymmetric(area="unit"), Dspike()])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_sums_over_levels_and_at_the_last_step(device, shape, full, last):
    u, g, c, r = layer(device)
    check_sums(Gate(shape, LEVELS), (u, g, c if full else None, None if last else r), CANDIDATES)


@pytest.mark.parametrize("scale", [1e-8, 1e-12, 1e-20, 1e20])
def test_the_size_of_the_gradients_does_not_matter(device, scale):
    u, g, c, r = layer(device, scale=scale)
    for carry in (None, c):
        table = check_sums(Gate(Triangle(), (1.0,)), (u, g, carry, r), CANDIDATES)
        assert (table[:, Sums.SQUARE] > 0).all()


def test_layers_of_very_different_blocks_add_up(device):
    u, g, c, r = layer(device, (4 * triton_sums.BLOCK,))
    scale = torch.logspace(-15, 0, 4, device=device).repeat_interleave(triton_sums.BLOCK)
    check_sums(Gate(Sigmoid(), (1.0,)), (u, g * scale, c * scale, r / scale), CANDIDATES)


@pytest.mark.parametrize("size", [(1,), (511,), (512,), (513,), (3, 7, 101)])
@pytest.mark.parametrize("programs", [1, 4096])
def test_sums_of_any_number_of_elements(device, monkeypatch, size, programs):
    monkeypatch.setattr(triton_sums, "PROGRAMS", programs)  # one that goes through all blocks, or one each
    monkeypatch.setattr(triton_bins, "PROGRAMS", programs)
    monkeypatch.setattr(triton_products, "PROGRAMS", programs)
    u, g, c, r = layer(device, size)
    for carry in (c, None):
        check_sums(Gate(Asymmetric(bias=0.8), (1.0,)), (u, g, carry, r), CANDIDATES)


@pytest.mark.parametrize("shape", [Boxcar(), Triangle(area="unit"), Sigmoid()])
@pytest.mark.parametrize("thresholds", [(1.0,), LEVELS])
@pytest.mark.parametrize("spread", [0.2, 1.0, 4.0])
def test_elements_wait_until_there_is_a_block_of_them(device, monkeypatch, shape, thresholds, spread):
    """One program goes through many blocks, of which the widest window holds much, or little."""
    monkeypatch.setattr(triton_sums, "PROGRAMS", 1)
    monkeypatch.setattr(triton_sums, "BLOCK", 64)
    for name, value in (("PROGRAMS", 1), ("FULL", 64), ("BLOCK", 32), ("TILE", 4)):
        monkeypatch.setattr(triton_bins, name, value)
    for name, value in (("PROGRAMS", 1), ("READ", 128)):
        monkeypatch.setattr(triton_products, name, value)
    u, g, _, r = layer(device, (64 * 21 + 5,))
    check_sums(Gate(shape, thresholds), (1 + spread * (u - 1), g, None, r), CANDIDATES)


@pytest.mark.parametrize("count", [1, 2, 64, 65, 100, 128, 129, 300])
def test_any_number_of_candidates(device, count):
    candidates = torch.linspace(0.2, 1.0, count, dtype=torch.float64).float().double()
    table = check_sums(Gate(Triangle(), (1.0,)), layer(device, (65,)), candidates)
    assert len(table) == count


def test_sums_do_not_depend_on_the_layout(device):
    parts = layer(device, (2, 3, 8, 9), dtype=torch.float64)
    gate = Gate(Asymmetric(), (1.0,))
    mixed = [part.to(memory_format=torch.channels_last) for part in parts[:2]] + list(parts[2:])
    check_sums(gate, tuple(mixed), CANDIDATES)
    check_sums(gate, tuple(part.transpose(0, 1) for part in parts), CANDIDATES)


def test_equal_gradients_give_equal_sums(device):
    """A tie must stay a tie: windows between the same two elements hold the same gradients."""
    u, g, c, r = layer(device, (3 * triton_sums.BLOCK,))
    u = 1 + (8 * (u - 1)).round() / 8
    candidates = torch.tensor([0.3, 0.31, 0.34, 0.4, 0.45], dtype=torch.float64).float().double().to(device)
    seen = Observation(Gate(Boxcar(), (1.0,)), u, g, c, r)
    for shown in (seen, seen._replace(carry=None)):
        for table in tables(shown, candidates):
            assert torch.equal(table[:3], table[:1].expand(3, -1))
            assert torch.equal(table[3:], table[3:4].expand(2, -1))
            assert not torch.equal(table[0], table[3])
        assert all(map(torch.equal, tables(shown, candidates), tables(shown, candidates)))


def test_all_zero_gradients(device):
    u, g, _, r = layer(device)
    check_sums(Gate(Boxcar(), (1.0,)), (u, torch.zeros_like(g), None, torch.zeros_like(r)), CANDIDATES)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["upstream", "carry", "later"])
@pytest.mark.parametrize("at", [0, 600])
def test_a_gradient_that_is_not_finite_shows_at_every_candidate(device, bad, where, at):
    parts = dict(zip(("potential", "upstream", "carry", "later"), layer(device), strict=True))
    parts["potential"][at] = 50.0  # far outside every window
    parts[where][at] = bad
    if where != "carry":
        parts["carry"] = None
    shown = [Sums.CROSS, Sums.LATER] if where == "later" else [Sums.DELTA, Sums.ABS, Sums.SQUARE]
    for table in tables(Observation(Gate(Triangle(), (1.0,)), **parts), CANDIDATES.to(device)):
        assert not table[:, shown].isfinite().any()


@pytest.fixture
def ahead(request, monkeypatch, tmp_path):
    if INTERPRETED:
        pytest.skip("TRITON_INTERPRET=1 is set: nothing would be compiled")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    stand_ins = {}
    names = {
        triton_constants.kernels(): ("forward_kernel", "backward_kernel"),
        triton_constants.sum_kernels(): ("sums_kernel", "add_kernel"),
        triton_constants.bin_kernels(): ("gaps_kernel", "windows_kernel"),
        triton_constants.product_kernels(): ("products_kernel", "lines_kernel"),
    }
    for module, kernels in names.items():
        for name in kernels:
            stand_ins[name] = Ahead(getattr(module, name), request.param)
            monkeypatch.setattr(module, name, stand_ins[name])
    return stand_ins


COMPILED = [
    Problem(),
    Problem("hard", False, "scaled", 4, LEVELS, shape=Triangle(area="unit"), dtype=torch.bfloat16),
    Problem("hard", True, "field", 16, trained=False, started=False, shape=Sigmoid(), final_matters=False),
    Problem("soft", True, "scaled", 40, shape=Arctan(area="unit"), dtype=torch.float16),
    Problem(steps=2, shape=Dspike(area="unit"), thresholds=LEVELS, dtype=torch.float64),
]


@pytest.mark.parametrize("problem", COMPILED, ids=str)
@pytest.mark.parametrize("ahead", [80, 90], indirect=True)
def test_the_neuron_compiles_for_a_gpu(ahead, problem):
    current, decay, initial, window, grad_spikes, grad_final = problem.tensors("cpu")
    dynamics = problem.dynamics()
    drive = Drive(current, len(current), decay, initial)
    TRITON.forward(drive, dynamics)
    assert ahead["forward_kernel"].made.asm["cubin"]
    # A fused multiply-add rounds once where the reference rounds twice: other spikes.
    assert "fma" not in ahead["forward_kernel"].made.asm["ptx"]
    back = (Arriving(grad_spikes, grad_final), drive, window, dynamics)
    for watcher in (None, Seer("spike")):
        TRITON.backward(*back, decay_needs_grad=problem.trained, watcher=watcher)
        assert ahead["backward_kernel"].made.asm["cubin"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [Boxcar(), Dspike(area="unit")])
@pytest.mark.parametrize("ahead", [80, 90], indirect=True)
def test_the_sums_compile_for_a_gpu(ahead, dtype, shape):
    u, g, c, r = layer("cpu", dtype=dtype)
    for carry, later in ((None, None), (c, r)):
        table_of(triton_sums.fill, Observation(Gate(shape, LEVELS), u, g, carry, later), CANDIDATES)
        assert ahead["sums_kernel"].made.asm["cubin"]
        assert ahead["add_kernel"].made.asm["cubin"]


@pytest.mark.parametrize("shape", [Boxcar(), Asymmetric(area="unit")])
@pytest.mark.parametrize("count", [1, 101, 112])
@pytest.mark.parametrize("ahead", [80, 90], indirect=True)
def test_the_sums_of_straight_lines_compile_for_a_gpu(ahead, shape, count):
    u, g, _, r = layer("cpu")
    candidates = torch.linspace(0.2, 1.0, count, dtype=torch.float64)
    for upstream, later in ((g, None), (g.bfloat16(), r)):
        for fill in (triton_bins.fill, triton_products.fill):
            table_of(fill, Observation(Gate(shape, (1.0,)), u, upstream, None, later), candidates)
        for name in ("gaps_kernel", "windows_kernel", "products_kernel", "lines_kernel"):
            assert ahead[name].made.asm["cubin"]
        assert "mma.sync" in ahead["products_kernel"].made.asm["ptx"]


def test_a_neuron_takes_the_kernels_when_asked_to(device):
    """Through the public way in: spikes, gradients, and the windows of an observed pass."""
    found = []
    for backend in ("reference", "triton"):
        neuron = a2sg.LIF(3, backend=backend).to(device)
        windows = a2sg.AdaptiveWindows(neuron, every=2, start=1, candidates=10)
        for iteration in range(2):  # an ordinary pass, then an observed one
            generator = torch.Generator().manual_seed(iteration)
            current = (torch.randn(3, 2, 37, generator=generator) + 0.5).to(device).requires_grad_()
            spikes = neuron(current)
            spikes.square().sum().backward()
            windows.step()
            found.append((spikes.detach(), current.grad))
        found.append(neuron.window)
    half = len(found) // 2
    for mine, theirs in zip(found[half:], found[:half], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)

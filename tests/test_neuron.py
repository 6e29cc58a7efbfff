"""Neurons against a plain float64 loop that autograd differentiates, over one table of cases."""

import itertools
import random
from dataclasses import dataclass

import pytest
import torch

import a2sg
import reference
from a2sg import IF, LIF, PLIF, IntegerLIF
from a2sg.surrogate import Arctan, Asymmetric, Boxcar, Triangle
from reference import BY_NAME, CASES

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
# Twice the rounding of a 16-bit output; for float32 what a few dozen operations may add up to.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 8e-3, torch.float16: 1e-3}


@dataclass(frozen=True)
class Setting:
    kind: str
    reset: str
    detach: bool
    order: str
    steps: int
    shape: str = "asymmetric"
    threshold: float = 1.0
    dtype: torch.dtype = torch.float64
    decay: float = 0.9
    levels: int = 3

    def __str__(self):
        return "-".join(str(value).removeprefix("torch.") for value in vars(self).values())

    def neuron(self, windows=0.7, **options):
        common = {
            "steps": self.steps,
            "threshold": self.threshold,
            "detach_reset": self.detach,
            "surrogate": BY_NAME[self.shape].shape,
            "window": windows,
        }
        if self.kind == "if":
            made = IF(reset=self.reset, **common)
        elif self.kind == "integer":
            made = IntegerLIF(levels=self.levels, decay=self.decay, order=self.order, **common, **options)
        else:
            cls = PLIF if self.kind == "plif" else LIF
            made = cls(decay=self.decay, order=self.order, reset=self.reset, **common)
        return made.double() if self.dtype == torch.float64 else made

    def reference(self, neuron):
        if self.kind == "plif":
            decay = torch.sigmoid(neuron.raw_decay.detach().double()).requires_grad_()
        else:
            decay = 1.0 if self.kind == "if" else self.decay
        return reference.Neuron(
            BY_NAME[self.shape].formula,
            decay,
            self.threshold,
            self.reset,
            self.detach,
            self.order,
            self.levels if self.kind == "integer" else None,
        )


def table():
    """Every kind x reset x detach x order x T, in float64 and one dtype drawn as shapes and thresholds are."""
    draw = random.Random(0)
    rows = []
    for kind, reset, detach, order, steps in itertools.product(
        ("lif", "if", "plif", "integer"), ("soft", "hard"), (False, True), ("field", "scaled"), (1, 2, 4, 7)
    ):
        if (kind == "integer" and reset == "hard") or (kind == "if" and order == "scaled"):
            continue
        for dtype in (torch.float64, draw.choice(DTYPES[1:])):
            shape, threshold = draw.choice(CASES).name, draw.choice((0.5, 1.0, 1.7))
            decay = draw.choice((0.5, 0.9))
            rows.append(Setting(kind, reset, detach, order, steps, shape, threshold, dtype, decay))
    for case, threshold, dtype in itertools.product(CASES, (0.5, 1.7), DTYPES):
        reset, detach = draw.choice(("soft", "hard")), draw.choice((False, True))
        rows.append(Setting("lif", reset, detach, "field", 4, case.name, threshold, dtype))
    return rows


def draw(setting, shape):
    """Input, weights of the loss and windows, such that no rounding decides about a spike or a window."""
    neuron = setting.neuron()
    twin = setting.reference(neuron)
    margin = 1e-9 if setting.dtype == torch.float64 else 1e-5
    for attempt in range(100):
        generator = torch.Generator().manual_seed(attempt)
        windows = 0.3 + 0.8 * torch.rand(setting.steps, generator=generator)
        size = setting.threshold * (1.5 if setting.kind == "integer" else 1.0)
        size = size / (setting.decay if setting.order == "scaled" else 1)
        noise = torch.randn(setting.steps, *shape, generator=generator, dtype=torch.float64)
        current = (size * (0.4 + noise)).to(setting.dtype)
        weights = torch.randn(noise.shape, generator=generator, dtype=torch.float64).to(setting.dtype)
        done = reference.run(twin, current.double(), windows.double())
        if not reference.ambiguous(twin, done, windows.double(), margin):
            return current, weights, windows
    raise AssertionError("every input drawn came too close to an edge")


def spikes_and_gradients(neuron, current, weights):
    current = current.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    neuron.zero_grad()
    spikes = neuron(current)
    (spikes * weights).sum().backward()
    return spikes.detach(), current.grad


@pytest.mark.parametrize("setting", table(), ids=str)
def test_spikes_and_gradients_are_those_of_the_plain_loop(setting):
    current, weights, windows = draw(setting, (2, 3, 5))
    neuron = setting.neuron(windows)
    spikes, grad = spikes_and_gradients(neuron, current, weights)
    assert spikes.dtype == grad.dtype == setting.dtype
    assert spikes.shape == current.shape

    twin = setting.reference(neuron)
    wide = current.double().requires_grad_()
    done = reference.run(twin, wide, windows.double())
    scale = setting.levels if setting.kind == "integer" else 1
    torch.testing.assert_close(
        spikes, (done.spikes / scale).to(setting.dtype), rtol=0, atol=torch.finfo(setting.dtype).eps
    )
    (done.spikes / scale * weights.double()).sum().backward()
    # Per element against the largest gradient of its step: sums of terms of both signs may cancel.
    size = wide.grad.abs().flatten(1).amax(1).clamp_min(1e-3).reshape(-1, 1, 1, 1)
    tolerance = TOLERANCE[setting.dtype]
    assert ((grad.double() - wide.grad).abs() <= tolerance * size).all()
    if setting.kind == "plif" and (setting.steps > 1 or setting.order == "scaled"):
        d = twin.decay
        expected = (d.grad * d * (1 - d)).item()  # decay = sigmoid(raw)
        rough = max(abs(expected), 1.0)
        assert neuron.raw_decay.grad.item() == pytest.approx(expected, abs=max(tolerance, 1e-10) * rough)


def test_the_table_meets_spikes_and_silence_and_gradients():
    """The comparison above would prove little on silent neurons."""
    rates = []
    for setting in table()[::7]:
        current, weights, windows = draw(setting, (2, 3, 5))
        spikes, grad = spikes_and_gradients(setting.neuron(windows), current, weights)
        rates.append((spikes > 0).double().mean().item())
        assert (grad != 0).double().mean() > 0.1
    assert min(rates) > 0.05
    assert max(rates) < 0.95


# Traces worked out by hand. Loss: the sum of all outputs. Boxcar: f = 1 where |u - 1| <= window.


def check_trace(neuron, current, spikes, gradient):
    assert len(spikes) == neuron.steps
    for dtype in (torch.float64, torch.float32):
        x = torch.tensor(current, dtype=dtype).reshape(-1, 1).requires_grad_()
        out = neuron(x)
        out.sum().backward()
        assert out.flatten().tolist() == spikes
        assert x.grad.flatten().tolist() == gradient


def test_golden_soft():
    # decay 1/2:  u = .75 | .375+1 = 1.375 spike, v = .375 | .1875+.25 = .4375 | .21875+1.5 = 1.71875 spike
    # window 1/2: f = 1 (x = -.25) | 1 (.375) | 0 (-.5625) | 0 (.71875)
    # backward:   G4 = 0, G3 = 0 | G2 = 1 | dL/dv1 = 1/2, up1 = 1 - 1/2, G1 = 1/2 + 1/2
    current = [0.75, 1.0, 0.25, 1.5]
    neuron = LIF(4, decay=0.5, surrogate=Boxcar(), window=0.5)
    check_trace(neuron, current, [0, 1, 0, 1], [1, 1, 0, 0])
    # detached: up1 = 1, so G1 = 1 + 1/2
    neuron = LIF(4, decay=0.5, surrogate=Boxcar(), window=0.5, detach_reset=True)
    check_trace(neuron, current, [0, 1, 0, 1], [1.5, 1, 0, 0])
    # one window per step, 1/4 at step 2: f2 = 0 (x = .375), so G2 = 0; G1 = 1 (x = -.25 is the very edge)
    neuron = LIF(4, decay=0.5, surrogate=Boxcar(), window=[0.25, 0.25, 0.5, 0.5])
    check_trace(neuron, current, [0, 1, 0, 1], [1, 0, 0, 0])


def test_golden_hard():
    # decay 1/2:  u = .75 | 1.375 spike, v = 0 | .25 | .125+1.5 = 1.625 spike;  window 1: f = 1 everywhere
    # G4 = 1 | dv3 = 1/2, up3 = 1 - .25/2 = .875, G3 = .875 + .5 = 1.375
    # dv2 = .6875, up2 = 1 - 1.375 * .6875 = .0546875, no carry through the reset: G2 = .0546875
    # dv1 = .02734375, up1 = 1 - .75 * .02734375 = .9794921875, G1 = up1 + dv1 = 1.0068359375
    current = [0.75, 1.0, 0.25, 1.5]
    neuron = LIF(4, decay=0.5, reset="hard", surrogate=Boxcar(), window=1.0)
    check_trace(neuron, current, [0, 1, 0, 1], [1.0068359375, 0.0546875, 1.375, 1])
    # detached: G3 = 1 + 1/2 | G2 = 1 | G1 = 1 + 1/2
    neuron = LIF(4, decay=0.5, reset="hard", surrogate=Boxcar(), window=1.0, detach_reset=True)
    check_trace(neuron, current, [0, 1, 0, 1], [1.5, 1, 1.5, 1])


def test_golden_scaled():
    # u = (v + I) / 2: .75 | 3.25/2 = 1.625 spike, v = .625 | 1.625/2 = .8125 | 3.8125/2 = 1.90625 spike
    # detached, window 1: G4 = 1 | G3 = 1.5 | G2 = 1.75 | G1 = 1.875; dL/dI = G / 2
    neuron = LIF(4, decay=0.5, order="scaled", detach_reset=True, surrogate=Boxcar(), window=1.0)
    check_trace(neuron, [1.5, 2.5, 1.0, 3.0], [0, 1, 0, 1], [0.9375, 0.875, 0.75, 0.5])


def test_golden_integrate_and_fire():
    # threshold 2: u = 1.5 | 2.5 spike, v = .5 | 2.0 spike (reached, not passed), v = 0
    # asymmetric, window 1, x = u - 2: f = .25 (x = -.5) | .75 (.5) | .5 (0)
    # G3 = .5 | up2 = 1 - 2 * .5 = 0, G2 = .5 | up1 = 1 - 2 * .5 = 0, G1 = .5
    check_trace(IF(3, threshold=2.0, window=1.0), [1.5, 1.0, 1.5], [0, 1, 1], [0.5, 0.5, 0.5])


def test_golden_integer():
    # 4 levels, decay 1/2, loss: the sum of s/4, so dL/ds = 1/4 beside the reset
    # u = 2.75, s = 3, v = -.25 | -1.125, s = 0 | -.5625+.75 = .1875, s = 0 | .09375+5.5 = 5.59375, s = 4
    # straight through: f = 1 | 0 | 1 | 0
    # G4 = 0 | G3 = .25 | dv2 = .125, G2 = 0 + .125 | dv1 = .0625, G1 = (.25 - .0625) + .0625
    neuron = IntegerLIF(steps=4, decay=0.5)
    check_trace(neuron, [2.75, -1.0, 0.75, 5.5], [0.75, 0, 0, 1], [0.25, 0.125, 0.25, 0])


@pytest.mark.parametrize("levels", [1, 2, 4, 7])
@pytest.mark.parametrize("threshold", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("normalize", [True, False])
def test_integer_neuron_rounds_and_is_the_straight_through_estimator(levels, threshold, normalize):
    """Also at integers and at both ends, where neighbouring windows touch."""
    x = torch.linspace(-2, levels + 2, 8 * (levels + 4) + 1, dtype=torch.float64) * threshold
    x = x.reshape(1, 1, -1).requires_grad_()
    neuron = IntegerLIF(levels=levels, threshold=threshold, window=threshold / 2, normalize=normalize)
    out = neuron(x)
    u = x.detach().clone().requires_grad_()
    clipped = (u / threshold).clamp(0, levels)
    scale = levels if normalize else 1
    on_tie = clipped.detach().remainder(1) == 0.5
    expected = torch.where(on_tie, (clipped + 0.5).floor(), clipped.round()) / scale
    assert torch.equal(out, expected.detach())
    weights = torch.randn(out.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (out * weights).sum().backward()
    # Straight through: round is the identity, clip has derivative 1 on [0, levels]; f is of height 1 in u.
    (clipped * threshold / scale * weights).sum().backward()
    torch.testing.assert_close(x.grad, u.grad, rtol=1e-14, atol=0)


def test_integer_neuron_of_one_level_is_a_lif_of_half_the_firing_threshold():
    """One level fires at threshold / 2 but subtracts the whole threshold: at T = 1 a LIF at half."""
    x = torch.randn(1, 3, 7, generator=torch.Generator().manual_seed(0))
    one = IntegerLIF(levels=1, threshold=1.0, surrogate=Triangle(), window=0.4)
    lif = LIF(1, threshold=0.5, surrogate=Triangle(), window=0.4)
    for a, b in zip(*[spikes_and_gradients(n, x, torch.ones_like(x)) for n in (one, lif)], strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", ["lif", "if", "plif", "integer"])
def test_nothing_is_hidden_between_calls(kind):
    setting = Setting(kind, "soft", False, "field", 4)
    current, weights, windows = draw(setting, (3, 4))
    neuron = setting.neuron(windows)
    before = {name: value.clone() for name, value in neuron.state_dict().items()}
    first, grad = spikes_and_gradients(neuron, current, weights)
    neuron(torch.full_like(current, 5.0))
    neuron(torch.randn(4, 1, 9, dtype=torch.float64))  # another batch and shape in between
    second, again = spikes_and_gradients(neuron, current, weights)
    assert torch.equal(first, second)
    assert torch.equal(grad, again)
    assert neuron.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], value) for name, value in neuron.state_dict().items())


def test_two_graphs_live_side_by_side_and_one_can_be_used_twice():
    neuron = LIF(3).double()
    a = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    b = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    spikes_a, spikes_b = neuron(a), neuron(b)
    spikes_a.sum().backward(retain_graph=True)
    spikes_b.sum().backward()
    once = a.grad.clone()
    spikes_a.sum().backward()
    torch.testing.assert_close(a.grad, 2 * once)
    expected = spikes_and_gradients(neuron, b, torch.ones_like(b))[1]
    assert torch.equal(b.grad, expected)


STREAMS = [
    Setting(*row)
    for row in (
        ("lif", "soft", False, "field", 4),
        ("lif", "hard", False, "scaled", 3, "triangle"),
        ("lif", "hard", True, "field", 7, "arctan"),
        ("if", "soft", True, "field", 4, "dspike"),
        ("plif", "soft", False, "scaled", 4, "pinned"),
        ("plif", "hard", False, "field", 4, "boxcar"),
        ("integer", "soft", False, "field", 4, "boxcar"),
        ("lif", "soft", False, "field", 1),
    )
]


@pytest.mark.parametrize("setting", STREAMS, ids=str)
def test_steps_one_by_one_are_the_whole(setting):
    current, weights, windows = draw(setting, (3, 4))
    neuron = setting.neuron(windows)
    spikes, grad = spikes_and_gradients(neuron, current, weights)
    decay_grad = neuron.raw_decay.grad.clone() if setting.kind == "plif" else None

    neuron.zero_grad()
    x = current.clone().requires_grad_()
    state, outputs = None, []
    for t in range(setting.steps):
        out, state = neuron.step(x[t], state)
        assert state.step == t + 1
        outputs.append(out)
    streamed = torch.stack(outputs)
    assert torch.equal(streamed.detach(), spikes)
    (streamed * weights).sum().backward()
    torch.testing.assert_close(x.grad, grad, rtol=1e-12, atol=1e-14)
    if decay_grad is not None:
        torch.testing.assert_close(neuron.raw_decay.grad, decay_grad, rtol=1e-12, atol=1e-14)


def test_a_stream_goes_on_beyond_steps_with_the_last_window():
    setting = Setting("lif", "soft", False, "field", 5)
    current, weights, windows = draw(setting, (2, 6))
    windows = torch.cat([windows[:2], windows[1].expand(3)])
    short = LIF(2, window=windows[:2]).double()
    grad = spikes_and_gradients(LIF(5, window=windows).double(), current, weights)[1]
    x = current.clone().requires_grad_()
    state, outputs = None, []
    for step_current in x:
        out, state = short.step(step_current, state)
        outputs.append(out)
    (torch.stack(outputs) * weights).sum().backward()
    torch.testing.assert_close(x.grad, grad, rtol=1e-12, atol=1e-14)


def test_a_stream_in_low_precision_keeps_its_state_in_float32():
    x = (0.5 + torch.randn(4, 2, 9)).bfloat16()
    neuron = LIF(4)
    state, outputs = None, []
    for step_current in x:
        out, state = neuron.step(step_current, state)
        assert out.dtype == torch.bfloat16
        assert state.potential.dtype == torch.float32
        outputs.append(out)
    assert torch.equal(torch.stack(outputs), neuron(x))


@pytest.mark.parametrize("setting", STREAMS, ids=str)
def test_recorded_potentials_are_differentiable(setting):
    current, weights, windows = draw(setting, (3, 4))
    neuron = setting.neuron(windows)
    scale = setting.levels if setting.kind == "integer" else 1
    twin = setting.reference(neuron)

    def loss_of(u, s):
        return (weights * s).sum() + (weights.flip(0) * u**2).sum() + 0.3 * u[-1].sum()

    x = current.clone().requires_grad_()
    model = torch.nn.Sequential(neuron)
    with a2sg.recording(model) as records:
        spikes = model(x)
        model(x.detach())
    assert list(records) == ["0"]
    assert len(records["0"]) == 2
    record = records["0"][0]
    assert torch.equal(record.spikes, spikes)
    assert record.threshold == setting.threshold
    loss_of(record.potential, spikes).backward()

    wide = current.clone().requires_grad_()
    done = reference.run(twin, wide, windows.double())
    torch.testing.assert_close(record.potential, done.potentials, rtol=1e-12, atol=1e-12)
    loss_of(done.potentials, done.spikes / scale).backward()
    torch.testing.assert_close(x.grad, wide.grad, rtol=1e-10, atol=1e-11)
    if setting.kind == "plif":
        d = twin.decay
        torch.testing.assert_close(neuron.raw_decay.grad, (d.grad * d * (1 - d)).reshape(()))

    model(x)
    assert len(records["0"]) == 2, "recording ends with its context"


def test_potentials_alone_may_carry_the_loss():
    x = torch.randn(4, 2, 5, dtype=torch.float64, requires_grad=True)
    neuron = LIF(4, detach_reset=True).double()
    with a2sg.recording(neuron) as records:
        neuron(x)
    records[""][0].potential[-1].sum().backward()
    # u4 depends on I[t] through the leak alone: 0.9^(4-t)
    expected = torch.tensor([0.9**3, 0.9**2, 0.9, 1.0], dtype=torch.float64).reshape(4, 1, 1).expand_as(x)
    torch.testing.assert_close(x.grad, expected)


@pytest.mark.parametrize("setting", STREAMS, ids=str)
def test_below_the_threshold_the_gradient_of_the_potential_is_the_true_one(setting):
    """No spike and no window in reach: the neuron is a linear filter, which finite differences can check."""
    neuron = setting.neuron(0.05)
    if setting.shape == "arctan":  # has no edge: leave its tail out of reach with a tiny window
        neuron = Setting(**{**vars(setting), "shape": "boxcar"}).neuron(0.05)
    generator = torch.Generator().manual_seed(3)
    x = 0.12 * torch.rand(setting.steps, 2, 3, dtype=torch.float64, generator=generator) - 0.1
    x.requires_grad_()

    def potential(current, raw_decay=None):
        with a2sg.recording(neuron) as records:
            assert not neuron(current).any()
        return records[""][0].potential

    inputs = (x, neuron.raw_decay) if setting.kind == "plif" else (x,)
    assert torch.autograd.gradcheck(potential, inputs)


@pytest.mark.parametrize("initial", [False, True])
def test_a_stream_below_the_threshold_passes_gradcheck_to_its_state(initial):
    neuron = LIF(1, window=0.05).double()
    x = torch.full((2, 3), 0.1, dtype=torch.float64, requires_grad=True)
    v = torch.full((2, 3), -0.2, dtype=torch.float64, requires_grad=initial)

    def final(current, potential):
        return neuron.step(current, a2sg.neuron.State(potential, 1))[1].potential

    assert torch.autograd.gradcheck(final, (x, v))


@pytest.mark.parametrize("case", [BY_NAME[name] for name in ("asymmetric", "triangle-unit", "sigmoid")])
def test_windows_per_channel(case):
    generator = torch.Generator().manual_seed(5)
    windows = 0.3 + torch.rand(3, 1, 4, 1, 1, generator=generator, dtype=torch.float64)
    current = torch.randn(3, 2, 4, 3, 3, generator=generator, dtype=torch.float64)
    weights = torch.randn(current.shape, generator=generator, dtype=torch.float64)
    together = LIF(3, surrogate=case.shape, window=windows)
    assert together.window.shape == windows.shape
    spikes, grad = spikes_and_gradients(together, current, weights)
    for channel in range(4):
        alone = LIF(3, surrogate=case.shape, window=windows[:, 0, channel, 0, 0])
        part = spikes_and_gradients(alone, current[:, :, channel], weights[:, :, channel])
        assert torch.equal(spikes[:, :, channel], part[0])
        torch.testing.assert_close(grad[:, :, channel], part[1])


@pytest.mark.parametrize("layout", ["transposed", "strided", "expanded", "channels_last"])
def test_the_layout_of_the_input_does_not_matter(layout):
    generator = torch.Generator().manual_seed(6)
    plain = torch.randn(3, 2, 4, 5, 7, generator=generator)
    weights = torch.randn(plain.shape, generator=generator)
    if layout == "transposed":
        current = plain.transpose(0, 4).contiguous().transpose(0, 4)
    elif layout == "strided":
        current = torch.zeros(6, 2, 4, 5, 14)[::2, ..., ::2].copy_(plain)
    elif layout == "expanded":
        plain = plain[:1].expand(3, -1, -1, -1, -1).contiguous()
        current = plain[:1].expand(3, -1, -1, -1, -1)
    else:
        current = plain.flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (3, 2))
    assert not current.is_contiguous()
    assert torch.equal(current, plain)
    expected = spikes_and_gradients(LIF(3), plain, weights)
    x = current.detach().requires_grad_()
    spikes = LIF(3)(x)
    (spikes * weights).sum().backward()
    assert torch.equal(spikes.detach(), expected[0])
    assert torch.equal(x.grad, expected[1])


@pytest.mark.parametrize("shape", [(1,), (1, 1), (7, 1, 3), (3, 5, 7, 11), (13, 17), (2, 0, 3)])
def test_any_shape_after_time(shape):
    setting = Setting("lif", "soft", False, "field", 3)
    current, weights, windows = draw(setting, shape)
    spikes, grad = spikes_and_gradients(setting.neuron(windows), current, weights)
    wide = current.clone().requires_grad_()
    done = reference.run(setting.reference(None), wide, windows.double())
    (done.spikes * weights).sum().backward()
    assert torch.equal(spikes, done.spikes.detach())
    torch.testing.assert_close(grad, wide.grad, rtol=1e-10, atol=1e-12)


def test_float64_stays_float64_throughout():
    """A potential that float32 would round onto the threshold."""
    x = torch.tensor([[1 - 1e-12]], dtype=torch.float64)
    assert LIF(1)(x).item() == 0
    assert LIF(1)(x.float()).item() == 1
    with a2sg.recording(neuron := LIF(2)) as records:
        neuron(torch.full((2, 1), 0.3, dtype=torch.float64))
    assert records[""][0].potential[1].item() == pytest.approx(0.57, abs=1e-15)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_input_is_integrated_in_float32(dtype):
    """In half precision 1 + 2⁻¹² is 1: only a wider accumulator gets there in 4096 steps of 2⁻¹²."""
    x = torch.full((4096, 1), 2.0**-12, dtype=dtype)
    spikes = IF(4096)(x)
    assert spikes.dtype == dtype
    assert spikes[-1].item() == 1
    assert spikes[:-1].sum().item() == 0


def test_spikes_do_not_depend_on_surrogate_or_window():
    x = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(7))
    expected = LIF(4)(x)
    for shape, window in ((Boxcar(), 0.1), (Arctan(), 3.0), (Asymmetric(bias=0.9), [0.1, 0.2, 0.3, 0.4])):
        assert torch.equal(LIF(4, surrogate=shape, window=window)(x), expected)


def test_windows_are_saved_with_the_model():
    source = LIF(3, window=[0.2, 0.4, 0.8])
    target = LIF(3)
    target.load_state_dict(source.state_dict())
    assert torch.equal(target.window, torch.tensor([0.2, 0.4, 0.8]))
    tensor = torch.tensor([0.2, 0.4, 0.8])
    copy = LIF(3, window=tensor)
    tensor.fill_(9)
    assert torch.equal(copy.window, torch.tensor([0.2, 0.4, 0.8])), "the neuron owns its window"


def test_plif_starts_at_its_decay_and_learns_it():
    neuron = PLIF(4, decay=0.7)
    assert neuron.leak().item() == pytest.approx(0.7)
    x = 0.3 + torch.rand(4, 8, 10, generator=torch.Generator().manual_seed(8))
    optimizer = torch.optim.SGD(neuron.parameters(), lr=0.02)
    rates = []
    for _ in range(20):
        optimizer.zero_grad()
        spikes = neuron(x)
        spikes.mean().neg().backward()  # wants more spikes: less leak
        optimizer.step()
        rates.append(spikes.mean().item())
    assert neuron.leak().item() > 0.7
    assert rates[-1] >= rates[0]


def test_no_gradient_is_asked_for_none_is_kept():
    with torch.no_grad():
        assert not LIF(2)(torch.randn(2, 3, 4)).requires_grad
    assert not LIF(2)(torch.randn(2, 3, 4)).requires_grad

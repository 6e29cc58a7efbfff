"""Thresholds and decays by channel and trained, against a plain float64 loop that autograd differentiates."""

import copy
import itertools
import logging

import pytest
import torch
from torch import nn

import a2sg
import reference
from a2sg import IF, LIF, PLIF, InputError
from a2sg.kernels import backends
from a2sg.models import SpikingLayer
from a2sg.study.measure.unrolled import surrogate_spike, unrolled
from neurons import TOLERANCE, spikes_and_gradients
from reference import BY_NAME

CHANNELS = 3
STEP = (2, CHANNELS, 5)
FORMS = ("number", "layer", "channel")


def constant(form, low, high, generator):
    """A number, one for the layer, or one for each channel, at random."""
    value = low + (high - low) * torch.rand(CHANNELS if form == "channel" else (), generator=generator)
    return value.item() if form == "number" else nn.Parameter(value)


def wide(value):
    """The same for the reference: float64, broadcasting against a step."""
    if not isinstance(value, torch.Tensor):
        return value
    spread = value.detach().double().reshape(-1, 1) if value.dim() else value.detach().double()
    return spread.requires_grad_()


def pair(kind, threshold, decay, reset, detach, order, shape, steps):
    """A neuron and its twin."""
    made: dict[str, object] = {"threshold": threshold, "reset": reset, "detach_reset": detach, "order": order}
    made |= {"surrogate": BY_NAME[shape].shape, "window": [0.4 + 0.1 * t for t in range(steps)]}
    if kind == "plif":
        neuron = PLIF(steps, decay=decay.detach() if isinstance(decay, nn.Parameter) else decay, **made)
        decay = torch.sigmoid(neuron.raw_decay.detach().double())
    else:
        neuron = IF(steps, **made) if kind == "if" else LIF(steps, decay=decay, **made)
        decay = 1.0 if kind == "if" else decay
    twin = reference.Neuron(BY_NAME[shape].formula, wide(decay), wide(threshold), reset, detach, order)
    return neuron, twin


def draw(twin, steps, dtype, shape=STEP):
    """Input and weights of a loss such that no rounding decides about a spike or a window."""
    windows = torch.tensor([0.4 + 0.1 * t for t in range(steps)])
    for attempt in range(100):
        generator = torch.Generator().manual_seed(attempt)
        current = (0.4 + torch.randn(steps, *shape, generator=generator, dtype=torch.float64)).to(dtype)
        weights = torch.randn(steps, *shape, generator=generator, dtype=torch.float64).to(dtype)
        with torch.no_grad():
            done = reference.run(twin, current.double(), windows.double())
        if not reference.ambiguous(twin, done, windows.double(), 1e-9 if dtype == torch.float64 else 1e-5):
            return current, weights, windows.double()
    raise AssertionError("every input drawn came too close to an edge")


def expected_gradients(twin, current, weights, windows):
    """Spikes, and gradients of the input, the decay and the threshold (None of a number)."""
    x = current.double().requires_grad_()
    done = reference.run(twin, x, windows)
    (done.spikes * weights.double()).sum().backward()
    grads = (
        value.grad if isinstance(value, torch.Tensor) else None for value in (twin.decay, twin.threshold)
    )
    return done.spikes.detach(), x.grad, *grads


def assert_near(found, expected, tolerance):
    """To `tolerance` of the largest."""
    size = max(expected.abs().max().item(), 1.0)
    torch.testing.assert_close(
        found.detach().double().flatten(), expected.flatten(), rtol=0, atol=tolerance * size
    )


def check(neuron, twin, drawn, dtype, arrange=lambda x: x):
    current, weights, windows = drawn
    neuron = neuron.double() if dtype == torch.float64 else neuron
    spikes, grad = spikes_and_gradients(neuron, arrange(current), arrange(weights))
    right, of_input, of_decay, of_threshold = expected_gradients(twin, current, weights, windows)
    assert torch.equal(spikes.double(), right)
    tolerance = TOLERANCE[dtype]
    assert_near(grad, of_input, tolerance)
    if isinstance(neuron, PLIF):
        assert_near(neuron.raw_decay.grad, of_decay * twin.decay * (1 - twin.decay), tolerance)
    elif isinstance(neuron.decay, nn.Parameter):
        assert neuron.decay.grad.shape == neuron.decay.shape
        assert_near(neuron.decay.grad, of_decay, tolerance)
    if isinstance(neuron.threshold, nn.Parameter):
        assert neuron.threshold.grad.shape == neuron.threshold.shape
        assert_near(neuron.threshold.grad, of_threshold, tolerance)


def table():
    rows = []
    for kind, of_threshold, of_decay in itertools.product(("lif", "if", "plif"), FORMS, FORMS):
        if of_threshold == of_decay == "number" or (kind == "if" and of_decay != "number"):
            continue
        for reset, detach, order in itertools.product(("soft", "hard"), (False, True), ("field", "scaled")):
            at = len(rows)
            dtype = (torch.float64, torch.float32, torch.float64, torch.bfloat16)[at % 4]
            shape = ("asymmetric", "triangle-unit", "arctan", "pinned")[at // 2 % 4]
            rows.append((kind, of_threshold, of_decay, reset, detach, order, shape, (1, 4, 3)[at % 3], dtype))
    return rows


def name(value):
    return str(value).removeprefix("torch.")


@pytest.mark.parametrize(
    ("kind", "of_threshold", "of_decay", "reset", "detach", "order", "shape", "steps", "dtype"),
    table(),
    ids=name,
)
def test_gradients_are_those_of_the_plain_loop(
    kind, of_threshold, of_decay, reset, detach, order, shape, steps, dtype
):
    generator = torch.Generator().manual_seed(3)
    threshold, decay = constant(of_threshold, 0.6, 1.4, generator), constant(of_decay, 0.5, 0.95, generator)
    neuron, twin = pair(kind, threshold, decay, reset, detach, order, shape, steps)
    check(neuron, twin, draw(twin, steps, dtype), dtype)


@pytest.mark.parametrize("form", ["layer", "channel"])
@pytest.mark.parametrize("layout", ["vectors", "maps", "channels_last"])
def test_compiled_kernels_give_the_same(form, layout):
    generator = torch.Generator().manual_seed(3)
    threshold, decay = constant(form, 0.6, 1.4, generator), constant(form, 0.5, 0.95, generator)
    neuron, twin = pair("lif", threshold, decay, "soft", False, "field", "asymmetric", 3)
    shape = (4, CHANNELS) if layout == "vectors" else (4, CHANNELS, 4, 2)
    if layout == "vectors":
        twin = reference.Neuron(twin.formula, *(flat(x) for x in (twin.decay, twin.threshold)))
    elif form == "channel":
        twin = reference.Neuron(twin.formula, *(maps(x) for x in (twin.decay, twin.threshold)))
    neuron.backend = "compiled"

    def arrange(x):
        if layout != "channels_last":
            return x
        return x.flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, x.shape[:2])

    check(neuron, twin, draw(twin, 3, torch.float32, shape), torch.float32, arrange)


def flat(x):
    return x.detach().flatten().squeeze().requires_grad_()


def maps(x):
    return x.detach().reshape(-1, 1, 1).requires_grad_()


@pytest.mark.parametrize("backend", ["reference", "compiled"])
def test_a_norm_merged_with_the_neuron_changes_nothing(backend):
    torch.manual_seed(4)
    layer = SpikingLayer(
        nn.Conv2d(2, 4, 3, padding=1), LIF(3, threshold=1 + torch.arange(4) / 9, learn=["threshold", "decay"])
    )
    layer.neuron.backend = backend
    apart = copy.deepcopy(layer)
    apart.norm.register_forward_hook(lambda *_: None)  # what hooks look at runs by itself
    x = torch.randn(3, 2, 2, 5, 5)
    results = []
    for each in (layer, apart):
        spikes = each(x)
        (spikes * torch.linspace(-1, 1, spikes.numel()).view(spikes.shape)).sum().backward()
        results.append([spikes, *(parameter.grad for parameter in each.parameters())])
    assert layer.neuron.threshold.grad.shape == (4,)
    for merged, alone in zip(*results, strict=True):
        torch.testing.assert_close(merged, alone, rtol=1e-4, atol=1e-4)


def test_equal_constants_in_any_form_are_the_same_neuron():
    x = torch.randn(4, 2, 3, 5, generator=torch.Generator().manual_seed(5))
    spikes, grad = spikes_and_gradients(LIF(4, threshold=0.75, decay=0.5), x, x)
    for form in (
        torch.full((3,), 0.75),
        nn.Parameter(torch.tensor(0.75)),
        nn.Parameter(torch.full((3,), 0.75)),
    ):
        half = form.detach() * 0 + 0.5
        found = spikes_and_gradients(LIF(4, threshold=form, decay=half), x, x)
        assert torch.equal(found[0], spikes)
        torch.testing.assert_close(found[1], grad, rtol=1e-6, atol=1e-6)


def test_the_search_sees_distances_to_every_channels_own_threshold():
    """As it sees a layer whose channels are scaled to a threshold of 1, with windows scaled alike."""
    torch.manual_seed(6)
    x, weights = torch.randn(4, 8, 3, 5), torch.randn(4, 8, 3, 5)
    found = []
    for form in (0.5, torch.full((3,), 0.5), nn.Parameter(torch.tensor(0.5))):
        neuron = LIF(4, threshold=form)
        windows = a2sg.AdaptiveWindows(neuron, every=1, start=0)
        (neuron(x.clone().requires_grad_()) * weights).sum().backward()
        windows.step()
        found.append(neuron.window.clone())
        assert not windows.kept
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_triton_leaves_them_to_compiled_kernels_and_says_so(caplog, monkeypatch):
    backends._tell.cache_clear()
    monkeypatch.setattr(backends.COMPILED, "obstacle", lambda *_: "no compiler was found")
    with caplog.at_level(logging.WARNING, "a2sg"), pytest.raises(InputError, match="no compiler was found"):
        LIF(4, threshold=torch.ones(3), backend="triton")(torch.randn(4, 2, 3))
    assert "backend 'triton' takes one decay and thresholds that are numbers" in caplog.text


def test_an_unrolled_neuron_trains_its_constants_too():
    torch.manual_seed(7)
    neuron = LIF(4, threshold=nn.Parameter(torch.tensor([0.8, 1.1])), learn="decay").double()
    x, weights = torch.randn(4, 5, 2, dtype=torch.float64), torch.randn(4, 5, 2, dtype=torch.float64)
    spikes_and_gradients(neuron, x, weights)
    expected = [p.grad.clone() for p in neuron.parameters()]
    with unrolled(neuron, surrogate_spike):
        spikes_and_gradients(neuron, x, weights)
    for parameter, grad in zip(neuron.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, grad)


def test_recorded_thresholds_broadcast_against_potentials():
    neuron = LIF(4, threshold=torch.tensor([0.5, 2.0]))
    with a2sg.recording(neuron) as records:
        neuron(torch.rand(4, 3, 2, 5))
    record = records[""][0]
    assert torch.equal(record.spikes, (record.potential >= record.threshold).float())

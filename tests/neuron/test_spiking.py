"""Neurons against a plain float64 loop that autograd differentiates, over one table of cases."""

import itertools
import random

import pytest
import torch

import a2sg
import reference
from a2sg import IF, LIF, PLIF
from a2sg.surrogate import Arctan, Asymmetric, Boxcar
from neurons import Setting, check_against_the_plain_loop, draw, spikes_and_gradients
from reference import BY_NAME, CASES

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def table():
    """Every kind x reset x detach x order x T, in float64 and one dtype; shapes and thresholds are drawn."""
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


@pytest.mark.parametrize("setting", table(), ids=str)
def test_spikes_and_gradients_are_those_of_the_plain_loop(setting):
    check_against_the_plain_loop(setting, (2, 3, 5))


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

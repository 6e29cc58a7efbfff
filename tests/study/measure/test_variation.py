"""Variation over training and over batches, against what one batch and plain sums give."""

import math

import pytest
import torch
from torch import nn

import a2sg
from a2sg.errors import InputError
from a2sg.study.measure.variation import batch_variation, estimate, history_points
from a2sg.study.run import run_history
from networks import NOW, Net, Plan, batch


def cross_entropy(outputs, labels):
    return nn.functional.cross_entropy(outputs, labels)


def batches(count, steps=4):
    return [batch(steps, size=8, seed=seed) for seed in range(count)]


def test_an_estimate_is_mean_and_standard_error_of_what_is_known():
    found = estimate([1.0, None, 3.0, 8.0])
    assert (found.mean, found.count) == (4.0, 3)
    assert found.error == pytest.approx(math.sqrt((9 + 1 + 16) / 2 / 3))
    assert estimate([2.0]) == estimate([None, 2.0])
    assert estimate([2.0]).error is None
    assert estimate([None]).mean is None


def test_steps_are_the_means_of_single_inspections():
    net = Net(Plan(steps=3))
    data = batches(4, steps=3)
    found = batch_variation(net, data, cross_entropy)
    single = [a2sg.inspect(net, one, cross_entropy).layers for one in data]
    assert [(step.layer, step.step) for step in found.steps] == [
        (name, t) for name in ("neurons.0", "neurons.1") for t in (1, 2, 3)
    ]
    assert found.batches == 4
    for step in found.steps:
        steps = [layers[step.layer].steps[step.step - 1] for layers in single]
        for name in ("sgv", "tgc", "cv", "surrogate_cv"):
            assert getattr(step, name) == estimate(getattr(s.own, name) for s in steps)
        assert step.sparsity.mean == pytest.approx(1 - sum(s.passing for s in steps) / 4)
        assert step.norm == estimate(s.gradient_norm for s in steps)
        assert step.tgc.count == (0 if step.step == 3 else 4)
    assert found.to_dict()["steps"][0]["sgv"]["count"] == 4


def gradients_of(net, data):
    """Of every batch, by parameter, `[K, P]`."""
    rows = []
    for x, y in data:
        net.zero_grad()
        cross_entropy(net(x), y).backward()
        rows.append({name: p.grad.flatten().clone() for name, p in net.named_parameters()})
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def test_signal_to_noise_is_of_the_gradients_of_training():
    net = Net(Plan())
    data = batches(5)
    found = {signal.layer: signal for signal in batch_variation(net, data, cross_entropy).signals}
    grads = gradients_of(net, data)
    layers = {
        "linears.0": ["linears.0.weight", "linears.0.bias"],
        "linears.1": ["linears.1.weight", "linears.1.bias"],
        "out": ["out.weight", "out.bias"],
        "all": list(grads),
    }
    assert set(found) == set(layers)
    for layer, names in layers.items():
        g = torch.cat([grads[name] for name in names], 1)
        noise = g.var(0, correction=1).sum()
        signal = g.mean(0).square().sum() - noise / 5
        assert found[layer].parameters == g.shape[1]
        assert found[layer].squared == pytest.approx((signal / noise).item(), rel=1e-4)
        assert found[layer].snr == pytest.approx((signal.clamp(min=0) / noise).sqrt().item(), rel=1e-4)
        assert found[layer].norm.mean == pytest.approx(g.norm(dim=1).mean().item(), rel=1e-5)
        left_out = []
        for at in range(5):
            kept = torch.cat([g[:at], g[at + 1 :]])
            rest = kept.var(0, correction=1).sum()
            left_out.append((kept.mean(0).square().sum() - rest / 4) / rest)
        error = (torch.stack(left_out).var(correction=0) * 4).sqrt()
        assert found[layer].squared_error == pytest.approx(error.item(), rel=1e-3)


class Given(nn.Module):
    """A model whose gradient by `weight` is its input, whatever its spikes."""

    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))
        self.neuron = a2sg.LIF(1)

    def forward(self, x):
        return (self.weight * x).sum() + 0 * self.neuron(self.weight[None, None]).sum()


@pytest.mark.parametrize("signal", [0.0, 0.5, 2.0])
def test_signal_to_noise_is_without_bias(signal):
    """Signal of norm s in noise of norm 1; without the correction, noise alone would give 1/sqrt(K)."""
    generator = torch.Generator().manual_seed(0)
    size, count = 4000, 6
    mean = torch.full((size,), signal / math.sqrt(size))
    data = [
        (mean + torch.randn(size, generator=generator) / math.sqrt(size), torch.zeros(1))
        for _ in range(count)
    ]
    signals = batch_variation(Given(size), data, lambda out, _: out).signals
    for found in signals:
        assert found.squared == pytest.approx(signal**2, abs=4 * found.squared_error)
        assert found.squared_error < 0.1 * max(1, signal)


def test_one_batch_has_no_spread():
    found = batch_variation(Net(Plan()), batches(1), cross_entropy)
    assert all(signal.snr is None and signal.squared_error is None for signal in found.signals)
    assert all(step.sgv.error is None for step in found.steps)
    with pytest.raises(InputError, match="batches holds none"):
        batch_variation(Net(Plan()), [], cross_entropy)


def test_the_model_stays_as_it_was():
    net = Net(Plan()).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    batch_variation(net, batches(2), cross_entropy)
    assert all(parameter.grad is None for parameter in net.parameters())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


def test_history_has_what_was_in_use_on_its_iteration():
    net = Net(Plan())
    windows = a2sg.AdaptiveWindows(net, **NOW)
    used, scores = [], []
    for x, y in batches(3):
        before = net.windows()
        found = a2sg.inspect(net, (x, y), cross_entropy)
        net.zero_grad()
        cross_entropy(net(x), y).backward()
        windows.step()
        for name, window in before.items():
            used += window.tolist()
            scores += [(step.own.sgv, step.own.tgc) for step in found.layers[name].steps]
    points = history_points(windows.history, ends=[(1, 2), (2, 4)])
    assert [point.window for point in points] == pytest.approx(used)
    for point, (sgv, tgc) in zip(points, scores, strict=True):
        assert point.sgv == pytest.approx(sgv, rel=1e-6)
        assert point.tgc == (None if tgc is None else pytest.approx(tgc, rel=1e-6))
    assert [point.epoch for point in points] == [1] * 16 + [2] * 8
    last = points[-8:]
    assert [point.next_window for point in last] == pytest.approx(
        [value for window in net.windows().values() for value in window.tolist()]
    )


def test_a_run_folder_is_read(tmp_path):
    (tmp_path / "windows.csv").write_text(
        "iteration,layer,step,window,sgv,tgc,window_before,sgv_before,tgc_before,kept\n"
        "19,conv1,1,0.5,1e-3,0.25,1.0,2e-3,0.125,\n"
        "38,conv1,2,0.5,1e-3,,0.75,,,all zero\n",
        encoding="utf-8",
    )
    metrics = "epoch,iteration,lr\n1,19,0.1\n2,38,0.1\n3,57,0.1\n"
    (tmp_path / "metrics.csv").write_text(metrics, encoding="utf-8")
    first, second = run_history(tmp_path)
    assert (first.epoch, first.iteration, first.window, first.next_window) == (2, 19, 1.0, 0.5)
    assert (first.sgv, first.tgc) == (2e-3, 0.125)
    assert (second.epoch, second.step, second.sgv, second.tgc) == (3, 2, None, None)
    with pytest.raises(InputError, match=r"no observed iterations in a windows\.csv"):
        run_history(tmp_path / "nothing")

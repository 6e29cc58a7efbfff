"""Classes with a forward pass of their own, exported."""

import nir
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nir_steps
from a2sg import LIF, InputError
from a2sg.export import to_nir
from a2sg.models.layers import PerStep
from a2sg.neuron import recording

T, B = 4, 3


def lif():
    return LIF(T, reset="hard", threshold=0.4, decay=0.8)


class Start(nn.Module):
    """The network of docs/start.md."""

    shape = (8,)

    def __init__(self):
        super().__init__()
        self.hidden, self.lif, self.head = nn.Linear(8, 6), lif(), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.lif(self.hidden(x)))


class Images(nn.Module):
    """Steps folded into the batch by hand, batch norm, a factor, and a sum of two branches."""

    shape = (2, 6, 6)

    def __init__(self):
        super().__init__()
        self.conv1, self.norm1, self.lif1 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), lif()
        self.branch = nn.ModuleDict({"conv": nn.Conv2d(4, 4, 3, padding=1), "norm": nn.BatchNorm2d(4)})
        self.lif2, self.pool, self.drop = lif(), nn.AvgPool2d(2), nn.Dropout(0.5)
        self.inner = Start()
        self.inner.hidden = nn.Linear(36, 6)

    def forward(self, x, mask=None):
        steps = x.shape[:2]
        x = self.norm1(self.conv1(x.flatten(0, 1)))
        spikes = self.lif1(2 * x.unflatten(0, steps)).flatten(0, 1)
        x = self.branch["norm"](self.branch["conv"](spikes)) + spikes
        x = self.lif2(x.unflatten(0, (x.size(0) // B, B)))
        x = self.pool(x.flatten(0, 1)).unflatten(0, steps) / 0.5
        return self.inner(self.drop(torch.flatten(F.dropout(x, 0.1, self.training), 2)))


class Sound(nn.Module):
    shape = (2, 20)

    def __init__(self):
        super().__init__()
        conv = nn.Conv1d(2, 4, 3, stride=2, padding=1, dilation=2)
        self.layers = nn.Sequential(PerStep(nn.Sequential(conv, nn.BatchNorm1d(4))), lif())
        self.head = nn.Linear(36, 3)

    def forward(self, x):
        return self.head(self.layers(x).flatten(start_dim=2))


def trained(kind):
    """As if trained: no statistic of a norm is 0 or 1."""
    torch.manual_seed(0)
    model = kind().double()
    if isinstance(model, Images):
        model.inner.hidden = nn.Linear(4 * 9, 6).double()
    for _ in range(3):
        model(torch.randn(T, B, *model.shape).double())
    return model.eval()


@pytest.mark.parametrize("kind", [Start, Images, Sound])
def test_a_class_of_ones_own_fires_in_nir_as_it_does(kind):
    model = trained(kind)
    frames = 2 * torch.randn(T, B, *kind.shape).double()
    graph = to_nir(model, kind.shape)
    found = nir_steps.run(graph, frames.numpy())
    with torch.no_grad(), recording(model) as records:
        output = model(frames)
    neurons = {name for name, node in graph.nodes.items() if isinstance(node, nir.LIF)}
    assert neurons == set(records)
    for name, (record,) in records.items():
        assert 0 < record.spikes.mean() < 1
        assert (found[name] == record.spikes.numpy()).all(), name
    torch.testing.assert_close(torch.from_numpy(found["output"]), output, rtol=1e-9, atol=1e-9)


def test_what_two_read_is_not_folded_into():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv1d(2, 2, 1), nn.BatchNorm1d(2)
            self.lif = lif()

        def forward(self, x):
            steps, x = x.shape[:2], self.conv(x.flatten(0, 1))
            return self.lif((self.norm(x) + x).unflatten(0, steps))

    with pytest.raises(InputError, match=r"'norm' \(BatchNorm1d\).* right before"):
        to_nir(Shared(), (2, 5))


def passing(forward):
    """A network with that forward pass."""
    kind = type("Net", (Start,), {"forward": forward})
    return kind()


REFUSED = [
    (lambda self, x: self(x) if x.sum() > 0 else x, r"the model \(Net\).* cannot be followed.* conditions"),
    (lambda self, x: torch.stack([self.hidden(step) for step in x]), "cannot be followed"),
    (lambda self, x: self.hidden(x[0]), "calls 'getitem'.* all steps at once"),
    (lambda self, x: self.head(self.lif(self.hidden(x))).mean(0), "'mean'.* decision over the steps"),
    (lambda self, x: F.linear(x, self.hidden.weight), "calls 'linear'.* make it a module"),
    (lambda self, x: x @ x.transpose(-1, -2), "which cannot be exported"),
    (lambda self, x: self.hidden(x) + 1, "calls 'add'.* sums, factors, flatten"),
    (lambda self, x: self.hidden(x) * self.hidden.bias, "calls 'mul'"),
    (lambda self, x: torch.cat([x, x], 2), "no concatenation"),
    (lambda self, x: (x, x), "must return one tensor"),
    (lambda self, x: x.flatten(0, 1), "must return one tensor whose first dimensions"),
    (lambda self, x, y: self.hidden(x) + self.hidden(y), "takes 'y' too"),
    (lambda self, x: self.lif(self.hidden(x), None), "'lif' with more than a tensor"),
    (lambda self, x: self.lif(torch.relu(self.hidden(x))), "calls 'relu'"),
]


@pytest.mark.parametrize(("forward", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_cannot_be_exported_is_told_with_what_would_do(forward, message):
    with pytest.raises(InputError, match=message):
        to_nir(passing(forward), (8,))

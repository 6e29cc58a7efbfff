"""The worst loss in a ball: against losses whose worst case is known, and on spiking networks."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import a2sg
from a2sg.analysis import Objective, loss_slice, worst_case_sharpness
from a2sg.errors import InputError
from a2sg.training.losses import MeanLoss
from networks import Net, Plan, batch


class Bowl(nn.Module):
    """An output that depends on the weights alone: Σ a w²."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.3, 0.0], [0.0, 2.0]], dtype=torch.float64))
        self.shift = nn.Parameter(torch.tensor([0.5], dtype=torch.float64))
        self.register_buffer("stiffness", torch.tensor([[1.0, 0.0], [0.0, 0.5]], dtype=torch.float64))

    def forward(self, x):
        return x.new_zeros(len(x)) + (self.stiffness * self.weight.square()).sum() + self.shift


def bowl():
    return Objective(
        Bowl(), (torch.zeros(3, 1, dtype=torch.float64), torch.zeros(3)), lambda out, y: out.mean()
    )


def test_one_step_is_that_of_sam():
    objective = bowl()
    found = worst_case_sharpness(objective, rho=0.1, steps=1, directions=0)
    w, b, a = objective.model.weight, objective.model.shift, objective.model.stiffness
    slope = torch.cat([(2 * a * w).flatten(), torch.ones(1)]).detach()
    moved = torch.cat([w.flatten(), b]).detach() + 0.1 * slope / slope.norm()
    expected = (a.flatten() * moved[:4].square()).sum() + moved[4]
    assert found.worst == pytest.approx(expected.item())
    assert found.increase == pytest.approx(found.worst - found.loss)
    assert found.ascent == [pytest.approx(found.increase)]
    assert found.random == []


def test_many_steps_find_the_maximum_on_the_edge():
    """Against a fine search over the sphere that only the two nonzero weights and the shift span."""
    objective = bowl()
    found = worst_case_sharpness(objective, rho=0.5, steps=100)
    best = 0.0
    for i in range(200):
        polar = math.pi * i / 200
        for j in range(200):
            around = 2 * math.pi * j / 200
            x, y, z = (
                0.5 * math.sin(polar) * math.cos(around),
                0.5 * math.sin(polar) * math.sin(around),
                0.5 * math.cos(polar),
            )
            best = max(best, (0.3 + x) ** 2 - 0.09 + 0.5 * ((2 + y) ** 2 - 4) + z)
    assert found.increase == pytest.approx(best, rel=1e-3)
    assert max(found.random) <= found.increase


@pytest.mark.parametrize("scale", ["absolute", "norm", "filter"])
def test_nothing_leaves_the_ball(scale, monkeypatch):
    net = Net(Plan("plif", steps=2))
    objective = Objective(net, batch(2), F.cross_entropy)
    before = copy.deepcopy(net.state_dict())
    norm = math.sqrt(sum(p.square().sum().item() for p in net.parameters()))
    seen = []
    plain_forward = Net.forward

    def watching(self, x):
        total = 0.0
        for name, p in self.named_parameters():
            change = p.detach() - before[name]
            if scale == "filter":
                if p.dim() < 2:
                    assert not change.any()
                    continue
                change = change.flatten(1).norm(dim=1) / before[name].flatten(1).norm(dim=1)
            total += change.square().sum().item()
        seen.append(math.sqrt(total) / (norm if scale == "norm" else 1))
        return plain_forward(self, x)

    monkeypatch.setattr(Net, "forward", watching)
    found = worst_case_sharpness(objective, rho=0.2, scale=scale, steps=4, directions=3)
    assert seen[0] == 0
    assert max(seen) == pytest.approx(0.2)
    assert seen[-3:] == [pytest.approx(0.2)] * 3
    assert found.increase > 0
    assert len(found.ascent) == 4
    assert len(found.random) == 3
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_filter_scale_does_not_see_the_scale_of_a_normalised_filter():
    """Weights times 3, running statistics to match: the same network, and the same sharpness."""
    torch.manual_seed(0)
    net = a2sg.create_model("mlp_small", num_classes=3, steps=2, in_channels=1, image_size=3, hidden=(8,))
    net = net.double()
    images, labels = torch.randn(12, 1, 3, 3, dtype=torch.float64), torch.arange(12) % 3
    net(images)
    other = copy.deepcopy(net)
    layer = other.get_submodule("fc1")
    with torch.no_grad():
        layer.synapse.weight.mul_(3)
        layer.norm.bn.running_mean.mul_(3)
        layer.norm.bn.running_var.mul_(9)
        for one in (net, other):  # eps would tell the two apart
            one.get_submodule("fc1").norm.bn.eps = 0.0
    loss = MeanLoss()
    found = {}
    for scale in ("filter", "absolute"):
        found[scale] = [
            worst_case_sharpness(Objective(one, (images, labels), loss), rho=0.3, scale=scale).increase
            for one in (net, other)
        ]
    assert found["filter"][0] == pytest.approx(found["filter"][1])
    assert found["absolute"][0] != pytest.approx(found["absolute"][1], rel=1e-3)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_filter_of_a_transposed_convolution_makes_one_output(groups):
    """Its weights have the inputs first."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.ConvTranspose2d(4, 6, 2, bias=False, groups=groups),
        nn.BatchNorm2d(6, eps=0),
        nn.ReLU(),
        nn.Flatten(),
    ).double()
    other = copy.deepcopy(net)
    with torch.no_grad():
        each = torch.rand(groups, 1, 6 // groups).double() * 9 + 1
        other[0].weight.mul_(each.expand(-1, 4 // groups, -1).flatten(0, 1)[..., None, None])
        each = each.flatten()
        other[1].running_mean *= each
        other[1].running_var *= each.square()
    batch = torch.randn(5, 4, 3, 3).double(), torch.arange(5)
    found = [
        (
            worst_case_sharpness(objective, rho=0.3, scale="filter").increase,
            loss_slice(objective, points=5).losses,
        )
        for objective in (Objective(one, batch, F.cross_entropy) for one in (net, other))
    ]
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-9)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-9)


def test_without_a_gradient_there_is_no_ascent_but_random_directions():
    model = Bowl()
    with torch.no_grad():
        model.weight.zero_()
        model.stiffness.fill_(1.0)
    model.shift.requires_grad_(False)
    objective = Objective(model, (torch.zeros(3, 1), torch.zeros(3)), lambda out, y: out.mean())
    found = worst_case_sharpness(objective, rho=0.1)
    assert found.ascent == []
    assert found.increase == max(found.random) > 0


def test_weights_come_back_on_errors_and_options_are_checked():
    objective = bowl()
    before = objective.model.weight.detach().clone()
    calls = []

    def failing(out, y):
        calls.append(out)
        if len(calls) > 2:
            raise ZeroDivisionError
        return out.mean()

    objective.loss = failing
    with pytest.raises(ZeroDivisionError):
        worst_case_sharpness(objective)
    assert len(calls) == 3
    assert torch.equal(objective.model.weight, before)
    for options in ({"rho": 0.0}, {"scale": "filters"}, {"steps": 0}, {"directions": -1}):
        with pytest.raises(InputError, match=next(iter(options))):
            worst_case_sharpness(bowl(), **options)

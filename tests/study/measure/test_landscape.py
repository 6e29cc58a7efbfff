"""Slices of the loss: directions by definition, values against the loss at weights set by hand."""

import copy

import pytest
import torch
import torch.nn.functional as F

import a2sg
from a2sg.analysis import Objective, loss_slice
from a2sg.errors import InputError
from a2sg.study.measure.landscape import _direction
from a2sg.training.losses import MeanLoss
from networks import Net, Plan, batch


def small(seed=0, conv=False):
    torch.manual_seed(seed)
    name, options = ("vgg_small", {"width": 0.1}) if conv else ("mlp_small", {"hidden": (8, 6)})
    net = a2sg.create_model(name, num_classes=3, steps=2, in_channels=1, image_size=8, **options).double()
    images, labels = torch.randn(12, 1, 8, 8, dtype=torch.float64), torch.arange(12) % 3
    net(images)
    return Objective(net, (images, labels), MeanLoss())


@pytest.mark.parametrize("conv", [False, True])
def test_directions_have_the_norm_of_every_filter_and_spare_the_rest(conv):
    objective = small(conv=conv)
    direction = _direction(objective, None, 3, 0, False)
    moved = 0
    for way, parameter in zip(direction, objective.parameters, strict=True):
        if parameter.dim() < 2:
            assert not way.any()
            continue
        for mine, own in zip(way, parameter, strict=True):
            torch.testing.assert_close(mine.norm(), own.norm())
            moved += 1
    assert moved > 10
    every = _direction(objective, None, 3, 0, True)
    norms = [p for p in objective.parameters if p.dim() < 2 and p.any()]
    assert norms
    for way, parameter in zip(every, objective.parameters, strict=True):
        torch.testing.assert_close(way.norm(), parameter.norm())


def test_networks_of_one_architecture_get_the_same_direction_in_their_own_units():
    ones = small(seed=0)
    other = small(seed=1)
    for a, b, p, q in zip(
        *(_direction(o, None, 5, 1, False) for o in (ones, other)),
        ones.parameters,
        other.parameters,
        strict=True,
    ):
        if p.dim() >= 2:
            ratio = (p.flatten(1).norm(dim=1) / q.flatten(1).norm(dim=1))[:, None]
            torch.testing.assert_close(a.flatten(1), b.flatten(1) * ratio)
    first, second, third = (_direction(ones, None, seed, n, False)[0] for seed, n in ((5, 1), (5, 0), (6, 0)))
    assert not torch.allclose(first, second)
    assert not torch.allclose(second, third)
    layer = _direction(ones, "fc2.synapse", 5, 1, False)
    for name, part, whole in zip(ones.names, layer, _direction(ones, None, 5, 1, False), strict=True):
        assert torch.equal(part, whole) if name == "fc2.synapse.weight" else not part.any()


@pytest.mark.parametrize("layer", [None, "linears.1"])
def test_losses_are_those_at_the_places(layer):
    net = Net(Plan("plif", steps=2))
    x, y = batch(2)
    objective = Objective(net, (x, y), F.cross_entropy, chunk=4)
    before = copy.deepcopy(net.state_dict())
    ways = [_direction(objective, layer, 2, number, False) for number in (0, 1)]
    line = loss_slice(objective, points=5, reach=0.5, layer=layer, seed=2)
    plane = loss_slice(objective, dimensions=2, points=3, reach=0.5, layer=layer, seed=2)
    assert line.at == [-0.5, -0.25, 0.0, 0.25, 0.5]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    for i, a in enumerate(plane.at):
        for j, b in enumerate(plane.at):
            twin = copy.deepcopy(net)
            with torch.no_grad():
                for p, first, second in zip(twin.parameters(), *ways, strict=True):
                    p.add_(a * first + b * second)
                expected = F.cross_entropy(twin(x), y).item()
            assert plane.losses[i][j] == pytest.approx(expected)
    assert [row[1] for row in plane.losses] == [pytest.approx(line.losses[at]) for at in (0, 2, 4)]
    assert len(set(line.losses)) > 3


def test_statistics_of_batch_norms_are_kept_or_taken_anew():
    objective = small()
    net, (images, labels) = objective.model, (objective.inputs, objective.labels)
    before = copy.deepcopy(net.state_dict())
    kept, anew = (
        loss_slice(objective, points=3, statistics=statistics) for statistics in ("kept", "re-estimated")
    )
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert {m.momentum for m in net.modules() if hasattr(m, "momentum")} == {0.1}
    way = _direction(objective, None, 0, 0, False)
    for at, plain, fresh in zip(kept.at, kept.losses, anew.losses, strict=True):
        twin = copy.deepcopy(net)
        with torch.no_grad():
            for p, direction in zip(twin.parameters(), way, strict=True):
                p.add_(at * direction)
            assert plain == pytest.approx(MeanLoss()(twin.eval()(images), labels).item())
            for norm in (m for m in twin.modules() if hasattr(m, "momentum")):
                norm.momentum = 1.0  # the running statistics are then those of the last batch
            twin.train()(images)
            assert fresh == pytest.approx(MeanLoss()(twin.eval()(images), labels).item())
    assert kept.losses[0] != pytest.approx(anew.losses[0])


def test_other_modules_and_losses_that_are_not_finite():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())
    x, y = torch.randn(4, 3), torch.zeros(4)
    found = loss_slice(Objective(net, (x, y), lambda out, y: 1 / (out.sum() * 0)), points=3)
    assert found.losses == [None] * 3
    assert found.to_dict()["losses"] == [None] * 3


def test_weights_come_back_on_errors_and_options_are_checked():
    objective = small()
    before = copy.deepcopy(objective.model.state_dict())
    calls = []

    def failing(out, labels):
        calls.append(1)
        if len(calls) == 2:
            raise ZeroDivisionError
        return out.mean()

    with pytest.raises(ZeroDivisionError):
        loss_slice(
            Objective(objective.model, (objective.inputs, objective.labels), failing),
            statistics="re-estimated",
        )
    assert objective.model.training
    assert all(torch.equal(v, before[name]) for name, v in objective.model.state_dict().items())
    assert {m.momentum for m in objective.model.modules() if hasattr(m, "momentum")} == {0.1}
    for options, message in (
        ({"dimensions": 3}, "dimensions"),
        ({"points": 4}, "odd"),
        ({"reach": -1.0}, "reach"),
        ({"statistics": "new"}, "statistics"),
        ({"layer": "fc9"}, "no layer 'fc9'"),
        ({"layer": "fc1.norm.bn"}, "no weights"),
    ):
        with pytest.raises(InputError, match=message):
            loss_slice(objective, **options)


def test_a_bar_is_drawn_when_asked_for(capsys):
    loss_slice(small(), points=3, show_progress=True)
    assert "loss landscape" in capsys.readouterr().err
    loss_slice(small(), points=3)
    assert capsys.readouterr().err == ""

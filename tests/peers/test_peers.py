"""Adapted models of other libraries against the unadapted ones, and against this package's neurons."""

import copy
import pickle

import pytest
import torch
from cases import CASES, T
from torch import nn

import a2sg
from a2sg.adopt import revert
from a2sg.errors import InputError
from lookalikes import Attention, Masking, Residual, Stepwise, draw, gradients
from networks import NOW

FIXED = {"spatial": False, "temporal": False}
by_case = pytest.mark.parametrize("case", CASES, ids=str)


class Net(nn.Module):
    """Two layers of neurons between linear ones, over `[T, B, 9]`, put to rest before every forward."""

    def __init__(self, case, surrogate=None):
        super().__init__()
        torch.manual_seed(0)
        self.case = case
        self.linears = nn.ModuleList([nn.Linear(9, 11), nn.Linear(11, 7)])
        self.neurons = nn.ModuleList(case.neuron(surrogate=surrogate) for _ in range(2))
        self.head = nn.Linear(7, 4)
        with torch.no_grad():
            for linear in self.linears:
                linear.weight.mul_(2.5)
                linear.bias.add_(0.3)

    def forward(self, x):
        self.case.reset(self)
        for linear, neuron in zip(self.linears, self.neurons, strict=True):
            x = self.case.run(neuron, linear(x).to(x.dtype)).to(x.dtype)
        return self.head(x).mean(0)


class Rests(nn.Module):
    """A network of a case's neurons, put to rest before every forward."""

    def __init__(self, network, case):
        super().__init__()
        self.network, self.case = network, case

    def forward(self, x):
        self.case.reset(self)
        return self.network(x)


def loss_of(net, seed=0, steps=T, dtype=torch.float64, network=Net):
    x, y = draw(network, steps, size=6, seed=seed)
    return nn.functional.cross_entropy(net(x.to(dtype)), y)


def check(found, expected, rtol=1e-9, atol=1e-12):
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=rtol, atol=atol)


@by_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_spikes_modules_and_state_stay_the_same_to_the_bit(case, dtype, training):
    net, twin = Net(case).to(dtype).train(training), Net(case).to(dtype).train(training)
    modules = dict(net.named_modules())
    windows = a2sg.adapt(net, steps=T, **NOW)
    assert list(windows.sites) == ["neurons.0", "neurons.1"]
    for seed in range(3):
        x, _ = draw(Net, T, size=6, seed=seed)
        out, expected = net(x.to(dtype)), twin(x.to(dtype))
        assert torch.equal(out, expected)
        assert out.dtype == expected.dtype
        if training:
            out.square().sum().backward()
        windows.step()
        with torch.no_grad():
            assert torch.equal(net(x.to(dtype)), twin(x.to(dtype)))
    if training:
        assert any(row["window"] != row["window_before"] for row in windows.history)
    assert dict(net.named_modules()) == modules
    state, wanted = net.state_dict(), twin.state_dict()
    assert list(state) == list(wanted)
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)
    assert state._metadata == wanted._metadata


def pairs():
    return [pytest.param(case, shape, id=f"{case}-{shape}") for case in CASES for shape in case.shapes]


@pytest.mark.parametrize(("case", "shape"), pairs())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_fixed_window_gives_the_gradients_of_the_hosts_own_surrogate(case, shape, dtype):
    _, ours, window = case.shapes[shape]
    if "multiple" in case.name and not ours.bounded:
        pytest.skip("several spikes need a bounded shape")
    net, twin = Net(case, shape).to(dtype), Net(case, shape).to(dtype)
    windows = a2sg.adapt(net, steps=T, surrogate=ours, window=window, **NOW, **FIXED)
    exact = {"rtol": 1e-9, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-6}
    if dtype == torch.float64 and ("snnTorch" in case.name or "Sinabs" in case.name):
        exact = {"rtol": 1e-5, "atol": 1e-7}  # their spikes, and so their gradients, are float32
    if window != float(torch.tensor(window)):
        exact = {"rtol": max(exact["rtol"], 1e-5), "atol": max(exact["atol"], 1e-7)}  # a float32 window
    for seed in range(2):
        found, expected = (gradients(model, loss_of(model, seed, dtype=dtype)) for model in (net, twin))
        windows.step()
        assert any((gradient != 0).any() for gradient in expected)
        check(found, expected, **exact)


@pytest.mark.parametrize("case", [case for case in CASES if case.twin], ids=str)
def test_windows_are_those_of_our_own_neuron(case):
    """Three iterations: from the initial windows, then from what was found."""
    net, lif = Net(case).double(), Net(case).double()
    for number in range(2):
        lif.neurons[number] = case.twin(1.0).double()
    lif.case = OURS
    shape = lif.neurons[0].surrogate
    window = lif.neurons[0].window[0].item()
    windows = a2sg.adapt(net, steps=T, surrogate=shape, window=window, **NOW)
    expected = a2sg.AdaptiveWindows(lif, **NOW)
    for seed in range(3):
        for model, watching in ((net, windows), (lif, expected)):
            model.zero_grad()
            loss_of(model, seed).backward()
            watching.step()
        check(
            [parameter.grad for parameter in net.linears.parameters()],
            [parameter.grad for parameter in lif.linears.parameters()],
            rtol=1e-5,
            atol=1e-7,
        )
    moved = 0
    for mine, theirs in zip(windows.history, expected.history, strict=True):
        assert mine["layer"] == theirs["layer"]
        assert mine["window"] == theirs["window"]
        assert (mine["sgv"] or 0) == pytest.approx(theirs["sgv"] or 0, rel=1e-4)
        moved += mine["window"] != mine["window_before"]
    assert moved > 5


class _Ours:
    """This package's neurons, run as a case."""

    @staticmethod
    def run(neuron, current):
        return neuron(current)

    @staticmethod
    def reset(model):
        return None


OURS = _Ours()


@pytest.mark.parametrize("network", [Residual, Attention, Masking])
@pytest.mark.parametrize("case", [case for case in CASES if case.twin], ids=str)
def test_networks_as_published_code_writes_them(case, network):
    """Residual sums of spikes, attention with a threshold of 0.5: the windows of our own neuron there."""
    if "integer" in case.name:
        pytest.skip("integer spikes are not attended to")

    def build(neuron, run):
        torch.manual_seed(0)
        return network(neuron, run).double()

    net = Rests(build(lambda threshold=1.0: case.neuron(threshold), Converted(case)), case)
    lif = build(lambda threshold=1.0: case.twin(threshold), OURS.run)
    windows = a2sg.adapt(net, steps=T, **NOW)
    expected = a2sg.AdaptiveWindows(lif, **NOW)
    for seed in range(2):
        for model, watching in ((net, windows), (lif, expected)):
            model.zero_grad()
            loss_of(model, seed, network=network).backward()
            watching.step()
    found, wanted = ([row["window"] for row in w.history] for w in (windows, expected))
    assert found == wanted
    assert len(set(found)) > 3


class Converted:
    """Runs a case's neuron, its spikes in the dtype of its input."""

    def __init__(self, case):
        self.case = case

    def __call__(self, neuron, current):
        return self.case.run(neuron, current).to(current.dtype)


@pytest.mark.parametrize("case", [case for case in CASES if case.single and case.twin], ids=str)
def test_the_callers_loop_over_steps(case):
    class Cast(nn.Module):
        def __init__(self):
            super().__init__()
            self.neuron = case.neuron()

        def forward(self, x):
            return self.neuron(x).to(x.dtype)

    torch.manual_seed(0)
    net = Stepwise(Cast).double()
    torch.manual_seed(0)
    lif = Stepwise(lambda: case.twin(1.0)).double()
    windows = a2sg.adapt(
        net, steps=T, surrogate=lif.neurons[0].surrogate, window=lif.neurons[0].window[0].item(), **NOW
    )
    expected = a2sg.AdaptiveWindows(lif, **NOW)
    for seed in range(3):
        x, y = draw(Stepwise, T, seed=seed)
        case.reset(net)
        nn.functional.cross_entropy(sum(net(frame) for frame in x) / T, y).backward()
        windows.step()
        nn.functional.cross_entropy(lif(x).mean(0), y).backward()
        expected.step()
        net.zero_grad()
        lif.zero_grad()
    assert [row["window"] for row in windows.history] == [row["window"] for row in expected.history]
    case.reset(net)
    sum(net(frame) for frame in draw(Stepwise, T - 1)[0]).sum().backward()
    with pytest.raises(InputError, match=r"layer 'neurons.0.neuron' saw 3 steps of a sequence, but steps=4"):
        windows.step()


@by_case
def test_another_t_is_told(case):
    net = Net(case).double()
    windows = a2sg.adapt(net, steps=T)
    with pytest.raises(
        InputError, match=r"layer 'neurons.0' was called for step 5 of a sequence, but steps=4"
    ):
        loss_of(net, steps=T + 1)
    loss_of(net).backward()
    windows.step()
    loss_of(net, steps=T - 1).backward()
    with pytest.raises(InputError, match=r"layer 'neurons.0' saw 3 steps of a sequence, but steps=4"):
        loss_of(net)
    loss_of(net).backward()
    windows.step()
    with torch.no_grad():
        loss_of(net, steps=T + 3)
    loss_of(net).backward()
    windows.step()
    loss_of(net, steps=1).backward()
    with pytest.raises(InputError, match="saw 1 step of a sequence, but steps=4"):
        windows.step()


@by_case
def test_revert_gives_back_the_very_model(case):
    net, twin = Net(case), Net(case)
    before = {name: dict(vars(module)) for name, module in net.named_modules()}
    windows = a2sg.adapt(net, steps=T, **NOW)
    loss_of(net, dtype=torch.float32).backward()
    windows.step()
    assert windows.revert() is net
    loss_of(twin, dtype=torch.float32).backward()
    swapped = ("surrogate_function", "multi_step_forward", "spike_grad", "activation", "spike_fn")
    for (name, module), other in zip(net.named_modules(), twin.modules(), strict=True):
        assert vars(module).keys() == vars(other).keys()
        assert all(vars(module).get(key) is before[name].get(key) for key in (*swapped, "_modules"))
        assert not module._forward_pre_hooks
        assert not module._forward_pre_hooks_with_kwargs
    found, expected = (gradients(model, loss_of(model, seed=3, dtype=torch.float32)) for model in (net, twin))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True))


def picklable(net):
    try:
        pickle.dumps(net)
    except (AttributeError, TypeError, pickle.PicklingError):
        return False
    return True


@by_case
def test_copies_and_pickles_go_on_alone(case):
    net = Net(case)
    net.case = None
    plain = picklable(net)
    net.case = case
    windows = a2sg.adapt(net, steps=T, **NOW)
    loss_of(net, dtype=torch.float32).backward()
    windows.step()
    case.reset(net)
    net.case = None
    with torch.no_grad():
        for module in net.modules():  # states, which hold a graph, cannot be copied
            if hasattr(module, "mem"):
                module.reset_mem()
    copies = [copy.deepcopy(net)]
    assert picklable(net) == plain
    if plain:
        copies.append(pickle.loads(pickle.dumps(net)))
    windows.detach()
    net.case = case
    net.zero_grad()
    expected = gradients(net, loss_of(net, seed=4, dtype=torch.float32))
    case.reset(net)
    for twin in copies:
        twin.case = case
        found = gradients(twin, loss_of(twin, seed=4, dtype=torch.float32))
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True))
        for name, _, swap in a2sg.adopt.swap.swaps(twin):
            (site,) = swap.sites(name).values()
            assert site is not windows.sites[name]
            site.window.fill_(0.123)
        assert len(list(a2sg.adopt.swap.swaps(twin))) == 2
        revert(twin)
        again = a2sg.adapt(twin, steps=T, **NOW)
        twin.zero_grad()
        loss_of(twin, dtype=torch.float32).backward()
        again.step()
    left = [value for site in windows.sites.values() for value in site.window.tolist()]
    assert 0.123 not in [round(value, 6) for value in left]


COMPILED = ("SpikingJelly-soft-m", "SpikingJelly-plif-s", "snnTorch-Leaky-hidden", "snnTorch-RLeaky")


@pytest.mark.parametrize("case", [case for case in CASES if case.compiles and case.name in COMPILED], ids=str)
def test_compiled_where_the_host_compiles(case):
    torch._dynamo.reset()
    net, twin = Net(case), Net(case)
    case.reset(net)
    windows, expected = (a2sg.adapt(model, steps=T, every=2) for model in (net, twin))

    class Bare(nn.Module):
        """Without the reset, which the caller does."""

        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            for linear, neuron in zip(self.net.linears, self.net.neurons, strict=True):
                x = self.net.case.run(neuron, linear(x))
            return self.net.head(x).mean(0)

    run = torch.compile(Bare(net), backend="aot_eager")
    for seed in range(4):
        x, y = draw(Net, T, size=6, seed=seed)
        case.reset(net)
        found = gradients(net, nn.functional.cross_entropy(run(x.float()), y))
        windows.step()
        wanted = gradients(twin, nn.functional.cross_entropy(twin(x.float()), y))
        expected.step()
        check(found, wanted, rtol=1e-4, atol=1e-6)
    assert len(windows.history) == 2 * T
    moved = sum(row["window"] != row["window_before"] for row in windows.history)
    same = sum(a["window"] == b["window"] for a, b in zip(windows.history, expected.history, strict=True))
    assert moved > 0
    assert same >= 2 * T - 1  # in float32 a near tie may fall either way


@by_case
def test_training_adapts_and_learns(case):
    net = Net(case)
    windows = a2sg.adapt(net, steps=T, every=5)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    x, y = draw(Net, T, size=12)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(net(x.float()), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        windows.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert any(row["window"] != row["window_before"] for row in windows.history)


@by_case
def test_frozen_layers(case):
    net = Net(case)
    windows = a2sg.adapt(net, steps=T, **NOW)
    for parameter in [*net.linears[0].parameters(), *net.neurons[0].parameters()]:
        parameter.requires_grad_(False)
    loss_of(net, dtype=torch.float32).backward()
    windows.step()
    kept = {row["layer"]: row["kept"] for row in windows.history if row["step"] == T}
    assert kept["neurons.1"] == ""

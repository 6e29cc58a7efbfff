"""Neurons under everything by which torch records operations: none is missed, and none needs a value."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

import a2sg
from a2sg.errors import InputError
from a2sg.kernels.compilers import missing

BACKENDS = [
    "reference",
    pytest.param("compiled", marks=pytest.mark.skipif(bool(missing("cpu")), reason=missing("cpu"))),
]


def network(backend="reference", **options):
    torch.manual_seed(0)
    neuron = a2sg.LIF(4, backend=backend, **options)
    return nn.Sequential(nn.Linear(8, 16), neuron, nn.Linear(16, 3)).eval().requires_grad_(False)


def draw(seed, steps=4):
    return torch.randn(steps, 5, 8, generator=torch.Generator().manual_seed(seed))


TRACERS = {
    "jit": lambda net, x: torch.jit.trace(net, (x,)),
    "fx": lambda net, x: make_fx(net)(x),
    "fake": lambda net, x: make_fx(net, tracing_mode="fake", _allow_non_fake_inputs=True)(x),
    "export": lambda net, x: torch.export.export(net, (x,)).module(),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("trace", TRACERS.values(), ids=list(TRACERS))
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_what_was_recorded_gives_the_spikes_of_other_inputs(trace, backend):
    net = network(backend)
    net(draw(0))  # with kernels that are ready
    recorded = trace(net, draw(0))
    assert torch.equal(recorded(draw(1)), net(draw(1)))
    assert recorded(draw(1)).any()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("steps", [4, 7])
def test_tensors_without_values_have_shapes(backend, steps):
    net = network(backend, groups=2)
    net(draw(0))
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert net(torch.empty(steps, 5, 8)).shape == (steps, 5, 3)
        Sited()(torch.empty(4, 5, 8)).sum().backward()
    x = draw(0, steps).requires_grad_()  # afterwards, nothing without values is left
    net(x).sum().backward()
    assert x.grad.any()


@pytest.mark.parametrize(
    "use",
    [
        lambda net, x: torch.func.grad(lambda x: net(x).sum())(x),
        lambda net, x: torch.func.vmap(net, in_dims=1)(x[:, :, None]),
        lambda net, x: torch.func.jvp(net, (x,), (x,)),
    ],
    ids=["grad", "vmap", "jvp"],
)
def test_transforms_of_functions_are_refused_with_a_way_out(use):
    for net in (network(), Sited()):
        with pytest.raises(InputError, match=r"do not work inside torch\.func.*autograd\.grad"):
            use(net, draw(0))


class Sited(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.weights, self.site = nn.Linear(8, 16), a2sg.SpikeSite(4)

    def forward(self, x):
        return torch.stack([a2sg.spike(self.weights(frame) - 0.3, self.site) for frame in x])


@pytest.mark.parametrize("adapt", [False, True])
@pytest.mark.parametrize("trace", TRACERS.values(), ids=list(TRACERS))
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_spike_functions_are_recorded_too(trace, adapt):
    net = Sited().requires_grad_(False)
    if adapt:
        a2sg.adapt(net, steps=4)
    with torch.no_grad():
        recorded = trace(net, draw(0))
    assert torch.equal(recorded(draw(1)), net(draw(1)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_spikes_of_the_example_are_not_recorded_as_constants():
    with pytest.raises(InputError, match=r"would record the spikes of its example.*under torch\.no_grad"):
        torch.jit.trace(Sited(), (draw(0),), check_trace=False)
    net, (x, other) = network().requires_grad_(), (draw(0), draw(1))
    recorded = torch.jit.trace(net, (x,), check_trace=False)  # a neuron is traced with its gradients
    gradients = [torch.autograd.grad(run(other).square().sum(), net[0].weight) for run in (net, recorded)]
    assert torch.equal(gradients[0][0], gradients[1][0])


def test_a_symbolic_trace_takes_neurons_as_leaves():
    class Tracer(torch.fx.Tracer):
        def is_leaf_module(self, module, name):
            return isinstance(module, a2sg.LIF) or super().is_leaf_module(module, name)

    net = network()
    with pytest.raises(InputError, match=r"not Proxy: neurons must be leaf modules of the torch\.fx tracer"):
        torch.fx.symbolic_trace(net)
    traced = torch.fx.GraphModule(net, Tracer().trace(net))
    assert torch.equal(traced(draw(0)), net(draw(0)))


def test_networks_are_built_without_values_and_get_them_from_a_state():
    def build():
        layers = [nn.Linear(8, 16), a2sg.PLIF(4), nn.Linear(16, 16), a2sg.LIF(4, learn="threshold")]
        return nn.Sequential(*layers)

    with torch.device("meta"):
        net = build()
        a2sg.create_model("vgg_small")
    with FakeTensorMode():
        build()
        a2sg.create_model("vgg_small")
    with torch.device("meta"):
        assert a2sg.SpikeSite(4).window.is_meta
    whole = build()
    whole[3].window.fill_(0.25)
    net.load_state_dict(whole.state_dict(), assign=True)
    assert torch.equal(net(draw(0)), whole(draw(0)))
    assert net[3].window.tolist() == [0.25] * 4

"""What is special about each library: what is refused, left alone, switched, and where sequences begin."""

import copy
import importlib.util
import os
import re
from importlib.metadata import version

import pytest
import torch
from torch import nn

import a2sg
import reference
from a2sg.errors import InputError
from a2sg.surrogate import Arctan, Triangle
from lookalikes import draw, gradients
from networks import NOW, candidates
from places import ROOT
from published import MemUpdate
from reference import BY_NAME

T = 4
VERSIONS = {
    "current": {"spikingjelly": "2.0.0", "snntorch": "1.0.0", "norse": "1.1.0", "sinabs": "3.1.3"},
    "spikingjelly-0.0.0.0.14": {"spikingjelly": "0.0.0.0.14"},
    "spikingjelly-0.0.0.0.12": {"spikingjelly": "0.0.0.0.12"},
}


def there(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def needs(module):
    return pytest.mark.skipif(not there(module), reason=f"{module} is not in this environment")


newer = needs("spikingjelly.activation_based")
second = needs("spikingjelly._ops")


def test_the_libraries_are_those_that_were_asked_for():
    for package, wanted in VERSIONS[os.environ["A2SG_TEST_PEERS"]].items():
        assert version(package) == wanted


def inputs(steps=T, seed=0):
    return draw(None, steps, size=5, seed=seed)[0].float()


def dense(*neurons):
    torch.manual_seed(0)
    parts = [part for neuron in neurons for part in (nn.Linear(9, 9), neuron)]
    net = nn.Sequential(*parts)
    for part in net:
        if isinstance(part, nn.Linear):
            part.weight.data.mul_(2.5)
    return net


class TestSpikingJelly:
    pytestmark = needs("spikingjelly")

    @staticmethod
    def node(**options):
        if there("spikingjelly.activation_based"):
            from spikingjelly.activation_based import neuron

            return neuron.LIFNode(step_mode="m", **options)
        from spikingjelly.clock_driven import neuron

        return neuron.MultiStepLIFNode(**options)

    @pytest.mark.skipif(there("spikingjelly._ops"), reason="version 2 has no backends")
    def test_fused_backends_are_switched_and_given_back(self):
        net, twin = dense(self.node()), dense(self.node())
        name = "_backend" if "_backend" in vars(net[1]) else "backend"
        vars(net[1])[name] = "cupy"  # cupy itself is not needed: it must not be called
        windows = a2sg.adapt(net, steps=T, **NOW)
        assert net[1].backend == "torch"
        assert torch.equal(net(inputs()), twin(inputs()))
        windows.revert()
        assert net[1].backend == "cupy"

    @pytest.mark.skipif(there("spikingjelly._ops"), reason="version 2 has no backends")
    @pytest.mark.parametrize("given", ["torch", "cupy"])
    def test_a_backend_that_is_set_while_adapted_is_told(self, given):
        net = dense(self.node())
        name = "_backend" if "_backend" in vars(net[1]) else "backend"
        vars(net[1])[name] = given
        windows = a2sg.adapt(net, steps=T)
        net(inputs())
        windows.step()
        vars(net[1])[name] = "cupy"
        with pytest.raises(InputError, match=f"layer '1': {name} was changed to 'cupy' while it was adapted"):
            windows.step()
        windows.revert()
        assert vars(net[1])[name] == given

    def test_a_forgotten_reset_is_named(self):
        net = dense(self.node())
        a2sg.adapt(net, steps=T)
        net(inputs())
        with pytest.raises(
            InputError, match=r"called for step 5 .*; if it is, the state was not reset after"
        ):
            net(inputs())

    def test_a_reset_that_is_forgotten_in_training_is_named_before_the_backward_pass(self):
        net = dense(self.node())
        windows = a2sg.adapt(net, steps=T)
        net(inputs()).sum().backward()
        windows.step()
        with pytest.raises(InputError, match="layer '1' begins a sequence, but the state was not reset"):
            net(inputs())

    @newer
    def test_online_training_is_named(self):
        from spikingjelly.activation_based import functional

        net = dense(self.node())
        functional.set_step_mode(net, "s")
        a2sg.adapt(net, steps=T)
        net(inputs()[0]).sum().backward()
        functional.detach_net(net)
        with pytest.raises(
            InputError, match=r"saw 1 step .*; if it is, the state is detached after every step"
        ):
            net(inputs()[0])

    def test_a_network_whose_spike_functions_are_mixed(self):
        """The library's nodes are adapted as ever, and what is one's own is seen in the example."""
        net = dense(self.node(), MemUpdate())
        windows = a2sg.adapt(net, steps=T, example=inputs(), **NOW)
        assert [row.function for row in windows.found] == ["surrogate_function", "ActFun"]
        net(inputs()).sum().backward()  # the example left the node at rest
        windows.step()
        assert windows.kept["no gradient"] == 0

    @newer
    def test_all_steps_at_once_are_left_alone(self, caplog):
        from spikingjelly.activation_based import neuron

        if not hasattr(neuron, "PSN"):
            pytest.skip("this version has no such node")
        net = dense(self.node(), neuron.PSN(T=T))
        original = net[3].surrogate_function
        windows = a2sg.adapt(net, steps=T)
        assert windows.left_alone == {"3": "it fires all steps in one call"}
        assert "layer '3' is left alone: it fires all steps in one call" in caplog.text
        assert net[3].surrogate_function is original

    def test_a_surrogate_that_makes_no_spikes_is_refused(self):
        net = dense(self.node())
        net[1].surrogate_function.spiking = False
        try:
            with pytest.raises(InputError, match=r"layer '1': .* surrogate with spiking=False"):
                a2sg.adapt(net, steps=T)
        finally:
            net[1].surrogate_function.spiking = True  # one object for all nodes: the library's default

    @second
    def test_fused_kernels_that_were_asked_for_are_refused(self, monkeypatch):
        net = dense(self.node())
        monkeypatch.setenv("SJ_LIF_CUDA_IMPLEMENTATION", "triton")
        a2sg.adapt(net, steps=T).revert()  # without a GPU the variable asks for nothing
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        with pytest.raises(InputError, match="SJ_LIF_CUDA_IMPLEMENTATION=triton asks for a kernel"):
            a2sg.adapt(net, steps=T)
        monkeypatch.setenv("SJ_LIF_CUDA_IMPLEMENTATION", "torch")
        a2sg.adapt(net, steps=T).revert()
        net[1]._neuron_precision = ("fp16", "fp32", "fp32")
        with pytest.raises(InputError, match="explicit neuron precision"):
            a2sg.adapt(net, steps=T)

    @newer
    def test_the_step_mode_may_change_while_adapted(self):
        from spikingjelly.activation_based import functional

        net = dense(self.node())
        windows = a2sg.adapt(net, steps=T, **NOW)
        found = []
        for mode in ("m", "s"):
            functional.set_step_mode(net, mode)
            functional.reset_net(net)
            x = inputs()
            out = net(x) if mode == "m" else torch.stack([net(frame) for frame in x])
            found.append(gradients(net, out.square().sum()))
        for mine, theirs in zip(*found, strict=True):
            torch.testing.assert_close(mine, theirs)
        windows.step()

    def test_detach_begins_a_sequence_too(self):
        """Truncated backpropagation: T steps between two truncations."""
        net = dense(self.node())
        windows = a2sg.adapt(net, steps=T, **NOW)
        for seed in range(3):
            net(inputs(seed=seed)).sum().backward()
            windows.step()
            net[1].detach()
        assert len(windows.history) == 3 * T

    def test_nodes_with_one_surrogate_object_get_a_site_each(self):
        net = dense(self.node(), self.node())
        assert net[1].surrogate_function is net[3].surrogate_function
        windows = a2sg.adapt(net, steps=T)
        assert windows.sites["1"] is not windows.sites["3"]

    @second
    def test_a_spikformer_of_its_own(self):
        from spikingjelly.activation_based import functional, neuron
        from spikingjelly.activation_based.model.spikformer import Spikformer

        torch.manual_seed(0)
        net = Spikformer(
            T, 3, 32, 32, patch_size=4, num_classes=10, embed_dims=32, num_heads=2, mlp_ratio=1.0, depths=1
        )
        functional.set_step_mode(net, "m")
        nodes = [module for module in net.modules() if isinstance(module, neuron.BaseNode)]
        x = torch.randn(2, 3, 32, 32)
        twin = copy.deepcopy(net)
        windows = a2sg.adapt(net, steps=T, **NOW)
        assert len(windows.sites) == len(nodes) > 5
        assert not windows.left_alone
        out = net(x)
        assert torch.equal(out, twin(x))
        out.square().sum().backward()
        windows.step()
        assert len(windows.history) == len(nodes) * T


class TestSnnTorch:
    pytestmark = needs("snntorch")

    def test_a_neuron_for_several_layers_is_named(self):
        import snntorch

        leaky = snntorch.Leaky(0.9)

        class Shared(nn.Module):
            def __init__(self):
                super().__init__()
                self.linears, self.leaky = nn.ModuleList(nn.Linear(9, 9) for _ in range(2)), leaky

            def forward(self, x):
                mems = [self.leaky.reset_mem() for _ in self.linears]
                for spikes in x:
                    for at, linear in enumerate(self.linears):
                        spikes, mems[at] = self.leaky(linear(spikes), mems[at])
                return spikes

        net = Shared()
        a2sg.adapt(net, steps=T)
        with pytest.raises(
            InputError, match=r"layer 'leaky' saw 1 .*; if it is, one neuron serves several layers"
        ):
            net(inputs())

    def test_what_is_left_alone(self):
        import snntorch

        net = dense(
            snntorch.Leaky(0.9, init_hidden=True),
            snntorch.Leaky(0.9, init_hidden=True, surrogate_disable=True),
            snntorch.LeakyParallel(9, 9),
        )
        windows = a2sg.adapt(net, steps=T)
        assert list(windows.sites) == ["1"]
        assert windows.left_alone == {
            "3": "its surrogate is disabled",
            "5": "it fires all steps in one call",
        }

    def test_hidden_states_reset_and_detached_by_its_utilities(self):
        import snntorch
        from snntorch import utils

        net = dense(snntorch.Leaky(0.9, init_hidden=True))
        windows = a2sg.adapt(net, steps=T, **NOW)
        for seed in range(2):
            utils.reset(net)
            sum(net(x) for x in inputs(seed=seed)).sum().backward()
            windows.step()
        for seed in range(2):
            snntorch.Leaky.detach_hidden()
            sum(net(x) for x in inputs(seed=seed)).sum().backward()
            windows.step()
        assert len(windows.history) == 4 * T

    def test_the_input_by_keyword(self):
        import snntorch

        leaky = snntorch.Leaky(0.9)
        net = dense(leaky)
        windows = a2sg.adapt(net, steps=T, **NOW)
        mem, total = leaky.reset_mem(), 0.0
        for x in inputs():
            spikes, mem = leaky(input_=net[0](x), mem=mem)
            total = total + spikes
        total.sum().backward()
        windows.step()
        assert windows.kept["no gradient"] == 0

    def test_a_spike_function_of_ones_own(self):
        import snntorch
        from snntorch import surrogate

        own = surrogate.custom_surrogate(lambda x, grad, spikes: grad * (x.abs() < 0.5))
        nets = [dense(snntorch.Leaky(0.9, spike_grad=own, init_hidden=True)) for _ in range(2)]
        fixed = {"spatial": False, "temporal": False}
        a2sg.adapt(nets[0], steps=T, surrogate=a2sg.surrogate.Boxcar(), window=0.5, **fixed)
        found = [gradients(net, sum(net(x) for x in inputs()).square().sum()) for net in nets]
        for mine, theirs in zip(*found, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


class TestNorse:
    pytestmark = needs("norse")

    def test_the_adjoint_is_refused(self):
        from norse.torch import LIFCell, LIFParameters

        with pytest.raises(InputError, match="layer '1': LIFCell uses the adjoint method"):
            a2sg.adapt(dense(LIFCell(LIFParameters(method="adjoint"))), steps=T)

    def test_the_adjoint_of_an_lsnn_is_refused(self):
        from norse.torch.module.lsnn import LSNNCell

        with pytest.raises(InputError, match=r"LSNNCell uses the adjoint method.*\(LSNN: adjoint=False\)"):
            a2sg.adapt(dense(LSNNCell(adjoint=True)), steps=T)

    def test_unknown_steps_are_left_alone(self):
        from norse.torch import LICell, LIFBoxCell, LIFRefracCell
        from norse.torch.module.coba_lif import CobaLIFCell

        net = dense(LIFBoxCell(), LIFRefracCell(), CobaLIFCell(9, 9), LICell())
        windows = a2sg.adapt(net, steps=T)
        assert windows.left_alone == dict.fromkeys(("3", "5"), "its step function is not known")
        assert list(windows.sites) == ["1"]

    @pytest.mark.parametrize("kind", ["LIFRecurrentCell", "LIFRecurrent"])
    def test_recurrent_neurons(self, kind):
        import norse.torch as norse

        def build():
            torch.manual_seed(0)
            parameters = norse.LIFParameters(tau_mem_inv=torch.tensor(500.0), method="triangle", alpha=1.0)
            return getattr(norse, kind)(9, 7, parameters)

        def run(net):
            if kind == "LIFRecurrent":
                return net(inputs())[0]
            state, out = None, []
            for x in inputs():
                spikes, state = net(x, state)
                out.append(spikes)
            return torch.stack(out)

        net, twin = build(), build()
        fixed = {"spatial": False, "temporal": False}
        windows = a2sg.adapt(net, steps=T, surrogate=Triangle(), window=1.0, **NOW, **fixed)
        assert torch.equal(run(net), run(twin))
        found, expected = (gradients(model, run(model).square().sum()) for model in (net, twin))
        for mine, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
        windows.step()

    def test_its_own_functions_are_not_touched(self):
        from norse.torch import LIFBoxCell
        from norse.torch.functional import lif_box, threshold

        before = lif_box.threshold
        net, other = dense(LIFBoxCell()), dense(LIFBoxCell())
        windows = a2sg.adapt(net, steps=T)
        assert lif_box.threshold is before is threshold.threshold
        assert other[1].activation is lif_box.lif_box_feed_forward_step
        assert net[1].activation is not other[1].activation
        windows.revert()
        assert net[1].activation is other[1].activation


class Several(reference.Neuron):
    """A neuron that fires for each whole multiple of its threshold."""

    @property
    def thresholds(self):
        return [k * self.threshold for k in range(1, 9)]


class TestSinabs:
    pytestmark = needs("sinabs")

    def test_what_spikes_and_what_does_not(self):
        from sinabs.activation import MultiSpike, SingleSpike
        from sinabs.layers import ALIF, IAF, LIF, ExpLeak, LIFSqueeze

        net = dense(
            IAF(),
            ExpLeak(5.0),
            ALIF(5.0, 5.0, spike_fn=MultiSpike),
            ALIF(5.0, 5.0, spike_fn=SingleSpike),
            LIFSqueeze(tau_mem=5.0, batch_size=2),
            LIF(5.0, spike_fn=torch.nn.functional.relu),
        )
        windows = a2sg.adapt(net, steps=T)
        assert list(windows.sites) == ["1", "7", "9"]
        assert windows.left_alone == {
            "5": "it fires several spikes in a step, at a threshold that changes",
            "11": "its spike function relu is not known",
        }

    @pytest.mark.parametrize("kind", ["ALIF", "LIFRecurrent", "IAFRecurrent", "LIFSqueeze"])
    def test_further_layers(self, kind):
        from sinabs import layers
        from sinabs.activation import SingleSpike

        def build():
            torch.manual_seed(0)
            options = {"spike_fn": SingleSpike}
            if "LIF" in kind:
                options["tau_mem"] = torch.tensor(3.0)
            if kind == "ALIF":
                options["tau_adapt"] = torch.tensor(4.0)
            if "Recurrent" in kind:
                options["rec_connect"] = nn.Linear(9, 9)
            if "Squeeze" in kind:
                options["batch_size"] = 5
            return dense(getattr(layers, kind)(**options))

        def run(net):
            x = inputs().transpose(0, 1)
            return net(x.flatten(0, 1) if "Squeeze" in kind else x)

        net, twin = build(), build()
        windows = a2sg.adapt(net, steps=T, **NOW)
        out = run(net)
        assert torch.equal(out, run(twin))
        out.square().sum().backward()
        windows.step()
        assert windows.kept["no gradient"] == 0
        assert len(windows.history) == T

    @pytest.mark.parametrize("threshold", [1.0, 1.4])
    def test_windows_of_several_spikes_are_those_of_trying_every_one(self, threshold):
        from sinabs.layers import IAF

        torch.manual_seed(1)
        linear = nn.Linear(9, 6).double()
        weights = torch.randn(T, 5, 6, dtype=torch.float64)
        x = 3 * inputs().double()
        layer = IAF(spike_threshold=torch.tensor(threshold))
        net = nn.Sequential(linear, layer)
        windows = a2sg.adapt(net, steps=T, **NOW)
        (net(x.transpose(0, 1)).transpose(0, 1) * weights).sum().backward()
        windows.step()
        neuron = Several(BY_NAME["asymmetric"].formula, 1.0, threshold, "soft", levels=8)
        done = reference.run(neuron, linear(x), torch.ones(T, dtype=torch.float64))
        assert max(spikes.max() for spikes in done.s) > 2
        steps = reference.steps_of(neuron, done, (done.spikes * weights).sum(), torch.ones(T).double())
        assert windows.sites["1"].window.tolist() == [step.best(candidates()) for step in steps]

    def test_several_spikes_need_a_bounded_shape(self):
        from sinabs.layers import IAF

        with pytest.raises(InputError, match="layer '1': a neuron that fires several spikes"):
            a2sg.adapt(dense(IAF()), steps=T, surrogate=Arctan())

    def test_a_threshold_that_was_loaded_is_the_one_used(self):
        from sinabs.layers import IAF

        nets = [dense(IAF()), dense(IAF(spike_threshold=torch.tensor(0.6)))]
        for net in nets:
            a2sg.adapt(net, steps=T, window=0.3)
        x = inputs().transpose(0, 1)
        first = gradients(nets[0], nets[0](x).square().sum())
        nets[0][1].load_state_dict({**nets[0][1].state_dict(), "spike_threshold": torch.tensor(0.6)})
        nets[0][1].reset_states()
        found = [gradients(net, net(x).square().sum()) for net in nets]
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(first, found[0], strict=True))

    def test_a_copy_shares_nothing(self):
        from sinabs.layers import IAF

        net = dense(IAF())
        windows = a2sg.adapt(net, steps=T)
        twin = copy.deepcopy(copy.deepcopy(net))
        ((_, _, swap),) = a2sg.adopt.swap.swaps(twin)
        (site,) = swap.sites("1").values()
        assert site is not windows.sites["1"]
        assert twin[1].spike_fn.site is site
        twin(inputs().transpose(0, 1)).sum().backward()
        assert windows.sites["1"].count.done == 0
        assert site.count.done == T


@pytest.mark.skipif(os.environ["A2SG_TEST_PEERS"] != "current", reason="the guide is of the current versions")
def test_the_guide_runs():
    """Every block of docs/adopt.md, in order."""
    blocks = re.findall(
        r"^```python\n(.*?)^```$",
        (ROOT / "docs" / "adopt.md").read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    assert len(blocks) == 6
    torch.manual_seed(0)
    names = {"__name__": "guide"}
    trained = 0
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"adopt.md, block {number}", "exec"), names)
        if "loss" in names:
            trained += 1
            assert names.pop("loss").item() < 1.6, f"block {number}"
            assert names["windows"].history
    assert trained == 5

"""How thresholds and decays are given, set, saved and refused."""

import copy
import inspect

import pytest
import torch
from torch import nn

import a2sg
from a2sg import IF, LIF, PLIF, InputError, IntegerLIF
from a2sg.neuron import NeuronOptions, SharedOptions, SpikingNeuron
from a2sg.surrogate import Asymmetric


def test_constants_may_be_set_later_and_are_trained_then():
    neuron = LIF(4)
    neuron.threshold = nn.Parameter(torch.tensor(0.7))
    neuron.decay = torch.full((3,), 0.8)
    assert [name for name, _ in neuron.named_parameters()] == ["threshold"]
    assert set(neuron.state_dict()) == {"window", "threshold", "decay"}
    before = neuron.threshold.item()
    optimizer = torch.optim.SGD(neuron.parameters(), lr=0.1)
    neuron(torch.rand(4, 2, 3)).mean().neg().backward()
    optimizer.step()
    assert neuron.threshold.item() < before, "more spikes were wanted"
    neuron.threshold = 1.0
    assert not list(neuron.parameters())
    assert LIF(4).state_dict().keys() == {"window"}


def test_learn_trains_what_was_given_as_a_number():
    neuron = LIF(4, threshold=0.5, learn=["threshold", "decay"])
    found = {name: round(parameter.item(), 6) for name, parameter in neuron.named_parameters()}
    assert found == {"threshold": 0.5, "decay": 0.9}
    assert [name for name, _ in IF(4, learn="threshold").named_parameters()] == ["threshold"]
    assert [name for name, _ in IntegerLIF(1, learn="decay").named_parameters()] == ["decay"]


def test_learned_constants_go_through_a_checkpoint():
    source = LIF(4, threshold=torch.tensor([0.5, 0.7]), decay=nn.Parameter(torch.tensor([0.3, 0.4])))
    target = LIF(4, threshold=torch.ones(2), decay=nn.Parameter(torch.full((2,), 0.9)))
    target.load_state_dict(source.state_dict())
    x = torch.randn(4, 3, 2)
    assert torch.equal(target(x), source(x))
    assert torch.equal(copy.deepcopy(source)(x), source(x))
    assert torch.equal(source.double().threshold, torch.tensor([0.5, 0.7]).double())


REFUSED = [
    (
        lambda: LIF(4, threshold=torch.ones(2, 1)),
        r"threshold must be .* one for each channel \[C\], not .*\(2, 1\)",
    ),
    (lambda: LIF(4, threshold=torch.tensor([1.0, -1.0])), "threshold must be a number above 0, not -1.0"),
    (lambda: LIF(4, threshold=torch.tensor([1.0, torch.nan])), "threshold must be a number above 0, not nan"),
    (lambda: LIF(4, decay=torch.tensor([0.5, 1.5])), "decay must be between 0 and 1, not 1.5"),
    (lambda: LIF(4, decay=torch.ones(2, requires_grad=True)), r"not a parameter.*nn.Parameter\(decay\)"),
    (lambda: LIF(4, threshold=torch.tensor([1, 2])), "threshold must be floating point, not torch.int64"),
    (lambda: LIF(4, learn="window"), "unknown constant to learn 'window'"),
    (lambda: PLIF(4, decay=nn.Parameter(torch.tensor(0.5))), "a PLIF always trains its decay"),
    (lambda: PLIF(4, decay=torch.tensor([0.5, 1.0])), "the decay of a PLIF must not be 0 or 1"),
    (lambda: IF(4, learn="decay"), "an IF does not leak"),
    (lambda: IntegerLIF(threshold=nn.Parameter(torch.tensor(1.0))), "levels are multiples of it"),
    (lambda: LIF(4, window=nn.Parameter(torch.ones(4))), "a window gets no gradient"),
    (lambda: setattr(LIF(4), "window", nn.Parameter(torch.ones(4))), "a window gets no gradient"),
    (
        lambda: Asymmetric(bias=nn.Parameter(torch.tensor(0.6))),
        "bias must be a number, not a tensor to be",
    ),
    (lambda: setattr(LIF(4), "threshold", -1.0), "threshold must be a number above 0"),
    (lambda: setattr(IntegerLIF(), "threshold", torch.ones(2)), "levels are multiples of it"),
    (
        lambda: LIF(4, threshold=torch.ones(3))(torch.ones(4, 2, 5)),
        "each of 3 channels, but the input .* has 5",
    ),
    (
        lambda: LIF(4, decay=torch.ones(3))(torch.ones(4, 3)),
        r"decay has .* none: it must be \[T, B, C, ...\]",
    ),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_makes_no_sense_is_refused_at_once(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_refused_value_leaves_the_neuron_as_it_was():
    neuron = LIF(4, threshold=0.5)
    with pytest.raises(InputError):
        neuron.threshold = torch.tensor([1.0, -1.0])
    assert neuron.threshold == 0.5


def test_signatures_say_what_a_kind_takes():
    """Recipes and errors read them."""

    class Own(SpikingNeuron):
        def __init__(self, steps, *, tau=2.0, **options):
            super().__init__(steps, **options)

    class Further(Own):
        def __init__(self, steps, *, nu=2.0, **options):
            super().__init__(steps, **options)

    class Closed(IF):
        def __init__(self, steps):
            super().__init__(steps)

    kinds = (LIF, PLIF, IF, Own, Further, Closed)
    taken = {kind: list(inspect.signature(kind).parameters) for kind in kinds}
    assert taken[Further] == ["steps", "nu", *taken[Own][1:]]
    assert taken[Closed] == ["steps"]
    assert taken[LIF] == taken[PLIF]
    assert taken[IF] == [name for name in taken[LIF] if name != "decay"]
    assert taken[Own] == ["steps", "tau", *taken[LIF][1:]]
    with pytest.raises(InputError, match=r"takes decay, .*, not 'tresh'"):
        a2sg.create_model("mlp_small", neuron="plif", neuron_options={"tresh": 1.0})


def test_options_of_a_signature_are_those_of_the_typed_dict():
    assert NeuronOptions.__optional_keys__ == set(inspect.signature(IF).parameters) - {"steps"}
    own = {"steps", "levels", "normalize", "decay", "surrogate", "window"}
    assert SharedOptions.__optional_keys__ == set(inspect.signature(IntegerLIF).parameters) - own
    with pytest.raises(TypeError, match="reset"):
        IntegerLIF(reset="hard")


def test_networks_by_name_train_them():
    torch.manual_seed(8)
    options = {"learn": ["threshold", "decay"], "threshold": 0.5}
    net = a2sg.create_model("vgg_small", in_channels=1, image_size=8, width=0.2, neuron_options=options)
    constants = {name: p for name, p in net.named_parameters() if name.endswith((".threshold", ".decay"))}
    assert len(constants) == 2 * sum(isinstance(module, LIF) for module in net.modules()) > 2
    like = {**options, "learn": []}
    torch.manual_seed(8)
    fixed = a2sg.create_model("vgg_small", in_channels=1, image_size=8, width=0.2, neuron_options=like)
    images = torch.randn(6, 1, 8, 8)
    assert torch.equal(net(images), fixed(images)), "the same weights at the start, and the same outputs"
    net(images).square().mean().backward()
    assert all(parameter.grad.abs() > 0 for parameter in constants.values())

"""The small networks: dense over recordings of few sensors, and convolutions for every pixel."""

import pytest
import torch
import torch.nn.functional as F

import transformer_networks as transformers
from a2sg.errors import InputError
from a2sg.models import create_model

NAMES = ("fcn_small", "mlp_small")
SMALL = {
    "fcn_small": {"width": 0.125, "image_size": 8},
    "mlp_small": {"hidden": [6, 5], "image_size": (7, 3)},
}


def small(name, **options):
    return create_model(name, **{"num_classes": 3, "in_channels": 2, "steps": 2, **SMALL[name], **options})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("duty", transformers.DUTIES)
def test_it_does_what_every_network_must(name, duty):
    torch.manual_seed(0)
    duty(lambda **options: small(name, **options), SMALL[name])


@pytest.mark.parametrize("width", [1.0, 0.25])
def test_fcn_small_gives_logits_for_every_pixel_of_any_image(width):
    model = create_model("fcn_small", num_classes=4, in_channels=3, steps=2, width=width)
    for height, width in ((5, 9), (24, 24)):
        assert model(torch.randn(2, 3, height, width)).shape == (2, 2, 4, height, width)


def test_a_pixel_of_fcn_small_sees_17x17():
    model = create_model("fcn_small", num_classes=2, in_channels=1, steps=1).double().eval()
    weight = torch.ones(1, dtype=torch.float64)
    x = torch.zeros(1, 1, 1, 25, 25, dtype=torch.float64)
    x[..., 12, 12] = 1
    for layer in model:  # every weight 1 and no neuron: what a pixel reaches
        if hasattr(layer, "synapse"):
            conv = layer.synapse
            kernel = weight.expand(1, 1, 3, 3)
            x = F.conv2d(x[0], kernel, padding=conv.padding, dilation=conv.dilation)[None]
    reached = x[0, 0, 0] > 0
    assert reached.sum() == 17 * 17
    assert reached[4:21, 4:21].all()


def test_mlp_small_is_dense_layers_over_the_flattened_input():
    model = create_model(
        "mlp_small", num_classes=36, in_channels=2, image_size=(39, 1), steps=3, hidden=[8, 5]
    )
    weights = 78 * 8 + 8 * 5 + 5 * 36 + 36
    norms = 2 * (8 + 5)
    assert sum(p.numel() for p in model.parameters()) == weights + norms
    assert model(torch.rand(3, 4, 2, 39, 1)).shape == (3, 4, 36)
    with pytest.raises(InputError, match="hidden must be"):
        create_model("mlp_small", hidden=[0])

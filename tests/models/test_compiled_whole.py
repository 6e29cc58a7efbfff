"""Inside the user's own `torch.compile`, every network is one graph, for batches of any size."""

import pytest
import torch

from a2sg.models import create_model
from transformer_networks import TINY

QUICK = {
    "mlp_small": {"image_size": 8, "hidden": [6]},
    "vgg_small": {"image_size": 8, "width": 0.125},
    "fcn_small": {"image_size": 8},
    "resnet19": {"image_size": 8, "width": 1 / 32},
    "ms_resnet18": {"image_size": 8, "width": 1 / 32},
    "spikformer_4_384": TINY["spikformer_4_384"],
}
SLOW = {
    "resnet20": {"image_size": 8, "width": 1 / 32},
    "sew_resnet18": {"image_size": 8, "width": 1 / 32},
    **{name: TINY[name] for name in ("qkformer_4_384", "espikeformer_t", "espikeformer_t_fpn")},
}


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_it_is_one_graph_for_batches_of_any_size(name):
    options = {"num_classes": 3, "in_channels": 2, "steps": 2, **{**QUICK, **SLOW}[name]}
    size = options["image_size"]
    torch.manual_seed(0)
    model = create_model(name, **options)
    torch._dynamo.reset()
    whole = torch.compile(model, backend="eager", fullgraph=True)
    for batch in (2, 3, 5):  # from the second on, the size is a symbol
        images = torch.randn(batch, 2, size, size)
        torch.testing.assert_close(whole(images), model(images))

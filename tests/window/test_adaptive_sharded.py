"""Parameters in shards (FSDP2), the whole model compiled: two ranks find and learn what one process does."""

import pytest
import torch
from torch import nn

import a2sg
from ranks import needs_distributed, run_ranks

pytestmark = [needs_distributed, pytest.mark.slow]

T, SIZE, SHARES = 4, 8, (5, 3)


def network():
    torch.manual_seed(0)
    options = {"num_classes": 4, "steps": T, "in_channels": 1, "image_size": 8, "norm": "sync"}
    return a2sg.create_model("mlp_small", hidden=(16, 12), **options).double()


def batch(seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(SIZE, 1, 8, 8, dtype=torch.float64, generator=generator)
    return images, torch.randint(4, (SIZE,), generator=generator)


def trained(wrap, samples, scale):
    """Windows, their history and all weights after three steps, all of them observed."""
    net = network()
    windows = a2sg.AdaptiveWindows(net, every=1, start=0)
    windows.reduction = "sum"
    run = wrap(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for seed in range(3):
        images, labels = batch(seed)
        optimizer.zero_grad()
        logits = run(images[samples]).mean(0)
        loss = nn.functional.cross_entropy(logits, labels[samples], reduction="sum") / SIZE
        loss.backward()
        for parameter in net.parameters():
            parameter.grad.mul_(scale)  # FSDP takes the mean over ranks, and each has its part of the sum
        optimizer.step()
        windows.step()
    weights = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in net.parameters()]
    return windows.history, [weight.detach() for weight in weights]


def sharded(net):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (len(SHARES),))
    for module in net.modules():
        if isinstance(module, a2sg.models.SpikingLayer):
            fully_shard(module, mesh=mesh)
    return fully_shard(net, mesh=mesh)


def work(rank):
    samples = slice(0, SHARES[0]) if rank == 0 else slice(SHARES[0], SIZE)
    return {
        "sharded": trained(sharded, samples, len(SHARES)),
        "sharded and compiled": trained(lambda net: torch.compile(sharded(net)), samples, len(SHARES)),
    }


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return run_ranks(work, tmp_path_factory.mktemp("ranks"), len(SHARES))


@pytest.mark.parametrize("how", ["sharded", "sharded and compiled"])
def test_two_ranks_train_as_one(ranks, how):
    history, weights = trained(lambda net: net, slice(0, SIZE), 1)
    assert sum(row["window"] != row["window_before"] for row in history) > 5
    for found in ranks:
        mine, shards = found[how]
        assert [row["window"] for row in mine] == [row["window"] for row in history]
        torch.testing.assert_close(shards, weights, rtol=1e-6, atol=1e-9)
    assert ranks[0][how][0] == ranks[1][how][0]

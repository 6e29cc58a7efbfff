"""Batch norm over ranks is that of the joined batch: outputs, gradients and running statistics."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from a2sg import LIF
from a2sg.models.layers import TdBatchNorm
from a2sg.models.norms import SyncTdBatchNorm
from a2sg.ranks import add_up, idling
from ranks import needs_distributed, run_ranks

T, SIZE, CHANNELS = 3, 8, 4
SHARES = {"equal": (4, 4), "unequal": (5, 3), "one": (7, 1), "an idle rank": (8, 0)}
FORMS = {
    "fused": {},
    "with a shortcut": {"shortcut": True},
    "one current for all steps": {"shared": True},
    "apart": {"hooked": True},
}


def example(form, kind):
    torch.manual_seed(0)
    first = nn.Conv2d(2, CHANNELS, 3, padding=1).double()
    norm, neuron = kind(CHANNELS).double(), LIF(T)
    nn.init.normal_(norm.bn.weight)
    if form.get("hooked"):
        norm.register_forward_hook(lambda *_: None)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1 if form.get("shared") else T, SIZE, 2, 5, 5, dtype=torch.float64, generator=generator)
    shortcut = torch.randn(T, SIZE, CHANNELS, 5, 5, dtype=torch.float64, generator=generator)
    upstream = torch.randn(T, SIZE, CHANNELS, 5, 5, dtype=torch.float64, generator=generator)
    return first, norm, neuron, x, shortcut if form.get("shortcut") else None, upstream


def passes(form, kind, samples, weight=1.0):
    """Spikes, gradients of all parameters and running statistics, of a layer and some samples."""
    first, norm, neuron, x, shortcut, upstream = example(form, kind)
    current = first(x[:, samples].flatten(0, 1))
    size = (T, len(range(SIZE)[samples]))
    spikes = norm.fire(current, size, neuron, None if shortcut is None else shortcut[:, samples])
    parameters = [*first.parameters(), *norm.parameters()]
    grads = torch.autograd.grad((spikes * upstream[:, samples]).sum() * weight, parameters)
    return spikes.detach(), [add_up(grad) for grad in grads], [norm.bn.running_mean, norm.bn.running_var]


def work(number):
    found = {}
    for share, (size, _) in SHARES.items():
        idle = number == 1 and size == SIZE
        own = slice(0, size) if number == 0 or idle else slice(size, SIZE)
        for name, form in FORMS.items():
            with idling() if idle else nullcontext():
                found[share, name] = passes(form, SyncTdBatchNorm, own, float(not idle))
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return run_ranks(work, tmp_path_factory.mktemp("ranks"), 2)


@needs_distributed
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", SHARES)
def test_ranks_normalise_as_one_does_the_whole_batch(ranks, share, form):
    spikes, grads, running = passes(FORMS[form], TdBatchNorm, slice(0, SIZE))
    found = [one[share, form] for one in ranks]
    counted = [one[0] for one, size in zip(found, SHARES[share], strict=True) if size]
    torch.testing.assert_close(torch.cat(counted, 1), spikes)
    for _, mine, statistics in found:
        torch.testing.assert_close(mine, grads, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(statistics, running, rtol=1e-9, atol=1e-11)


def test_alone_it_is_plain_batch_norm():
    for form in FORMS.values():
        mine, theirs = (passes(form, kind, slice(0, SIZE)) for kind in (SyncTdBatchNorm, TdBatchNorm))
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_its_parameters_have_the_names_of_plain_batch_norm():
    plain, sync = TdBatchNorm(3, threshold=0.5, alpha=2.0), SyncTdBatchNorm(3, threshold=0.5, alpha=2.0)
    sync.load_state_dict(plain.state_dict())
    assert sync.bn.weight.tolist() == [1.0, 1.0, 1.0]

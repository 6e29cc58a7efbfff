"""The bridge from variation to curvature against the matrices written out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import a2sg
from a2sg.errors import InputError
from a2sg.study.measure.bridge import bridges, dense_bridge
from networks import Net, Plan, batch


def dense(a, d):
    """λmax(F), λmax(E[(a⊗1)(a⊗1)ᵀ]) and the trace of F, from the matrices themselves."""
    grads = torch.stack([torch.outer(x, y).flatten() for x, y in zip(a, d, strict=True)])
    ones = torch.stack([torch.outer(x, torch.ones_like(y)).flatten() for x, y in zip(a, d, strict=True)])
    fisher, aligned = grads.T @ grads / len(a), ones.T @ ones / len(a)
    return (
        torch.linalg.eigvalsh(fisher)[-1].item(),
        torch.linalg.eigvalsh(aligned)[-1].item(),
        fisher.trace().item(),
    )


@given(seed=st.integers(0, 10_000), spread=st.sampled_from([0.0, 0.01, 0.3, 10.0]), samples=st.integers(1, 7))
def test_both_sides_are_those_of_the_matrices_and_the_bound_holds(seed, spread, samples):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(samples, 4, generator=generator, dtype=torch.float64)
    d = 0.5 + spread * torch.randn(samples, 3, generator=generator, dtype=torch.float64)
    found = dense_bridge(a, d)
    top, aligned, trace = dense(a, d)
    mean = d.mean().item()
    assert found.top == pytest.approx(top, rel=1e-9)
    assert found.trace == pytest.approx(trace)
    assert found.aligned == pytest.approx(mean**2 * aligned, rel=1e-9)
    assert found.cv == pytest.approx(d.std(correction=0).item() / abs(mean), abs=1e-12)
    assert found.top <= found.bound * (1 + 1e-9)
    if spread == 0:
        assert found.top == pytest.approx(found.aligned)
        assert found.bound == pytest.approx(found.aligned)
    elif found.constant is not None and found.constant > 0:
        assert found.aligned + found.constant * mean**2 * found.cv == pytest.approx(found.top)


def test_gradients_that_cancel_have_no_constant():
    a = torch.eye(2)
    found = dense_bridge(a, torch.tensor([[1.0, -1.0], [1.0, -1.0]]))
    assert (found.mean, found.cv, found.constant, found.aligned) == (0, float("inf"), None, 0)
    assert found.top == pytest.approx(found.bound / 2)


def test_on_a_network_they_are_per_sample_gradients_of_each_step():
    net = Net(Plan(steps=3))
    x, y = batch(3, size=5)
    found = bridges(net, (x, y), lambda out, labels: nn.functional.cross_entropy(out, labels))
    assert [(one.layer, one.step) for one in found] == [
        (name, t) for name in ("linears.0", "linears.1", "out") for t in (1, 2, 3)
    ]
    # Per-sample gradients by autograd, one sample at a time; of one step by a weight for each step.
    for one in found:
        grads = []
        for at in range(5):
            outputs = []
            hook = net.get_submodule(one.layer).register_forward_hook(
                lambda _, args, out, kept=outputs: kept.append((args[0], out))
            )
            loss = nn.functional.cross_entropy(net(x[:, at : at + 1]), y[at : at + 1])
            hook.remove()
            ((inputs, output),) = outputs
            (delta,) = torch.autograd.grad(loss, output)
            grads.append(torch.outer(inputs[one.step - 1, 0], delta[one.step - 1, 0]).flatten())
        fisher = torch.stack(grads).T @ torch.stack(grads) / 5
        assert one.top == pytest.approx(torch.linalg.eigvalsh(fisher)[-1].item(), rel=1e-8)


def test_the_models_of_this_package_and_what_does_not_fit():
    model = a2sg.create_model("vgg_small", num_classes=3, in_channels=1, image_size=8, width=0.25)
    images, labels = torch.randn(6, 1, 8, 8), torch.randint(3, (6,))

    def loss(out, y):
        return nn.functional.cross_entropy(out.mean(0), y)

    model(images)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = bridges(model, (images, labels), loss)
    assert len({one.layer for one in found}) == 2
    assert all(one.samples == 6 for one in found)
    assert {one.step for one in found} == {1, 2, 3, 4}
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(InputError, match="no dense layers"):
        bridges(nn.Sequential(a2sg.LIF(1)), (images[None, :, 0], labels), loss)
    with pytest.raises(InputError, match=r"needs inputs \[B, N\]"):
        dense_bridge(torch.ones(3, 2), torch.ones(4, 2))

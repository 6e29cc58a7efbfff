"""One small network of each family on a card: as on the CPU in float64, and training in every precision."""

import copy
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

import a2sg

CLASSES, SAMPLES = 5, 6


@dataclass(frozen=True)
class Small:
    """A network and the images that it takes."""

    name: str
    size: int
    steps: int = 4
    options: dict = field(default_factory=dict)

    def __str__(self):
        return self.name

    def model(self):
        torch.manual_seed(0)
        return a2sg.create_model(
            self.name, num_classes=CLASSES, steps=self.steps, image_size=self.size, **self.options
        )

    def batch(self, outputs):
        """Images and labels, one for each pixel if `outputs` has pixels."""
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(SAMPLES, 3, self.size, self.size, generator=generator)
        shape = (SAMPLES, *outputs.shape[3:])
        return images, torch.randint(0, CLASSES, shape, generator=generator)


NARROW = {"width": 1 / 16}
THIN = {"dim": 48, "heads": 4}
FAMILIES = [
    Small("vgg_small", 8),
    Small("vgg11", 32, options=NARROW),
    Small("resnet20", 16, options=NARROW),
    Small("ms_resnet18", 32, options=NARROW),
    Small("sew_resnet18", 32, options=NARROW),
    Small("spikformer_4_384", 16, options=THIN),
    Small("qkformer_4_384", 16, options=THIN),
    Small("espikeformer_t", 32, steps=1),
    Small("fcn_small", 8),
    Small("espikeformer_t_fpn", 32, steps=1),
    Small("mlp_small", 8),
]
by_family = pytest.mark.parametrize("family", FAMILIES, ids=str)


def loss_of(model, images, labels):
    logits = model(images).float() if images.dtype != torch.float64 else model(images)
    return nn.functional.cross_entropy(logits.mean(0), labels)


@by_family
def test_logits_and_gradients_are_those_of_the_cpu(family, device):
    model = family.model().double()
    images, labels = family.batch(model(torch.randn(2, 3, family.size, family.size).double()))
    there = copy.deepcopy(model).to(device)
    outputs = []
    for net, where in ((model, "cpu"), (there, device)):
        loss = loss_of(net, images.double().to(where), labels.to(where))
        loss.backward()
        outputs.append(loss.item())
    assert outputs[1] == pytest.approx(outputs[0], rel=1e-9)
    sizes = {name: float(a.grad.abs().max()) for name, a in model.named_parameters()}
    rounding = 1e-12 * max(sizes.values())  # all that the gradient of a bias before a batch norm consists of
    for (name, a), b in zip(model.named_parameters(), there.parameters(), strict=True):
        assert float((b.grad.cpu() - a.grad).abs().max()) <= max(1e-7 * sizes[name], rounding), name
    for (name, a), b in zip(model.named_buffers(), there.buffers(), strict=True):
        torch.testing.assert_close(b.cpu(), a, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@by_family
def test_it_trains_and_its_windows_move(family, precision, device):
    dtype = getattr(torch, precision)
    model = family.model().to(device)
    images, labels = family.batch(model(torch.randn(2, 3, family.size, family.size, device=device)))
    images, labels = images.to(device), labels.to(device)
    windows = a2sg.AdaptiveWindows(model, every=2, start=0, candidates=20)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype, enabled=precision != "float32"):
            loss = loss_of(model, images, labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        windows.step()
        losses.append(loss.item())
    assert min(losses[1:]) < losses[0], "the same batch again and again"
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert {row["iteration"] for row in windows.history} == {0, 2, 4, 6}
    assert any(row["window"] != row["window_before"] for row in windows.history)

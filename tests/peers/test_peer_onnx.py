"""Networks as ONNX, run by onnxruntime: `make test-peers` fetches it."""

import logging

import pytest
import torch
from torch import nn

import a2sg
from nir_networks import network, options_of

REASON = "needs onnxscript and onnxruntime, which make test-peers fetches"
onnxruntime = pytest.importorskip("onnxruntime", reason=REASON)
pytest.importorskip("onnxscript", reason=REASON)

T = 4


def dense(neuron, **options):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), neuron(T, **options), nn.Linear(32, 3)), 3 * torch.randn(T, 50, 8)


def pictured(name):
    model = network(name, **options_of(name)).float()
    return model, torch.randn(T, 50, 2, 8, 8)


CASES = {
    "lif": lambda: dense(a2sg.LIF, decay=0.8),
    "lif, hard": lambda: dense(a2sg.LIF, reset="hard", order="scaled"),
    "if": lambda: dense(a2sg.IF),
    "plif": lambda: dense(a2sg.PLIF, threshold=0.7),
    "integer": lambda: dense(a2sg.IntegerLIF),
    "vgg": lambda: pictured("vgg_small"),
    "resnet": lambda: pictured("sew_resnet18"),
}


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_the_networks(name, tmp_path):
    logging.disable(logging.WARNING)
    model, x = CASES[name]()
    batch = torch.export.Dim("batch")
    path = tmp_path / "net.onnx"
    few = x[:, :5]
    torch.onnx.export(model.eval(), (few,), path, dynamo=True, verbose=False, dynamic_shapes=({1: batch},))
    logging.disable(logging.NOTSET)
    session = onnxruntime.InferenceSession(path)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad(), a2sg.recording(model) as records:
        expected = model(x)
    assert all(record.spikes.mean() > 0 for (record,) in records.values())
    # Rounded otherwise, a potential within rounding of the threshold may fire in one alone.
    alike = (torch.from_numpy(found) - expected).abs().amax((0, 2)) < 1e-4
    assert alike.float().mean() >= 0.98

"""`inspect`: what one batch says about a model's surrogates and windows, without training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from a2sg.study.files import as_json, made, put
from a2sg.study.inspect.findings import InspectionData
from a2sg.study.inspect.page import page
from a2sg.study.inspect.pictures import pictures
from a2sg.study.inspect.table import plain
from a2sg.study.inspect.verdict import judge, unreached
from a2sg.study.measure.diagnosis import SHAPES, diagnose
from a2sg.study.measure.gain import gains
from a2sg.study.measure.objective import Batch, Forward, Loss
from a2sg.study.measure.probe import Look, probe

REACH = 2
"""The histogram extends this many times as far as the widest window."""


def inspect(
    model: nn.Module,
    batch: Batch,
    loss: Loss,
    *,
    forward: Forward | None = None,
    widest: float = 2.0,
    candidates: int = 40,
) -> Inspection:
    """What one batch says about surrogates and windows, by layer and step, with verdicts in words.

        found = a2sg.inspect(model, (images, labels), loss=lambda out, y: cross_entropy(out.mean(0), y))
        print(found)
        found.save("report")

    A copy of the model runs forward and backward once, in the mode (`train` or `eval`) that the model is in.
    So parameters, gradients, batch norm statistics, states and the random state do not change. Neurons must
    be this package's: adapt those of another library first (`a2sg.adapt`), and reset their states.

    Args:
        model: the network.
        batch: (inputs, targets), on the model's device.
        loss: called with the model's output and the targets; gives one number.
        forward: called with the copy of the model and the inputs, if it is not `model(inputs)`: a step loop.
        widest: the widest window to look at, in the unit of the potential.
        candidates: how many windows to look at, evenly spaced up to `widest`; at least 2.

    Returns:
        Numbers and verdicts.

    Raises:
        InputError: for a model without sites or that cannot be copied, a batch or loss that does not work, or
            an option out of range.
    """
    look = Look.evenly(widest, candidates, list(SHAPES.values()), reach=REACH)
    probed = probe(model, batch, loss, forward, look)
    layers = diagnose(probed, look, list(SHAPES))
    windows = look.windows.tolist()
    verdicts = {name: [unreached()] for name in probed.unreached}
    return Inspection(
        layers={layer.name: layer for layer in layers},
        gains=gains(probed, look, list(SHAPES)),
        verdicts={**verdicts, **{layer.name: judge(layer, windows) for layer in layers}},
        windows=windows,
        edges=look.edges.tolist(),
        facts={
            "model": type(model).__name__,
            "mode": "train" if model.training else "eval",
            "loss": probed.loss,
            **made(),
        },
    )


@dataclass(frozen=True)
class Inspection(InspectionData):
    """What `a2sg.inspect` found. Printed, it is its table.

    Attributes:
        layers: numbers by layer, in the order of the forward pass.
        gains: how the gradient's norm changes from layer to layer, and over the whole depth.
        verdicts: sentences by layer, problems first; also of layers that no backward pass came to.
        windows: that were looked at, ascending.
        edges: of the histograms, on either side of the threshold, ascending.
        facts: what was inspected: model, mode, loss, date, versions; of a run, its optimizer.
    """

    def table(self, by_step: bool = False) -> str:
        """A row per layer, or per layer and step, with the verdicts below, as plain text."""
        return plain(self, by_step)

    def save(self, folder: str | Path) -> list[Path]:
        """Write `inspection.json`, `inspection.html`, and pictures if matplotlib is there, into `folder`.

        The page opens from the disk and needs nothing else. Nothing is written unless all is made.

        Returns:
            The files written.

        Raises:
            InputError: if the folder cannot be written.
        """
        images = pictures(self)
        content = {"inspection.json": as_json(self.to_dict()), "inspection.html": page(self, images).encode()}
        return put(Path(folder), content | {f"{name}.png": png for name, png in images.items()})

    def __str__(self) -> str:
        return self.table()

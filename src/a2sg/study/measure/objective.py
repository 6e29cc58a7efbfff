"""The mean loss of a network over a batch, as a function of its parameters: what has a curvature."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from a2sg.errors import require, require_count, require_gradient
from a2sg.modes import kept
from a2sg.window.site import require_module

Batch = tuple[Any, Any]
"""Inputs and targets, on the model's device."""
Loss = Callable[[Any, Any], Tensor]
"""Called with a model's output and the targets; gives one number."""
Forward = Callable[[Any, Any], Any]
"""Called with a model and the inputs of a batch, if it is not `model(inputs)`; gives what the loss takes."""


class Objective:
    """A network, a batch and a loss: what `empirical_fisher` and similar functions take.

        objective = Objective(model, (images, labels), MeanLoss())

    Batch norms are in evaluation mode: with running statistics, each sample's loss depends on that sample
    only. The parameters are those that are trained (`requires_grad`); each belongs to the layer (module) that
    holds it. The model does not change.

    Args:
        model: the network: of any library, as long as `forward` starts from rest.
        batch: (inputs, labels), on the model's device; N labels, one sample each.
        loss: called with the model's output (of this package's networks `[T, N, K]`) and the labels; gives
            their mean loss.
        forward: called with the model and inputs, if it is not `model(inputs)`: to reset states, a step loop.
        samples_dim: the dimension of `inputs` that counts samples; None takes the one that has N entries.
        training: whether the model is in training mode instead, batch norms with the statistics of the batch:
            samples are then not independent, and `empirical_fisher` and the Gram matrix refuse it.
        chunk: samples at a time, to bound memory: graphs are then built again for every product.

    Raises:
        InputError: if the batch is not such a pair, nothing is trained, or an option does not fit.
    """

    def __init__(
        self,
        model: nn.Module,
        batch: Batch,
        loss: Loss,
        forward: Forward | None = None,
        *,
        samples_dim: int | None = None,
        training: bool = False,
        chunk: int | None = None,
    ) -> None:
        require_module(model)
        pair = isinstance(batch, tuple | list) and len(batch) == 2
        tensors = pair and all(isinstance(part, Tensor) and part.dim() > 0 for part in batch)
        require(tensors, "batch must be a pair of tensors (inputs, labels)")
        self.model, self.loss, self.forward = model, loss, forward
        self.inputs, self.labels = (part.detach() for part in batch)
        require(len(self.labels) > 0, "the batch is empty")
        self.samples_dim = _samples_dim(self.inputs, len(self.labels), samples_dim)
        self.training = training
        self.chunk = len(self) if chunk is None else require_count("chunk", chunk)
        whole = not training or self.chunk >= len(self)
        require(whole, "training=True takes statistics over the whole batch: leave chunk at None")
        trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
        self.names, self.parameters = list(trained), list(trained.values())
        layers = by_module(self.names)
        self.layers = {layer: [self.names.index(name) for name in held] for layer, held in layers.items()}
        self.groups = [_transposed_groups(model, name) for name in self.names]
        """Of the transposed convolution that a parameter is the weight of; else 0."""
        require(bool(self.parameters), "the model has no trainable parameters")

    def __len__(self) -> int:
        """The number of samples N."""
        return len(self.labels)

    def subset(self, samples: Sequence[int] | Tensor) -> Objective:
        """The same network and loss on some of the samples."""
        index = torch.as_tensor(samples, device=self.labels.device)
        picked = self.inputs.index_select(self.samples_dim, index.to(self.inputs.device))
        chunk = None if self.chunk >= len(self) else self.chunk
        options: dict[str, Any] = {"training": self.training, "chunk": chunk, "samples_dim": self.samples_dim}
        return Objective(self.model, (picked, self.labels[index]), self.loss, self.forward, **options)

    @contextmanager
    def ready(self, parameters: bool = False) -> Iterator[None]:
        """The model in the mode to be measured, gradients on; restored afterwards.

        Args:
            parameters: whether to restore the parameters as well.
        """
        with kept(self.model, parameters), torch.enable_grad():
            self.model.train(self.training)
            yield

    def chunks(self) -> list[range]:
        """The samples, in chunks."""
        return [range(at, min(at + self.chunk, len(self))) for at in range(0, len(self), self.chunk)]

    def share(self, samples: range) -> float:
        """The weight of the mean loss of consecutive samples in that of all.

        Their share of the samples; a loss of this package says what ignored labels and class weights change.
        """
        counted = getattr(self.loss, "counted", len)
        total = float(counted(self.labels))
        return float(counted(self.labels[samples.start : samples.stop])) / total if total else 0.0

    def output(self, samples: range) -> Tensor:
        """The network's output for consecutive samples."""
        inputs = self.inputs.narrow(self.samples_dim, samples.start, len(samples))
        return self.model(inputs) if self.forward is None else self.forward(self.model, inputs)

    def of_output(self, output: Tensor, samples: range) -> Tensor:
        """The mean loss of consecutive samples, from their output.

        Raises:
            InputError: if the loss is not one number.
        """
        return one_number(self.loss(output, self.labels[samples.start : samples.stop]))

    def gradient_of(self, value: Tensor) -> list[Tensor]:
        """The gradient of a loss for every parameter; 0 for those on which it does not depend.

        Raises:
            InputError: if it is not finite.
        """
        require(bool(value.isfinite()), f"the loss is {value.item()}: check the batch and the weights")
        require_gradient(value)
        return list(torch.autograd.grad(value, self.parameters, allow_unused=True, materialize_grads=True))

    def value_and_gradient(self) -> tuple[float, list[Tensor]]:
        """The mean loss and its (surrogate) gradient; inside `ready`."""
        total, gradient = 0.0, [torch.zeros_like(parameter) for parameter in self.parameters]
        for samples in self.chunks():
            share = self.share(samples)
            value = self.of_output(self.output(samples), samples)
            for held, part in zip(gradient, self.gradient_of(value), strict=True):
                held.add_(part, alpha=share)
            total += share * value.item()
        return total, gradient

    @torch.no_grad()
    def value(self) -> float:
        """The mean loss; inside `ready`."""
        return sum(
            self.share(part) * self.of_output(self.output(part), part).item() for part in self.chunks()
        )

    def blocks(self, layers: Sequence[str] | None) -> dict[str, list[int]]:
        """The parameters of each of the layers; None stands for all layers.

        Raises:
            InputError: for a layer that does not exist.
        """
        if layers is None:
            return self.layers
        for layer in layers:
            there = f"there are {', '.join(self.layers)}"
            require(layer in self.layers, f"no layer {layer!r} holds trained parameters: {there}")
        return {layer: self.layers[layer] for layer in layers}


def by_module(names: Iterable[str]) -> dict[str, list[str]]:
    """Names of parameters by the name of the module that holds them."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.rpartition(".")[0], []).append(name)
    return found


def _transposed_groups(model: nn.Module, name: str) -> int:
    layer, _, own = name.rpartition(".")
    module = model.get_submodule(layer)
    if own == "weight" and isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return module.groups
    return 0


def one_number(loss: Any) -> Tensor:
    """A loss as a number without dimensions.

    Raises:
        InputError: if it is not one number.
    """
    shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
    require(isinstance(loss, Tensor) and loss.numel() == 1, f"the loss must be one number, not {shape}")
    return loss.reshape(())


def _samples_dim(inputs: Tensor, count: int, given: int | None) -> int:
    shape = tuple(inputs.shape)
    if given is not None:
        fits = 0 <= given < len(shape) and shape[given] == count
        require(fits, f"samples_dim={given} does not fit inputs {shape} with {count} labels")
        return given
    usual = {4: 0, 5: 1}.get(inputs.dim())  # images, and recordings with time first
    if usual is not None and shape[usual] == count:
        return usual
    fitting = [dim for dim in (0, 1) if shape[dim : dim + 1] == (count,)]
    require(
        len(fitting) == 1,
        f"inputs {shape} and {count} labels: samples must be counted by the first or second dimension"
        + (", and here it could be either: say samples_dim" if fitting else ""),
    )
    return fitting[0]

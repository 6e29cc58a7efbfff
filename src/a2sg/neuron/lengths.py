"""Sequences of different lengths in a batch: padded at the end, and ignored beyond it.

A causal network gives the same outputs up to the end of a sequence, whatever comes after. If the read-out
ignores what comes after, gradients there are exactly 0, and so are their sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import default_collate

from a2sg.errors import require


def pad(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """A batch `[T, B, ...]` of B sequences `[T_b, ...]`, zeros after their ends; and their lengths `[B]`.

    T is the largest T_b.

    Raises:
        InputError: for no sequences, or sequences that differ in more than their length.
    """
    require(len(sequences) > 0, "pad needs at least one sequence, but got none")
    shapes = sorted({tuple(sequence.shape[1:]) for sequence in sequences if sequence.dim() > 0})
    require(
        len(shapes) == 1 and all(len(sequence) > 0 for sequence in sequences if sequence.dim() > 0),
        f"sequences must be [T, ...], T at least 1, and differ only in T, not have steps of shapes {shapes}",
    )
    lengths = torch.tensor([len(sequence) for sequence in sequences], device=sequences[0].device)
    return pad_sequence(list(sequences)), lengths


def pad_batch(samples: Sequence[tuple[Tensor, Any]]) -> tuple[Tensor, Any, Tensor]:
    """Samples `(sequence [T_b, ...], label)` as `(x [T, B, ...], labels, lengths [B])`.

    Pass it to a loader as `collate_fn`.

    Raises:
        InputError: as for `pad`.
    """
    sequences, labels = zip(*samples, strict=True)
    x, lengths = pad(sequences)
    return x, default_collate(list(labels)), lengths


def within(lengths: Tensor, steps: int) -> Tensor:
    """Whether each of T steps is before a sequence's end: bool `[T, B]`.

    Args:
        lengths: `[B]`, whole numbers.
        steps: T.
    """
    return torch.arange(steps, device=lengths.device)[:, None] < lengths


def mean_over_steps(outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The mean of outputs `[T, B, ...]` over the steps of each sequence, `[B, ...]`.

    Args:
        outputs: floating point.
        lengths: of the sequences `[B]`, from 1 to T; None: all are T.

    Raises:
        InputError: for lengths that are not `[B]`.
    """
    if lengths is None:
        return outputs.mean(0)
    require_lengths(lengths, outputs)
    shape = (*outputs.shape[:2], *(1,) * (outputs.dim() - 2))
    there = within(lengths, len(outputs)).view(shape)
    # A selection, not a product: a network may give anything after the end, even NaN.
    return torch.where(there, outputs, 0).sum(0) / lengths.to(outputs.dtype).view(shape[1:])


def last_of(outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Outputs `[T, B, ...]` at each sequence's last step, `[B, ...]`; lengths as for `mean_over_steps`."""
    if lengths is None:
        return outputs[-1]
    require_lengths(lengths, outputs)
    return outputs[lengths - 1, torch.arange(len(lengths), device=lengths.device)]


def require_lengths(lengths: Tensor, outputs: Tensor) -> None:
    """Raise `InputError` unless lengths are whole numbers `[B]` for outputs `[T, B, ...]`.

    On a CPU it also checks that they are from 1 to T; on a GPU reading them would stall its stream.
    """
    require(
        lengths.shape == outputs.shape[1:2] and not lengths.is_floating_point(),
        f"lengths must be whole numbers [B], one for each of {outputs.shape[1]} sequences, not "
        f"{lengths.dtype} of shape {tuple(lengths.shape)}",
    )
    if lengths.device.type == "cpu" and not torch.compiler.is_compiling() and lengths.numel():
        low, high = int(lengths.min()), int(lengths.max())
        require(
            low >= 1 and high <= len(outputs),
            f"lengths must be from 1 to T={len(outputs)}, not {low} to {high}",
        )

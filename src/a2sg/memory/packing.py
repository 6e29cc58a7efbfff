"""`pack_spikes`: spikes that autograd saves for the backward pass, packed.

Autograd saves the input of every convolution and dense layer for its weight gradient. In a spiking
network most of these are spikes, of which a float holds one bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from a2sg.errors import require_count
from a2sg.kernels import made
from a2sg.memory.codes import BITS, BYTES, FORMATS, PER_UNIT, Code

SAMPLE = 32
"""Size of the sample that is checked before all elements are."""


def pack_spikes(*, least: int = 1 << 14, search: bool = True) -> Packing:
    """A context in which spikes that autograd saves for the backward pass are packed.

        with a2sg.memory.pack_spikes():
            loss = criterion(model(images), labels)
        loss.backward()

    Only the forward pass has to be inside. Tensors of zeros and ones are saved as one bit per element;
    tensors of multiples of 1/16 below 16 (average-pooled spikes, integer spikes) as one byte; all others are
    saved unchanged. The backward pass gets the same values to the bit, strides included, so gradients do not
    change.

    The output of a neuron of this package is known to be spikes. Any other tensor is recognised by its
    values, wherever it comes from: a sample of them rules out most tensors, and then every element is checked
    while it is packed. What several layers save is packed once.

    A packed tensor is a copy, so you may change the original in place afterwards. For tensors that are saved
    unchanged, this raises autograd's usual error in the backward pass. As always, autograd does not see
    changes made behind its back (`.data`, numpy).

    Of nested contexts of this kind torch uses only the innermost, so `save_on_cpu` inside replaces this one.
    With activation checkpointing, what the checkpoint itself saves is packed. What a model compiled by
    `torch.compile` saves is packed too; enter the context outside the compiled function. On a GPU, looking at
    values makes the host wait for the device, which a captured CUDA graph cannot contain; with `search=False`
    it does not wait.

    Args:
        least: number of elements from which a tensor is packed.
        search: whether values are looked at. If not, only what is known to be spikes is packed, and
            neither pooled spikes, nor integer ones, nor copies in another memory format.

    Returns:
        The context manager, which may be entered again and again. Its `dense` and `packed` count
        the bytes of what it packed, before and after.

    Raises:
        InputError: if `least` is not a whole number of at least 1.
    """
    return Packing(require_count("least", least), search)


class Packing:
    """What `pack_spikes` returns: a context manager that counts.

    Attributes:
        dense: bytes of all that was packed so far; what several layers share counts once.
        packed: the bytes they were packed into.
    """

    def __init__(self, least: int, search: bool = True) -> None:
        self.least = least
        self.search = search
        self.dense = 0
        self.packed = 0
        self._spans: WeakValueDictionary[tuple[Any, ...], _Span] = WeakValueDictionary()
        self._made: dict[int, _Made] = {}
        self._hooks = saved_tensors_hooks(self.pack, self.unpack)

    def __enter__(self) -> Packing:
        self._hooks.__enter__()
        made.listeners.append(self._note)
        return self

    def __exit__(self, *error: object) -> None:
        made.listeners.remove(self._note)
        self._made = {}
        self._hooks.__exit__(*error)

    def _note(self, spikes: Tensor) -> None:
        """A neuron has made these spikes."""
        whole = spikes.untyped_storage()
        if whole.nbytes() == spikes.nbytes:  # so every view of it is spikes as well
            storage = StorageWeakRef(whole)
            self._made[storage.cdata] = _Made(spikes.dtype, spikes._version, storage)

    def pack(self, saved: Tensor) -> _View | _Kept:
        """The hook that autograd calls with each tensor it saves."""
        # Detached, since keeping the output itself would create a reference cycle.
        tensor = saved.detach()
        span = self._span(tensor) if self._is_candidate(saved) else None
        if span is None:
            return _Kept(tensor, tensor._version)
        return _View(span, tuple(tensor.shape), tensor.stride())

    @staticmethod
    def unpack(packed: _View | _Kept) -> Tensor:
        """The hook that autograd calls in the backward pass."""
        return packed.dense()

    def _is_candidate(self, tensor: Tensor) -> bool:
        """Whether a tensor may be packed: large, float, not a parameter, and only its memory matters."""
        return (
            tensor.numel() >= self.least
            and type(tensor) is Tensor
            and tensor.dtype in FORMATS
            and tensor.layout == torch.strided
            and not tensor.is_neg()
        )

    def _span(self, tensor: Tensor) -> _Span | None:
        """The memory from the first to the last element, packed if possible."""
        ends = ((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        length = 1 + sum(ends)
        if length > 2 * tensor.numel():  # mostly another tensor's elements
            return None
        storage = StorageWeakRef(tensor.untyped_storage())
        # Views of one storage, such as [T, B, ...] and [T * B, ...], share one packed stretch.
        key = (storage.cdata, tensor._version, tensor.dtype, tensor.storage_offset(), length)
        span = self._spans.get(key)
        if span is None:
            flat = tensor.as_strided((length,), (1,))
            about = self._made.get(storage.cdata)
            if about is not None and (about.dtype, about.version) == (tensor.dtype, tensor._version):
                found = _encode_known(flat)
            else:
                found = _encode(flat) if self.search else None
            if found is None:
                return None
            span = self._spans[key] = _Span(*found, tensor.dtype, storage)
            self.dense += length * tensor.element_size()
            self.packed += span.data.nbytes
        return span


@dataclass(frozen=True)
class _Made:
    """A storage that a neuron filled with spikes; valid while its version is this one."""

    dtype: torch.dtype
    version: int
    storage: StorageWeakRef


@dataclass(frozen=True)
class _Span:
    """A stretch of a storage, packed."""

    code: Code
    data: Tensor
    dtype: torch.dtype
    storage: StorageWeakRef
    """A reference that keeps no memory, but keeps the storage's address, its key, from being reused."""


@dataclass(frozen=True)
class _View:
    """A saved tensor in a packed stretch."""

    span: _Span
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def dense(self) -> Tensor:
        span = self.span
        return span.code.decode(span.data, span.dtype).as_strided(self.shape, self.stride)


@dataclass(frozen=True)
class _Kept:
    """A tensor saved unchanged. Hooks switch off autograd's check of its version, so it is done here."""

    tensor: Tensor
    version: int

    def dense(self) -> Tensor:
        now = self.tensor._version
        if now != self.version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace "
                f"operation: a {self.tensor.dtype} of shape {list(self.tensor.shape)} is at version {now}, "
                f"not {self.version}"
            )
        return self.tensor


def _encode_known(flat: Tensor) -> tuple[Code, Tensor] | None:
    data = BITS.encode(flat, known=True)
    return None if data is None else (BITS, data)


def _encode(flat: Tensor) -> tuple[Code, Tensor] | None:
    sample = flat[:: max(1, len(flat) // SAMPLE)].tolist()
    if not all((value * PER_UNIT).is_integer() for value in sample):
        return None
    for code in (BITS, BYTES):
        data = code.encode(flat)
        if data is not None:
            return code, data
    return None

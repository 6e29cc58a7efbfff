"""How much the neurons of a model have computed so far, which decides when compiling them pays off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch

from a2sg.kernels.dynamics import Dynamics


class Work:
    """Elements times steps that neurons have computed, by kind of neuron.

    The neurons of a model share one counter, since neurons of a kind share their kernels. Compiled gradients
    differ from the reference's by rounding. So a run is reproducible to the bit only if its neurons start to
    compile in the same iteration, even after it was resumed: a checkpoint holds `state_dict`.

    Attributes:
        loaded: how often a state was loaded; after that, backends are chosen again.
    """

    def __init__(self) -> None:
        self._done: Counter[tuple[Dynamics, int, torch.dtype]] = Counter()
        self._earlier: dict[str, int] = {}
        self.loaded = 0

    def add(self, dynamics: Dynamics, steps: int, dtype: torch.dtype, elements: int) -> int:
        """Add a pass over `elements` elements times steps; returns how many this kind has done so far."""
        kind = (dynamics, steps, dtype)
        if kind not in self._done:
            self._done[kind] = self._earlier.get(repr(kind), 0)
        self._done[kind] += elements
        return self._done[kind]

    def state_dict(self) -> dict[str, int]:
        """Plain data for a checkpoint."""
        return self._earlier | {repr(kind): done for kind, done in self._done.items()}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue from `state`; {} is a fresh start."""
        self._done.clear()
        self._earlier = dict(state)
        self.loaded += 1

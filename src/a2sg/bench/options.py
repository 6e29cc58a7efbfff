"""The options of a bench."""

from __future__ import annotations

from dataclasses import dataclass

DECAY = 0.5
"""The leak of every neuron: a power of two, so that all libraries round alike and spikes compare exactly."""
THRESHOLD = 1.0
IMAGE = 32
"""Height and width of the images (CIFAR)."""
CLASSES = 10


@dataclass(frozen=True)
class Options:
    """One run of the benches.

    Attributes:
        device: `"cpu"` or `"cuda"`.
        peers: other libraries to measure too, as `a2sg.bench.peers` names them.
        rounds: interleaved rounds; the tables show medians.
        sample: minimum duration of one sample in seconds (a quick call is repeated).
        steps: T.
        reset: `"soft"` or `"hard"`, for every library.
        backends: of a2sg's neurons, for the LIF layer alone; networks use the fastest.
        elements: of a LIF layer at one step.
        dtype: of the LIF layer's input, `"float32"` or `"bfloat16"`.
        search_elements: of the layer and step that is searched.
        candidates: windows looked at.
        network: a name of `a2sg.bench.networks.NETWORKS`.
        width: factor on its channels.
        batch: images per step.
        ways: of training it, names of `a2sg.bench.train.WAYS`.
        memory_steps: each T whose memory is measured.
        precision: of networks: `"32"`, or `"bf16"` by automatic mixed precision.
    """

    device: str
    peers: tuple[str, ...]
    rounds: int
    sample: float
    steps: int
    reset: str
    backends: tuple[str, ...]
    elements: tuple[int, ...]
    dtype: str
    search_elements: tuple[int, ...]
    candidates: int
    network: str
    width: float
    batch: int
    ways: tuple[str, ...]
    memory_steps: tuple[int, ...]
    precision: str = "32"

"""A run, described: the typed fields of a recipe. One YAML holds all that is needed to repeat a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from a2sg.devices import Device
from a2sg.training.arguments import with_arguments_of
from a2sg.training.graphs import Graphs
from a2sg.window import AdaptiveWindows

__all__ = [
    "AugmentConfig",
    "DataConfig",
    "Group",
    "LossConfig",
    "ModelConfig",
    "NeuronConfig",
    "OptimizerConfig",
    "RunConfig",
    "SurrogateConfig",
    "WindowsConfig",
]


class Group:
    """Fields that are read strictly: a name that is not among them is an error. `fields.py` reads them."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}


@dataclass
class ModelConfig(Group):
    """Which network."""

    name: str = "vgg_small"
    """A name of `a2sg list models`."""
    steps: int = 4
    """T, the time steps."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further options of the network's entry function."""
    weights: str | None = None
    """A run folder to start from: its weights of the same name and shape, such as those of a backbone."""


@dataclass
class NeuronConfig(Group):
    """Which neuron, everywhere in the network."""

    name: str = "lif"
    """lif, if, plif or integer_lif."""
    options: dict[str, Any] = field(default_factory=dict)
    """Its arguments, such as decay, threshold, reset, order, learn."""


@dataclass
class SurrogateConfig(Group):
    """Which surrogate shape, and its window at the start."""

    name: str = "asymmetric"
    """A name of `a2sg list surrogates`."""
    window: float = 1.0
    """Half-width at the start of training."""
    options: dict[str, Any] = field(default_factory=dict)
    """Its arguments, such as bias, floor, temperature, area."""


@dataclass
@with_arguments_of(AdaptiveWindows)
class WindowsConfig(Group):
    """How windows are adapted: the options of `a2sg.AdaptiveWindows`; with both parts off, only watched.

    Another policy takes `every`, `start`, and its own `options`; CPNG takes `low` and `high` too.
    """

    policy: str = "a2sg"
    """The rule: a2sg, cpng, or dspike, whose temperature is set instead of windows (a2sg.baselines)."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further options of another policy: share (cpng), epsilon, change, weights (dspike)."""

    def __post_init__(self) -> None:
        own: Any = self
        if own.spread is not None and own.spatial is True:
            own.spatial = True if own.spread == "sgv" else own.spread
        own.spread = None

    if TYPE_CHECKING:

        def __init__(self, **fields: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...


@dataclass
class DataConfig(Group):
    """Which data set, and how it is fed."""

    name: str = "digits"
    """A name of `a2sg list data`."""
    batch_size: int = 64
    """Samples of a mini-batch."""
    workers: int | Literal["auto"] = "auto"
    """Loader processes; auto: all cores but one for a GPU, none on a CPU. Above 0, nothing is resident."""
    resident: bool | Literal["auto"] = "auto"
    """Whether the device holds all samples, without a loader; auto: if that takes a quarter of it at most."""
    options: dict[str, Any] = field(default_factory=dict)
    """Arguments of the data set."""


@dataclass
class AugmentConfig(Group):
    """How training images are changed at random, batch by batch on the device; all off by default."""

    crop_padding: int = 0
    """Zeros on every side, before a part of the image's own size is cut out."""
    flip: bool = False
    """Whether half of the images are mirrored, left to right."""
    randaugment: int = 0
    """RandAugment's n: operations drawn for every image."""
    randaugment_share: float = 0.5
    """Share of images that each of them is done to."""
    magnitude: float = 9.0
    """RandAugment's m: how strong they are, 0 to 10."""
    magnitude_spread: float = 0.4
    """Standard deviation of that, over images."""
    erasing: float = 0.0
    """Share of images that have a rectangle erased."""
    cutout: int = 0
    """Side of a square that is erased in every image, its centre anywhere; 0 is off."""
    cutmix: float = 0.0
    """CutMix's α; 0 is off. With MixUp on too, each batch gets one of them."""
    mixup: float = 0.0
    """MixUp's α; 0 is off."""
    mix_until_epoch: int | None = None
    """CutMix and MixUp are done in this many first epochs; null is all."""
    nda: bool = False
    """For recordings of events: NDA, which flips, and rolls, rotates, shears or cuts out."""
    nda_flip: bool = True
    """Whether NDA flips; off where a mirrored recording is of another class, as a hand's side or a digit."""
    scenes: bool = False
    """For segmentation: image and mask resized by 0.5 to 2, cut out, mirrored; colours changed."""


@dataclass
class OptimizerConfig(Group):
    """AdamW or SGD, with a linear warm-up and then a decline to zero, set per iteration."""

    name: Literal["adamw", "sgd"] = "adamw"
    """The optimizer."""
    lr: float = 6e-3
    """Learning rate at the end of the warm-up."""
    head_factor: float = 1.0
    """Factor on it for the network's `head`, the layers that classify."""
    schedule: Literal["cosine", "poly", "onecycle"] = "cosine"
    """How it declines: cosine, or (1 - p) ** power, p the part after the warm-up; onecycle rises so too."""
    power: float = 1.0
    """Power of `poly`; 1 is a straight line."""
    weight_decay: float = 2e-2
    """Weight decay, on weights of two or more dimensions alone."""
    momentum: float = 0.9
    """Momentum of SGD."""
    warmup_epochs: float = 0.0
    """Epochs of linear warm-up."""
    warmup_lr: float = 1e-5
    """Learning rate at its beginning."""
    clip_norm: float | None = None
    """Largest norm of the gradient; null leaves it."""
    skips: int = 20
    """Steps in a row that may be skipped, as their loss or gradients are not finite; then it is an error."""
    average: float | None = None
    """Decay of a moving average of the weights, such as 0.999, which is tested and kept; null is none."""


@dataclass
class LossConfig(Group):
    """What is minimised."""

    name: str = "mean"
    """Cross-entropy of the mean output (mean), of the read-out potential at T (membrane), or tet's of all;
    mse and huber are for regression."""
    label_smoothing: float = 0.0
    """Label smoothing, 0 to 1."""
    options: dict[str, Any] = field(default_factory=dict)
    """Arguments of the loss, such as weight (tet), or class_weights: a factor for each class, or balanced."""
    regularizers: dict[str, float] = field(default_factory=dict)
    """Added terms and their weights: im (paper of IM loss: 1e-3), rmp (RMP loss: 5e-4)."""


@dataclass
class RunConfig(Group):
    """Everything a run needs."""

    recipe: str = "digits"
    """Where it comes from."""
    arm: str = ""
    """The arm of a comparison, if it is one."""
    seed: int = 0
    """Seed of weights, data order and augmentation."""
    device: Device = "auto"
    """Where to run."""
    precision: Literal["32", "bf16", "16"] = "32"
    """Numbers in the network: float32, or automatic mixed precision. Potentials stay float32."""
    graphs: Graphs = "auto"
    """CUDA graphs, which spare the host most of a step: on, off, or auto, where they can be."""
    memory: Literal["plain", "packed"] = "plain"
    """What is kept for the backward pass: spikes as floats (plain), or as bits where they can be (packed)."""
    epochs: int = 30
    """Passes over the training data."""
    accumulate: int = 1
    """Micro-batches per optimizer step."""
    save_every: int | str | None = None
    """Also save within an epoch: every so many optimizer steps (500), or so much time (90s, 10m, 2h)."""
    keep_every: int | None = None
    """Keep the weights after every so many epochs, for `a2sg analyze`; null keeps those of the last alone."""
    model: ModelConfig = field(default_factory=ModelConfig)
    neuron: NeuronConfig = field(default_factory=NeuronConfig)
    surrogate: SurrogateConfig = field(default_factory=SurrogateConfig)
    windows: WindowsConfig = field(default_factory=WindowsConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)

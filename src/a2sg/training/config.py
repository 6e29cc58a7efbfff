"""The typed fields of a recipe. One YAML file has everything that is needed to repeat a run."""

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
    """Fields that are read strictly: an unknown name is an error. `fields.py` reads them."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}


@dataclass
class ModelConfig(Group):
    """The network."""

    name: str = "vgg_small"
    """A name of `a2sg list models`."""
    steps: int = 4
    """T, the number of time steps."""
    options: dict[str, Any] = field(default_factory=dict)
    """The network's own options."""
    weights: str | None = None
    """A run folder to start from: weights with the same name and shape, such as a backbone's, are loaded."""


@dataclass
class NeuronConfig(Group):
    """The neuron, the same in the whole network."""

    name: str = "lif"
    """lif, if, plif or integer_lif."""
    options: dict[str, Any] = field(default_factory=dict)
    """Its arguments, such as decay, threshold, reset, order, learn."""


@dataclass
class SurrogateConfig(Group):
    """The shape of the surrogate, and its initial window."""

    name: str = "asymmetric"
    """A name of `a2sg list surrogates`."""
    window: float = 1.0
    """Initial half-width."""
    options: dict[str, Any] = field(default_factory=dict)
    """Its arguments, such as bias, floor, temperature, area."""


@dataclass
@with_arguments_of(AdaptiveWindows)
class WindowsConfig(Group):
    """How windows are adapted: the options of `a2sg.AdaptiveWindows`.

    With spatial and temporal off, windows are observed but not changed. Other policies take `every`, `start`,
    and their own `options`; CPNG also takes `low` and `high`.
    """

    policy: str = "a2sg"
    """a2sg, cpng, or dspike, which sets the temperature instead of windows (a2sg.baselines)."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the other policies: share (cpng); epsilon, change, weights (dspike)."""

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
    """The data set, and how it is fed to the network."""

    name: str = "digits"
    """A name of `a2sg list data`."""
    batch_size: int = 64
    """Samples per mini-batch."""
    workers: int | Literal["auto"] = "auto"
    """Loader processes; auto: all cores but one for a GPU, none on a CPU. With any, no data are resident."""
    resident: bool | Literal["auto"] = "auto"
    """Whether the device holds all samples, without a loader; auto: if a quarter of its memory suffices."""
    options: dict[str, Any] = field(default_factory=dict)
    """Arguments of the data set."""


@dataclass
class AugmentConfig(Group):
    """Random changes to training images, made per batch on the device; all are off by default."""

    crop_padding: int = 0
    """Zeros added on every side before a random crop of the original size."""
    flip: bool = False
    """Whether half of the images are mirrored left to right."""
    randaugment: int = 0
    """RandAugment's n: number of operations drawn for each image."""
    randaugment_share: float = 0.5
    """Share of images to which each operation is applied."""
    magnitude: float = 9.0
    """RandAugment's m: strength of the operations, 0 to 10."""
    magnitude_spread: float = 0.4
    """Standard deviation of the strength between images."""
    erasing: float = 0.0
    """Share of images in which a rectangle is erased."""
    cutout: int = 0
    """Side of a square that is erased at a random place in every image; 0 turns it off."""
    cutmix: float = 0.0
    """CutMix's α; 0 turns it off. If MixUp is on too, each batch gets one of the two."""
    mixup: float = 0.0
    """MixUp's α; 0 turns it off."""
    mix_until_epoch: int | None = None
    """Number of epochs, from the first, in which CutMix and MixUp are used; null: all."""
    nda: bool = False
    """For event recordings: NDA, which mirrors, then rolls, rotates, shears or cuts out."""
    nda_flip: bool = True
    """Whether NDA mirrors; turn it off if a mirrored recording has another class, such as a digit."""
    scenes: bool = False
    """For segmentation: image and mask are scaled by 0.5 to 2, cropped and mirrored; colours are changed."""


@dataclass
class OptimizerConfig(Group):
    """AdamW or SGD. The learning rate warms up linearly, then falls to 0; it is set in every iteration."""

    name: Literal["adamw", "sgd"] = "adamw"
    """The optimizer."""
    lr: float = 6e-3
    """Learning rate at the end of the warm-up."""
    head_factor: float = 1.0
    """Factor on the learning rate of the network's `head`, the layers that classify."""
    schedule: Literal["cosine", "poly", "onecycle"] = "cosine"
    """How the learning rate falls after the warm-up, with progress p: cosine; poly, (1 - p) ** power; or
    onecycle, which rises and falls along cosines."""
    power: float = 1.0
    """Exponent of `poly`; 1 is a straight line."""
    weight_decay: float = 2e-2
    """Weight decay, only on parameters with two or more dimensions."""
    momentum: float = 0.9
    """Momentum of SGD."""
    warmup_epochs: float = 0.0
    """Epochs of linear warm-up."""
    warmup_lr: float = 1e-5
    """Learning rate at the start of the warm-up."""
    clip_norm: float | None = None
    """Gradients are clipped to this norm; null: not clipped."""
    skips: int = 20
    """Consecutive steps that may be skipped because loss or gradients are not finite; more is an error."""
    average: float | None = None
    """Decay of a moving average of the weights, such as 0.999; the average is tested and kept. null: none."""


@dataclass
class LossConfig(Group):
    """The loss."""

    name: str = "mean"
    """Cross-entropy of the mean output (mean), of the readout potential at T (membrane), or of every step
    (tet); for regression mse or huber."""
    label_smoothing: float = 0.0
    """Label smoothing, 0 to 1."""
    options: dict[str, Any] = field(default_factory=dict)
    """Arguments of the loss, such as weight (tet), or class_weights: one per class, or balanced."""
    regularizers: dict[str, float] = field(default_factory=dict)
    """Additional terms and their weights: im (in its paper 1e-3), rmp (in its paper 5e-4)."""


@dataclass
class RunConfig(Group):
    """Everything that a run needs."""

    recipe: str = "digits"
    """Name of the recipe."""
    arm: str = ""
    """The arm, if the run is part of a comparison."""
    seed: int = 0
    """Seed of weights, data order and augmentation."""
    device: Device = "auto"
    """The device to run on."""
    precision: Literal["32", "bf16", "16"] = "32"
    """float32, or automatic mixed precision (bf16, 16). Potentials are float32 in any case."""
    graphs: Graphs = "auto"
    """CUDA graphs, which save the host most of its work: on, off, or auto (where possible)."""
    memory: Literal["plain", "packed"] = "plain"
    """How spikes are saved for the backward pass: as floats (plain), or where possible as bits (packed)."""
    epochs: int = 30
    """Passes over the training data."""
    accumulate: int = 1
    """Micro-batches per optimizer step."""
    save_every: int | str | None = None
    """Also save within an epoch, after this many optimizer steps (500) or this much time (90s, 10m, 2h)."""
    keep_every: int | None = None
    """Keep the weights of every Nth epoch, for `a2sg analyze`; null: only those of the last epoch."""
    model: ModelConfig = field(default_factory=ModelConfig)
    neuron: NeuronConfig = field(default_factory=NeuronConfig)
    surrogate: SurrogateConfig = field(default_factory=SurrogateConfig)
    windows: WindowsConfig = field(default_factory=WindowsConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)

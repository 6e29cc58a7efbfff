"""Arms of a comparison: named ways to set the surrogate and its windows, with options after colons."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from torch import nn

from a2sg.errors import InputError, require, require_choice, require_positive
from a2sg.neuron import LIF
from a2sg.registry import require_known
from a2sg.surrogate import SURROGATES, create_surrogate
from a2sg.training.config import RunConfig, SurrogateConfig, WindowsConfig
from a2sg.training.fields import fit, from_word, kinds
from a2sg.training.policies import create_policy, fields_of, options_of
from a2sg.training.regularizers import REGULARIZERS, IMLoss, RMPLoss, create_regularizers


@dataclass(frozen=True)
class Preset:
    """The settings that a named arm stands for."""

    shape: str
    window: float
    adapt: str
    text: str
    options: dict[str, Any] = field(default_factory=dict)
    """Of the shape."""
    windows: dict[str, Any] = field(default_factory=dict)
    """Fields of `WindowsConfig`."""
    regularizers: dict[str, float] = field(default_factory=dict)
    """Terms of the loss and their weights."""


PRESETS = {
    "fixed": Preset("boxcar", 0.5, "none", "boxcar, fixed window 0.5: the usual surrogate (STBP-tdBN)"),
    "asy": Preset("asymmetric", 1.0, "none", "asymmetric shape, fixed window 1.0"),
    "s-asg": Preset("triangle", 1.0, "spatial", "triangle, last step adapted (least SGV)"),
    "t-asg": Preset("triangle", 1.0, "temporal", "triangle, earlier steps adapted (largest TGC)"),
    "st-asg": Preset("triangle", 1.0, "both", "triangle, all steps adapted"),
    "a2sg": Preset("asymmetric", 1.0, "both", "asymmetric shape, all steps adapted"),
    "calibrated": Preset(
        "asymmetric",
        1.0,
        "both",
        "asymmetric shape of bias 0.8, windows up to 6 searched once, in the first iteration",
        options={"bias": 0.8},
        windows={"spatial": "std", "high": 6.0, "every": None, "start": 0},
    ),
    "dspike": Preset("dspike", 0.5, "none", "Dspike's shape, fixed window 0.5 and temperature"),
    "dspike-search": Preset(
        "dspike",
        0.5,
        "none",
        "Dspike: window 0.5, temperature searched by finite differences of the first layer",
        windows={"policy": "dspike"},
    ),
    "cpng": Preset(
        "triangle",
        1.0,
        "none",
        "CPNG: unit-area triangle, windows hold a constant share of neurons",
        options={"area": "unit"},
        windows={"policy": "cpng", "low": 0.5, "high": 2.0},
    ),
    "im": Preset(
        "boxcar", 0.5, "none", "fixed, and the IM loss added", regularizers={"im": IMLoss.published}
    ),
    "rmp": Preset(
        "boxcar", 0.5, "none", "fixed, and the RMP loss added", regularizers={"rmp": RMPLoss.published}
    ),
}
"""Named arms; every other surrogate's name is an arm too, with a fixed window of 1.0."""

ADAPT = {
    "none": {"spatial": False, "temporal": False},
    "spatial": {"spatial": True, "temporal": False},
    "temporal": {"spatial": False, "temporal": True},
    "both": {"spatial": True, "temporal": True},
}


@dataclass(frozen=True)
class Arm:
    """One way to train, as `parse_arm` reads it.

    Attributes:
        label: the name with its options in a fixed order; two equal labels are the same arm.
        shape: surrogate, a name in `SURROGATES`.
        window: half-width at the start of training.
        options: further arguments of the surrogate.
        windows: fields of `WindowsConfig` that the arm sets; `policy`, `spatial` and `temporal` always.
        regularizers: terms that the arm adds to the loss, and their weights.
    """

    label: str
    shape: str
    window: float
    options: dict[str, Any]
    windows: dict[str, Any]
    regularizers: dict[str, float]

    @property
    def adaptive(self) -> bool:
        """Whether any window or shape is adapted; else windows are only watched."""
        watches = self.windows["policy"] == "a2sg"
        return not watches or bool(self.windows["spatial"] or self.windows["temporal"])


def parse_arm(text: str) -> Arm:
    """Read an arm such as `a2sg`, `a2sg:bias=0.8`, `boxcar:window=0.7` or `st-asg:search=bayes:every=50`.

    Args:
        text: a name of `PRESETS` or `SURROGATES`, then `key=value` after colons. Keys are the shape's
            own arguments (such as bias, floor, temperature, area), `window`, `shape` (of a preset), the
            weight of a regularizer (`im`, `rmp`), and what the arm's policy takes, such as `every`; for
            A2SG's also `adapt` (none, spatial, temporal, both).

    Raises:
        InputError: for an unknown name or key (with the nearest choice), or a value that does not fit.
    """
    name, *words = text.strip().split(":")
    require_known("arm", name, [*PRESETS, *SURROGATES])
    preset = PRESETS.get(name, Preset(name, 1.0, "none", ""))
    policy = preset.windows.get("policy", "a2sg")
    given = _pairs(text, words)
    chooses_shape = name in PRESETS and "shape" in given
    shape = require_known("shape", given["shape"], SURROGATES) if chooses_shape else preset.shape
    of_shape = kinds(SURROGATES[shape])
    of_windows = {key: kind for key, kind in kinds(WindowsConfig).items() if key in fields_of(policy)}
    takes = (
        {"window": float} | dict.fromkeys(REGULARIZERS, float) | of_shape | of_windows | options_of(policy)
    )
    if policy == "a2sg":
        takes["adapt"] = str
    if name in PRESETS:
        takes["shape"] = str
    for key in given:
        require_choice(f"option of arm {name!r} (shape {shape})", key, takes)
    values = {key: _read(key, word, takes[key]) for key, word in sorted(given.items())}
    kept = preset.options if shape == preset.shape else {}
    options = {**kept, **{key: value for key, value in values.items() if key in of_shape}}
    create_surrogate(shape, **options)  # so that a value out of range is reported at once
    regularizers = {key: value for key, value in values.items() if key in REGULARIZERS}
    create_regularizers(regularizers)
    adapt = require_choice("adapt", values.get("adapt", preset.adapt), ADAPT)
    windows: dict[str, Any] = {"policy": policy, **preset.windows}
    windows |= {name: on and preset.windows.get(name, on) for name, on in ADAPT[adapt].items()}
    windows |= {key: value for key, value in values.items() if key in of_windows}
    windows["options"] = {key: value for key, value in values.items() if key in options_of(policy)}
    return Arm(
        label=":".join([name, *(f"{key}={_write(value)}" for key, value in values.items())]),
        shape=shape,
        window=require_positive("window", values.get("window", preset.window)),
        options=options,
        windows=windows,
        regularizers={**preset.regularizers, **regularizers},
    )


def apply_arm(config: RunConfig, arm: Arm) -> RunConfig:
    """A copy of `config` with the settings of the arm; everything else stays as it is in `config`.

    If the arm has the same shape or policy as `config`, its options in `config` (such as bias) are kept.

    Raises:
        InputError: if the arm's options do not fit those of `config`.
    """
    result = deepcopy(config)
    result.arm = arm.label
    kept = result.surrogate.options if result.surrogate.name == arm.shape else {}
    result.surrogate = SurrogateConfig(arm.shape, arm.window, {**kept, **arm.options})
    options = result.windows.options if result.windows.policy == arm.windows["policy"] else {}
    result.windows = replace(
        result.windows, **{**arm.windows, "options": {**options, **arm.windows["options"]}}
    )
    result.loss.regularizers |= arm.regularizers
    surrogate = create_surrogate(arm.shape, **result.surrogate.options)
    try:  # the policy checks its own options, before any training
        create_policy(result.windows, nn.Sequential(nn.Linear(1, 1), LIF(1, surrogate=surrogate)))
    except InputError as error:
        raise InputError(f"arm {arm.label!r}: {error}") from error
    return result


def apply_arms(config: RunConfig, arms: Sequence[Arm]) -> list[RunConfig]:
    """`apply_arm` for each arm.

    Raises:
        InputError: if two arms train the same way.
    """
    configs = [apply_arm(config, arm) for arm in arms]
    for at, (config, arm) in enumerate(zip(configs, arms, strict=True)):
        for other, earlier in zip(configs[:at], arms[:at], strict=True):
            require(
                replace(config, arm="") != replace(other, arm=""),
                f"arm {arm.label!r} trains the same way as arm {earlier.label!r}: name each arm once",
            )
    return configs


def describe_arms() -> dict[str, str]:
    """Names and one-line descriptions."""
    return {
        **{name: preset.text for name, preset in PRESETS.items()},
        "any surrogate": "that shape (a2sg list surrogates), fixed window 1.0",
        "ARM:key=value": "any arm with bias, floor, temperature or area (of its shape), window, shape, "
        f"{' or '.join(REGULARIZERS)} (weight of that term); "
        + "; ".join(f"of {name} {', '.join(keys)}" for name, keys in _keys().items()),
    }


def _keys() -> dict[str, list[str]]:
    """The keys of each policy, by the name of its arms."""
    return {
        "A2SG's and fixed ones": ["adapt=none|spatial|temporal|both", *fields_of("a2sg")],
        "cpng": [*fields_of("cpng"), *options_of("cpng")],
        "dspike-search": [*fields_of("dspike"), *options_of("dspike")],
    }


def _pairs(text: str, words: list[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for word in words:
        key, equals, value = (part.strip() for part in word.partition("="))
        require(
            bool(key and equals and value), f"arm {text!r}: write options as key=value, not {word.strip()!r}"
        )
        require(key not in given, f"arm {text!r} sets {key!r} twice")
        given[key] = value
    return given


def _read(key: str, word: str, kind: Any) -> Any:
    """The value of `word` for an option of this kind: as on the command line, but `none` means null."""
    if word.lower() == "none" and type(None) in get_args(kind):
        return None
    return fit(kind, from_word(word, kind, key), key)


def _write(value: Any) -> str:
    """`value` as text that `_read` reads back."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)

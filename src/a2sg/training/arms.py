"""Arms of a comparison: named ways to set the surrogate and its windows, with options after colons."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, fields, replace
from types import UnionType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from a2sg.errors import InputError, require, require_choice, require_positive
from a2sg.neuron import LIF
from a2sg.surrogate import SURROGATES, create_surrogate
from a2sg.training.config import RunConfig, SurrogateConfig, WindowsConfig
from a2sg.window import AdaptiveWindows


class Preset(NamedTuple):
    """What a named arm stands for."""

    shape: str
    window: float
    adapt: str
    text: str


PRESETS = {
    "fixed": Preset("boxcar", 0.5, "none", "boxcar, fixed window 0.5: the usual surrogate (STBP-tdBN)"),
    "asy": Preset("asymmetric", 1.0, "none", "asymmetric shape, fixed window 1.0"),
    "s-asg": Preset("triangle", 1.0, "spatial", "triangle, last step adapted (least SGV)"),
    "t-asg": Preset("triangle", 1.0, "temporal", "triangle, earlier steps adapted (largest TGC)"),
    "st-asg": Preset("triangle", 1.0, "both", "triangle, all steps adapted"),
    "a2sg": Preset("asymmetric", 1.0, "both", "asymmetric shape, all steps adapted"),
}
"""Arms of their own name; every surrogate's name is an arm too, with a fixed window of 1.0."""

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
        windows: fields of `WindowsConfig` that the arm sets; `spatial` and `temporal` always.
    """

    label: str
    shape: str
    window: float
    options: dict[str, Any]
    windows: dict[str, Any]

    @property
    def adaptive(self) -> bool:
        """Whether any window is adapted; else they are only watched."""
        return bool(self.windows["spatial"] or self.windows["temporal"])


def parse_arm(text: str) -> Arm:
    """Read an arm such as `a2sg`, `a2sg:bias=0.8`, `boxcar:window=0.7` or `st-asg:search=bayes:every=50`.

    Args:
        text: a name of `PRESETS` or `SURROGATES`, then `key=value` after colons. Keys are the shape's
            own arguments (such as bias, floor, temperature, area), `window`, `adapt` (none, spatial,
            temporal, both), `shape` (of a preset), and any field of `WindowsConfig`.

    Raises:
        InputError: for an unknown name or key (with the nearest choice), or a value that does not fit.
    """
    name, *words = text.strip().split(":")
    require_choice("arm", name, [*PRESETS, *SURROGATES])
    preset = PRESETS.get(name, Preset(name, 1.0, "none", ""))
    given = _pairs(text, words)
    chooses_shape = name in PRESETS and "shape" in given
    shape = require_choice("shape", given["shape"], SURROGATES) if chooses_shape else preset.shape
    takes = _kinds(SURROGATES[shape])
    kinds = {"window": float, "adapt": tuple(ADAPT)} | takes | _kinds(WindowsConfig)
    if name in PRESETS:
        kinds["shape"] = tuple(SURROGATES)
    for key in given:
        require_choice(f"option of arm {name!r} (shape {shape})", key, kinds)
    values = {key: _read(key, word, kinds[key]) for key, word in sorted(given.items())}
    options = {key: value for key, value in values.items() if key in takes}
    create_surrogate(shape, **options)  # so that a value out of range is told at once
    windows = {key: value for key, value in values.items() if key in WindowsConfig.__dataclass_fields__}
    return Arm(
        label=":".join([name, *(f"{key}={_write(value)}" for key, value in values.items())]),
        shape=shape,
        window=require_positive("window", values.get("window", preset.window)),
        options=options,
        windows={**ADAPT[values.get("adapt", preset.adapt)], **windows},
    )


def apply_arm(config: RunConfig, arm: Arm) -> RunConfig:
    """A copy of `config` trained the arm's way; what the arm leaves open stays as `config` has it.

    Where the arm takes the shape that `config` has, that shape's options (such as bias) are kept.

    Raises:
        InputError: if the arm's options do not go with those of `config`.
    """
    result = deepcopy(config)
    result.arm = arm.label
    kept = result.surrogate.options if result.surrogate.name == arm.shape else {}
    result.surrogate = SurrogateConfig(arm.shape, arm.window, {**kept, **arm.options})
    result.windows = replace(result.windows, **arm.windows)
    create_surrogate(arm.shape, **result.surrogate.options)
    try:
        AdaptiveWindows(LIF(1), **asdict(result.windows))  # checks its own options, before any training
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
        "adapt=none|spatial|temporal|both, "
        + ", ".join(field for field in WindowsConfig.__dataclass_fields__ if field not in ADAPT),
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


def _kinds(cls: type) -> dict[str, Any]:
    """The fields of a dataclass: name to type, or to the choices of a literal."""
    hints = get_type_hints(cls)
    return {
        field.name: get_args(hints[field.name])
        if get_origin(hints[field.name]) is Literal
        else hints[field.name]
        for field in fields(cls)
    }


def _read(key: str, word: str, kind: Any) -> Any:
    """The value that `word` means for an option of this kind."""
    if isinstance(kind, tuple):
        return require_choice(key, word, kind)
    if kind is bool:
        return require_choice(key, word.lower(), ("true", "false")) == "true"
    if isinstance(kind, UnionType) and word.lower() == "none":
        return None
    number = float if kind is float else int
    try:
        return number(word)
    except ValueError:
        what = "number" if number is float else "whole number"
        raise InputError(f"{key} must be a {what}, not {word!r}") from None


def _write(value: Any) -> str:
    """`value` as `_read` takes it."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)

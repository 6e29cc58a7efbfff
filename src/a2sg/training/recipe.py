"""Recipes: YAML files that describe a run, found by name or path, overridden from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from operator import attrgetter
from pathlib import Path
from typing import Any

from a2sg.data.untrusted import read_text
from a2sg.errors import InputError, require, require_choice, require_count, require_positive
from a2sg.files import write_text
from a2sg.training import plain
from a2sg.training.config import RunConfig
from a2sg.training.fields import fit
from a2sg.training.midway import read_every

FROM_FILE = ("recipe", "arm")
"""Fields without a command-line option."""

FILE = 256 << 10
"""Maximum size of a recipe, in bytes; the built-in ones have fewer than 3,000."""
NAMES = {"recipe": 100, "arm": 200}
"""Maximum number of characters of values that name folders."""
NOT_IN_NAMES = frozenset("/\\$|<>`")
"""Not allowed in such values: paths to other folders, and the syntax of tables, pages and formulas."""
SEEDS = 2**32
"""Seeds must be below this: every random number generator accepts those."""

COUNTS: dict[str, tuple[int, int]] = {
    "seed": (0, SEEDS - 1),
    "epochs": (1, 1_000_000),
    "accumulate": (1, 1_000_000),
    "model.steps": (1, 100_000),
    "data.batch_size": (1, 1_000_000),
    "data.workers": (0, 1_000),
    "windows.every": (1, 2**40),
    "windows.candidates": (2, 100_000),
    "windows.batches": (1, 1_000_000),
    "windows.biases": (1, 1_000),
    "augment.crop_padding": (0, 10_000),
    "augment.randaugment": (0, 1_000),
}
"""Range of whole numbers: the most is more than anyone needs, too little to fill a computer's memory."""


def recipes() -> dict[str, Path]:
    """The built-in recipes: name to file."""
    folder = Path(str(files("a2sg.training") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"), key=lambda path: path.stem)}


def load_recipe(recipe: str, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """A run described by a built-in recipe's name or the path of a YAML file.

    Args:
        recipe: name or path.
        overrides: plain values by dotted field, such as `{"windows.every": 50}`, set in this order.

    Raises:
        InputError: for an unknown recipe, broken YAML, or an unknown or invalid field.
    """
    values = read_recipe(recipe)
    config = config_from(values, recipe)  # so that an error in the file is reported as the file's
    if not overrides:
        return config
    for name, value in overrides.items():
        values = _overruled(values, name, value)
    return checked(fit(RunConfig, values))


def read_recipe(recipe: str) -> dict[str, Any]:
    """The values written in a recipe, with its own name as `recipe`."""
    if recipe.endswith((".yaml", ".yml")) or "/" in recipe:
        path = Path(recipe)
        require(path.is_file(), f"there is no recipe file {recipe}: give a YAML file or one of {_names()}")
    else:
        path = recipes()[require_choice("recipe", recipe, recipes())]
    return {"recipe": path.stem, **read_yaml(path)}


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: if it cannot be read, is not YAML, or is not a mapping.
    """
    values = plain.read(read_text(path, FILE), str(path))
    require(
        isinstance(values, dict),
        f"{path} must hold fields such as 'epochs: 30', not {type(values).__name__ if values else 'nothing'}",
    )
    return values


def config_from(values: Mapping[str, Any], recipe: str) -> RunConfig:
    """A checked `RunConfig` from plain values; `recipe` is named in errors."""
    try:
        return checked(fit(RunConfig, values))
    except InputError as error:
        raise InputError(f"recipe {recipe}: {error}") from error


def write_config(config: RunConfig, path: Path) -> None:
    """Write everything that is needed to repeat the run."""
    write_text(path, plain.write(asdict(config)))


def read_config(path: Path) -> RunConfig:
    """The run that `write_config` wrote."""
    return config_from(read_yaml(path), str(path))


def checked(config: RunConfig) -> RunConfig:
    """Return `config`; raise `InputError` if a number in it is out of range."""
    require(
        bool(config.recipe),
        f"recipe must be a name such as digits, not {config.recipe!r}",
    )
    for name, most in NAMES.items():
        text = getattr(config, name)
        require(len(text) <= most, f"{name} must have at most {most} characters, not {len(text)}")
        require(
            not NOT_IN_NAMES & set(text),
            f"{name} must be a name such as digits, without {' '.join(sorted(NOT_IN_NAMES))}, not {text!r}",
        )
    for name, (least, most) in COUNTS.items():
        value = attrgetter(name)(config)
        if not isinstance(value, str | None):  # such as auto
            require_count(name, value, least, most)
    read_every(config.save_every)
    if config.keep_every is not None:
        require_count("keep_every", config.keep_every)
        require(
            config.keep_every <= config.epochs,
            f"keep_every {config.keep_every} is more than the {config.epochs} epochs, so no weights would be "
            "kept: choose a smaller number",
        )
    require_positive("surrogate.window", config.surrogate.window)
    optimizer = config.optimizer
    for name in ("lr", "head_factor", "power"):
        require_positive(f"optimizer.{name}", getattr(optimizer, name))
    for name in ("weight_decay", "momentum", "warmup_epochs", "warmup_lr"):
        value = getattr(optimizer, name)
        require(value >= 0, f"optimizer.{name} must not be below 0, not {value}")
    if optimizer.average is not None:
        require(
            0 < optimizer.average < 1,
            f"optimizer.average must be above 0 and below 1, such as 0.999, not {optimizer.average}",
        )
    if optimizer.clip_norm is not None:
        require_positive("optimizer.clip_norm", optimizer.clip_norm)
    return config


def _overruled(values: dict[str, Any], name: str, value: Any, above: str = "") -> dict[str, Any]:
    """A copy of nested `values` with a new value at a dotted name; `above` names the groups around them."""
    group, dot, rest = name.partition(".")
    if dot:
        inner = values.get(group, {})
        require(isinstance(inner, dict), f"{above}{group} is {inner!r}: it has no {rest} to set")
        value = _overruled(inner, rest, value, f"{above}{group}.")
    return {**values, group: value}


def _names() -> str:
    return ", ".join(recipes())

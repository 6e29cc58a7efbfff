"""Recipes: YAML files that describe a run, found by name or path, overridden from the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from a2sg.errors import InputError, require, require_choice, require_count, require_positive
from a2sg.training.config import RunConfig
from a2sg.training.files import write_text

FROM_FILE = ("recipe", "arm")
"""Fields that no option of the command line sets."""


def recipes() -> dict[str, Path]:
    """The built-in recipes: name to file."""
    folder = Path(str(files("a2sg.training") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"), key=lambda path: path.stem)}


def load_recipe(recipe: str, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """A run described by a built-in recipe's name or the path of a YAML file.

    Args:
        recipe: name or path.
        overrides: values by dotted field, such as `{"windows.every": 50}`.

    Raises:
        InputError: for an unknown recipe, broken YAML, or an unknown or unfit field.
    """
    values = read_recipe(recipe)
    for field, value in (overrides or {}).items():
        *groups, last = field.split(".")
        inner = values
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[last] = value
    return config_from(values, recipe)


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
        InputError: if it cannot be read, is not YAML, or is no mapping.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        at = getattr(error, "problem_mark", None)
        line = f" in line {at.line + 1}" if at else ""
        problem = getattr(error, "problem", None) or "no valid YAML"
        raise InputError(f"{path} is broken YAML{line}: {problem}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    require(
        isinstance(values, dict),
        f"{path} must hold fields such as 'epochs: 30', not {type(values).__name__ if values else 'nothing'}",
    )
    return dict(values)


def config_from(values: Mapping[str, Any], source: str) -> RunConfig:
    """A checked `RunConfig` from plain values; `source` is named in errors."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(RunConfig)
    try:
        return checked(_instantiate(parser, parser.parse_object(dict(values), defaults=True)))
    except ArgumentError as error:
        raise InputError(f"recipe {source}: {one_line(error)}") from error


def add_run_options(parser: ArgumentParser) -> None:
    """Add the positional RECIPE and an option for every field of a run."""
    parser.add_argument("recipe", nargs="?", default="digits", help="a built-in recipe's name or a YAML file")
    parser.add_class_arguments(RunConfig, skip=set(FROM_FILE))


def parse_run(parser: ArgumentParser, arguments: Sequence[str]) -> tuple[Namespace, RunConfig]:
    """Parse `arguments`, with the values of the recipe they name as defaults.

    Returns:
        All options, and the run they describe.
    """
    recipe = parser.parse_args(list(arguments)).recipe
    values = read_recipe(recipe)
    config_from(values, recipe)  # so that an error in the file is told as one
    fixed = {name: values.pop(name) for name in FROM_FILE if name in values}
    known = parser.parse_object({**values, "recipe": recipe}, defaults=True)
    parser.set_defaults(known.as_dict())
    options = parser.parse_args(list(arguments))
    fields = {name: options[name] for name in RunConfig.__dataclass_fields__ if name not in FROM_FILE}
    chosen = {
        name: value.as_dict() if isinstance(value, Namespace) else value for name, value in fields.items()
    }
    return options, config_from({**chosen, **fixed}, recipe)


def write_config(config: RunConfig, path: Path) -> None:
    """Write all that is needed to repeat the run."""
    write_text(path, yaml.safe_dump(asdict(config), sort_keys=False))


def read_config(path: Path) -> RunConfig:
    """The run that `write_config` wrote."""
    return config_from(read_yaml(path), str(path))


def checked(config: RunConfig) -> RunConfig:
    """Return `config`; raise `InputError` if a number in it is out of range."""
    require_count("seed", config.seed, least=0)
    require_count("epochs", config.epochs)
    require_count("accumulate", config.accumulate)
    if config.keep_every is not None:
        require_count("keep_every", config.keep_every)
        require(
            config.keep_every <= config.epochs,
            f"keep_every {config.keep_every} is more than the {config.epochs} epochs, so no weights would be "
            "kept: take less",
        )
    require_count("data.batch_size", config.data.batch_size)
    require_count("data.workers", config.data.workers, least=0)
    require_positive("surrogate.window", config.surrogate.window)
    optimizer = config.optimizer
    for name in ("lr", "head_factor", "power"):
        require_positive(f"optimizer.{name}", getattr(optimizer, name))
    for name in ("weight_decay", "momentum", "warmup_epochs", "warmup_lr"):
        value = getattr(optimizer, name)
        require(value >= 0, f"optimizer.{name} must not be below 0, not {value}")
    if optimizer.clip_norm is not None:
        require_positive("optimizer.clip_norm", optimizer.clip_norm)
    return config


def one_line(error: Exception) -> str:
    """The message of `error` without its line breaks."""
    return " ".join(str(error).split())


def _instantiate(parser: ArgumentParser, values: Namespace) -> RunConfig:
    made = parser.instantiate(values)
    return RunConfig(**{name: made[name] for name in RunConfig.__dataclass_fields__})


def _names() -> str:
    return ", ".join(recipes())

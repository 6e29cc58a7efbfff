"""The command line of a run: RECIPE, and an option for every field of it."""

from __future__ import annotations

from argparse import SUPPRESS, Namespace
from collections.abc import Sequence
from functools import partial
from inspect import cleandoc
from typing import Any, get_args, get_origin

from a2sg.parser import Parser
from a2sg.training import plain
from a2sg.training.config import RunConfig
from a2sg.training.fields import Field, choices, from_word, kinds, walk
from a2sg.training.recipe import FROM_FILE, load_recipe


def read_run(parser: Parser, words: Sequence[str]) -> tuple[Namespace, RunConfig]:
    """Read `words` with the options of `parser`, RECIPE, and an option for every field.

    Returns:
        All options, and the run they describe: the recipe's fields, overridden by options.

    Raises:
        InputError: for an unknown option, or a recipe or a value that does not fit.
    """
    run = [field for field in walk(RunConfig) if field.name not in FROM_FILE]
    for_words = {field.name: field.kind for field in run} | _inner(run, words)
    _add_options(parser, run, for_words)
    options = parser.read(words)
    overrides: dict[str, Any] = {}
    for name, word in options.overrides or ():
        overrides.pop(name, None)  # the last one counts, at its position
        overrides[name] = from_word(word, for_words[name], f"--{name}")
    return options, load_recipe(options.recipe, overrides)


def _inner(run: Sequence[Field], words: Sequence[str]) -> dict[str, Any]:
    """Names inside open mappings, such as data.options.limit, that occur as options in `words`."""
    names = [word[2:].partition("=")[0] for word in words if word.startswith("--")]
    return {
        name: get_args(field.kind)[1]
        for name in names
        for field in run
        if field.open and name.startswith(f"{field.name}.") and all(name.split("."))
    }


def _add_options(parser: Parser, run: Sequence[Field], for_words: dict[str, Any]) -> None:
    parser.usage = f"{parser.prog} [RECIPE] [options]"
    parser.add_argument("recipe", nargs="?", default="digits", help="a built-in recipe's name or a YAML file")
    groups = {name: kind for name, kind in kinds(RunConfig).items() if isinstance(kind, type)}
    title = "the run (defaults apply where the recipe sets nothing)"
    parts: dict[str, Any] = {"": parser.add_argument_group(title)}
    texts = {field.name: field for field in run}
    for name in for_words:
        group = name.rpartition(".")[0] if name in texts else ""
        if group not in parts:
            parts[group] = parser.add_argument_group(group, cleandoc(groups[group].__doc__ or ""))
        parts[group].add_argument(
            f"--{name}",
            dest="overrides",
            action="append",
            type=partial(_named, name),
            metavar=_placeholder(for_words[name]),
            help=_help(texts[name]) if name in texts else SUPPRESS,
        )


def _named(name: str, word: str) -> tuple[str, str]:
    return name, word


def _help(field: Field) -> str:
    default = field.default
    if not isinstance(default, str):
        default = plain.write(default).removesuffix("...\n").strip()
    keys = f"; one of them: --{field.name}.KEY VALUE" if field.open else ""
    return f"{field.text} (default: {default}{keys})".replace("%", "%%")


def _placeholder(kind: Any) -> str:
    """The placeholder for a value in the help."""
    if choices(kind):
        return "|".join(choices(kind))
    first = get_args(kind)[0] if type(None) in get_args(kind) else kind
    names = {bool: "true|false", int: "N", float: "X", str: "TEXT", dict: "{KEY: VALUE}"}
    return names.get(get_origin(first) or first, "VALUE")

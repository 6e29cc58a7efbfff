"""The command line: `a2sg COMMAND`, with the commands of `COMMANDS`.

Bad input ends in one line on stderr and exit status 2, an interrupted run in status 130.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from a2sg._version import __version__
from a2sg.children import ERROR, follow, is_child
from a2sg.commands.analyze import analyze_command
from a2sg.commands.bench import bench_command
from a2sg.commands.compare import compare_command
from a2sg.commands.evaluate import evaluate_command
from a2sg.commands.export import export_command
from a2sg.commands.info import info_command
from a2sg.commands.inspect import inspect_command
from a2sg.commands.list import list_command
from a2sg.commands.predict import predict_command
from a2sg.commands.train import train_command
from a2sg.errors import InputError, one_line, require_choice
from a2sg.imports import import_modules, split_imports
from a2sg.ranks import Lost
from a2sg.terminal import names_in_utf8, plain_output, require_text

EXTRAS = {
    **dict.fromkeys(
        (
            "pydantic",
            "yaml",
            "lightning",
            "torchmetrics",
            "sklearn",
            "scipy",
            "matplotlib",
            "rich",
            "tensorboard",
            "PIL",
        ),
        "train",
    ),
    "nir": "export",
}
"""The extra that installs a package."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    if arguments is None:
        names_in_utf8()
    words = list(sys.argv[1:] if arguments is None else arguments)
    plain_output()
    try:
        follow()
        if words[:1] != ["predict"]:  # which only reads, and prints names
            require_text(words)
        names, words = split_imports(words)
        import_modules(names)
        status = _dispatch(words)
        print(end="", flush=True)  # here, where a closed pipe is no error
        return status
    except InputError as error:
        message = one_line(error)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        extra = EXTRAS[package]
        message = f"this command needs {package}, which is not installed: pip install 'a2sg[{extra}]'"
    except Lost as lost:
        return _lost(lost)
    except KeyboardInterrupt:
        print("a2sg: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    print(f"{ERROR}{message}", file=sys.stderr)
    return 2


def _lost(lost: Lost) -> int:
    """Report a lost rank, unless the process that started this one will; returns the exit status."""
    from a2sg.training.world import LOST, World

    if not (is_child() and World.here().size > 1):
        print(f"{ERROR}{one_line(lost)}", file=sys.stderr)
    return LOST


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if words[0] == "--version":
        print(f"a2sg {__version__}")
        return 0
    command, _ = COMMANDS[require_choice("command", words[0], COMMANDS)]
    try:
        return command(words[1:])
    except SystemExit as stop:  # --help inside a command
        return int(stop.code or 0)


def _usage() -> str:
    lines = [f"  a2sg {name:<9} {text}" for name, (_, text) in COMMANDS.items()]
    return (
        "usage: a2sg COMMAND [options]\n\n"
        + "\n".join(lines)
        + "\n\na2sg COMMAND --help shows its options. All commands take --import MODULE."
    )


COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "train": (train_command, "train a network by a recipe, or resume a run"),
    "evaluate": (evaluate_command, "evaluate a run on its test data"),
    "predict": (predict_command, "print a run's predictions for files: classes, or numbers"),
    "compare": (compare_command, "train several arms over several seeds and compare them"),
    "inspect": (inspect_command, "look at one batch: is the network all right? What to change?"),
    "analyze": (analyze_command, "measure why runs train as they do, and write a page about it"),
    "export": (export_command, "write a run's network for other libraries and hardware"),
    "bench": (bench_command, "measure speed and memory, also of other libraries"),
    "list": (list_command, "show what there is to choose from: models, recipes, arms, …"),
    "info": (info_command, "show versions, machine and backends, for a bug report"),
}

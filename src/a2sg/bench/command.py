"""The command `a2sg bench`: reads its options, runs the benches, writes their results."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from a2sg.bench import lif, memory, peers, report, search, train
from a2sg.bench.networks import NETWORKS
from a2sg.bench.options import Options
from a2sg.bench.timing import say
from a2sg.devices import find_device
from a2sg.errors import require, require_choice, require_count, require_positive
from a2sg.imports import OPTION, imported
from a2sg.parser import Parser

BENCHES: dict[str, Callable[[Options], report.Report]] = {
    "lif": lif.measure,
    "search": search.measure,
    "train": train.measure,
    "memory": memory.measure,
}
ROUNDS = {"lif": 15, "search": 7, "train": 7, "memory": 1}
"""Rounds of each bench by default."""
PEERS = Path(".venv-peers")
"""The environment with the other libraries, created by `benchmarks/setup-peers`."""
DEFAULTS: dict[str, Any] = {
    "steps": 4,
    "elements": (2**16, 2**20, 2**22),
    "search_elements": (2**16, 2**22),
    "candidates": 100,
    "width": 1.0,
    "batch": 32,
    "ways": tuple(train.WAYS),
    "memory_steps": (4, 8, 16),
    "sample": 0.05,
}
QUICK: dict[str, Any] = {
    "steps": 2,
    "elements": (2**12, 2**13),
    "search_elements": (2**12,),
    "candidates": 20,
    "width": 1 / 16,
    "batch": 2,
    "ways": tuple(name for name in train.WAYS if not name.endswith("network compiled")),
    "memory_steps": (1, 4),
    "sample": 0.0,
    "rounds": 2,
}
"""Small sizes, only to show that everything works."""


def bench_command(words: list[str]) -> int:
    """Measure a2sg's speed and memory, beside other libraries'.

    Raises:
        InputError: for an option that cannot work.
    """
    chosen = _parser().read(words)
    names = _names("bench", chosen.only, BENCHES)
    folder = Path(chosen.peers or PEERS)
    if not chosen.no_peers:
        _enter(folder, asked=chosen.peers is not None, words=words)
    out = Path(chosen.out)
    options = _options(chosen)
    require(not out.exists() or out.is_dir(), f"--out must be a folder, but {out} is a file")
    if chosen.threads is not None:
        torch.set_num_threads(require_count("--threads", chosen.threads))
    found, missing = ({}, {}) if chosen.no_peers else peers.available()
    if not found and not chosen.no_peers:
        say("a2sg alone: benchmarks/setup-peers installs the libraries to compare with")
    elif missing:
        say(f"not measured: {'; '.join(f'{name} ({reason})' for name, reason in missing.items())}")
    facts = {**report.machine(options["device"]), "peers": found}
    for name in names:
        rounds = options["rounds"] or ROUNDS[name]
        settled = Options(**{**options, "rounds": rounds, "peers": tuple(found)})
        result = BENCHES[name](settled)
        report.write(name, result, settled, facts, out)
        say(f"{name}: done\n" if sys.stderr.isatty() else f"{name}: done")
        print(f"# {result.title}\n\n{report.table(result)}\n", flush=True)
    print(report.provenance(facts))
    print(f"written to {out}: {', '.join(f'{name}.json, .md, .png' for name in names)}")
    return 0


def _parser() -> Parser:
    parser = Parser("bench", "Measure the speed and memory of a2sg and of other libraries in the same run.")
    add = parser.add_argument
    add("--only", default=",".join(BENCHES), help=f"benches, from {','.join(BENCHES)} (default: all)")
    add("--out", default="runs/bench", help="folder for JSON, Markdown and pictures (default: %(default)s)")
    add("--quick", action="store_true", help="tiny sizes, only to show that it works")
    add("--rounds", type=int, help=f"interleaved rounds (default: {_listed(ROUNDS.items())})")
    add("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    add("--threads", type=int, help="threads (default: torch's own)")
    add("--peers", help=f"environment with the other libraries (default: {PEERS}, if it exists)")
    add("--no-peers", action="store_true", help="measure only a2sg")
    add("--steps", type=int, help="T of lif and train (default: 4)")
    add("--reset", default="soft", help="soft or hard, for every library (default: soft)")
    add("--backends", help="backends of a2sg in lif (default: all)")
    add("--elements", help="elements per step in lif (default: 65536,1048576,4194304)")
    add("--dtype", default="float32", help="dtype in lif: float32 or bfloat16 (default: float32)")
    add("--search-elements", help="elements in search (default: 65536,4194304)")
    add("--candidates", type=int, help="candidates in search (default: 100)")
    add("--network", default="vgg16", help=f"network in train and memory: {', '.join(NETWORKS)}")
    add("--width", type=float, help="factor on the network's channels (default: 1)")
    add("--precision", default="32", help="precision in train and memory: 32 or bf16 (default: 32)")
    add("--batch", type=int, help="batch size in train and memory (default: 32)")
    add("--ways", help=f"what train and memory measure, from {','.join(train.WAYS)} (default: all)")
    add("--memory-steps", help="values of T in memory (default: 4,8,16)")
    return parser


def _options(chosen: argparse.Namespace) -> dict[str, Any]:
    """The checked `Options`; `rounds` is None if each bench uses its own number."""
    sizes = {**DEFAULTS, "rounds": None, **(QUICK if chosen.quick else {})}

    def count(name: str, least: int = 1) -> Any:
        value = getattr(chosen, name)
        return sizes[name] if value is None else require_count(f"--{name}", value, least)

    def counts(name: str) -> Any:
        value = getattr(chosen, name)
        return sizes[name] if value is None else _counts(f"--{name.replace('_', '-')}", value)

    return {
        "device": find_device(chosen.device).type,
        "rounds": count("rounds"),
        "sample": sizes["sample"],
        "steps": count("steps"),
        "reset": require_choice("reset", chosen.reset, ("soft", "hard")),
        "backends": _names("backend", chosen.backends, _backends()) if chosen.backends else _backends(),
        "elements": counts("elements"),
        "dtype": require_choice("dtype", chosen.dtype, ("float32", "bfloat16")),
        "search_elements": counts("search_elements"),
        "candidates": count("candidates", least=2),
        "network": require_choice("network", chosen.network, NETWORKS),
        "width": sizes["width"] if chosen.width is None else require_positive("--width", chosen.width),
        "batch": count("batch", least=2),
        "precision": require_choice("precision", chosen.precision, train.IN_WORDS),
        "ways": _names("way", chosen.ways, train.WAYS) if chosen.ways else sizes["ways"],
        "memory_steps": counts("memory_steps"),
    }


def _enter(folder: Path, *, asked: bool, words: list[str]) -> None:
    """Start again in the environment `folder`, if it exists and this is not it."""
    python = folder / "bin" / "python"
    if not python.exists():
        require(
            not asked,
            f"--peers {folder} is not an environment: create it with benchmarks/setup-peers {folder}",
        )
        return
    if Path(sys.prefix).resolve() != folder.resolve():
        sys.stdout.flush()
        again = [f"{OPTION}={name}" for name in imported]
        os.execv(python, [str(python), "-m", "a2sg", "bench", *again, *words])


def _backends() -> tuple[str, ...]:
    """Backends of our neurons, plain torch first; `auto` ends up with one of them."""
    from a2sg.kernels import BACKENDS

    return tuple(sorted(set(BACKENDS) - {"auto"}, key=lambda name: (name != "reference", name)))


def _names(what: str, text: str, choices: Any) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",")]
    return tuple(dict.fromkeys(require_choice(what, name, choices) for name in names))


def _counts(option: str, text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    require(
        all(word.isdigit() and int(word) > 0 for word in words),
        f"{option} must be whole numbers above 0 such as 4,8, not {text!r}",
    )
    return tuple(int(word) for word in words)


def _listed(items: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in items)

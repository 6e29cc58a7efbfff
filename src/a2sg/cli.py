"""The command line: `a2sg COMMAND`, with the commands of `COMMANDS`.

Bad input ends in one line on stderr and exit status 2, an interrupted run in status 130.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

from a2sg._version import __version__
from a2sg.children import ERROR, follow, is_child
from a2sg.errors import InputError, one_line, require, require_choice, require_count
from a2sg.imports import import_modules, split_imports
from a2sg.listing import TOPICS, lines_of
from a2sg.memory.pages import keep_pages
from a2sg.parser import Parser
from a2sg.ranks import Lost, by_first
from a2sg.terminal import plain_output

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
"""Which extra brings a package."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    plain_output()
    try:
        follow()
        names, words = split_imports(words)
        import_modules(names)
        return _dispatch(words)
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
    """Tell of a rank that was lost, unless the process that started this one will; the exit status."""
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


def train_command(words: list[str]) -> int:
    """Train a recipe, or resume a run."""
    from a2sg.training import launch
    from a2sg.training.options import read_run

    parser = Parser("train", "Train a network by a recipe, and write a run folder.")
    parser.add_argument("--out", help="run folder (default: runs/RECIPE-sSEED)")
    parser.add_argument("--resume", help="run folder of an interrupted run to resume")
    parser.add_argument(
        "--profile",
        nargs="?",
        const="20",
        help="instead of training, show where the time goes in this many iterations (default: 20)",
    )
    launch.add_options(parser)
    options, config = read_run(parser, words)
    own = launch.split_options(words)

    from a2sg.training.folders import read_run_config, read_summary
    from a2sg.training.parallel import require_divisible
    from a2sg.training.pictures import run_pictures
    from a2sg.training.run import Interrupted, going_on, train
    from a2sg.training.tables import print_summary
    from a2sg.training.world import World

    if options.resume is not None:
        require(
            own in (["--resume", options.resume], [f"--resume={options.resume}"]),
            "--resume repeats what the run folder's config.yaml says: it takes no other options but "
            "--devices, --nodes and --patience",
        )
        out = Path(options.resume)
        config = read_run_config(out)
        if read_summary(out) is not None:
            print(f"{out} is finished: nothing to resume")
            return 0
    else:
        out = Path(options.out) if options.out else _free(Path("runs") / f"{config.recipe}-s{config.seed}")
    ranks, patience = launch.ranks_to_start(options, config.device), launch.patience(options)
    if options.profile is not None:
        require(ranks == 1, "--profile shows one device: leave out --devices")
        keep_pages()
        return _profile(config, out, options.profile)
    if ranks > 1:
        require_divisible(config, ranks)
        place = [] if options.resume is not None else ["--out", str(out)]
        with going_on(out):
            return launch.launch(["train", *words, *place], ranks)
    keep_pages()
    try:
        summary = train(config, out, resume=options.resume is not None, patience=patience)
    except Interrupted as stop:
        how = "saved and stopped" if stop.saved else "interrupted"
        print(f"a2sg: {how}; go on with: a2sg train --resume {out}", file=sys.stderr)
        return stop.status
    if World.here().rank == 0:
        run_pictures(out)
        print_summary(summary)
        print(f"run folder: {out}")
    return 0


def _profile(config: Any, out: Path, iterations: str) -> int:
    """Show where the time of a run goes."""
    from a2sg.training.profile import profile
    from a2sg.training.profile_report import print_profile

    require(
        iterations.isdecimal(),
        f"--profile takes a number of iterations such as 20, not {iterations!r}: put the recipe before it",
    )
    print_profile(profile(config, out, int(iterations)))
    print(f"profile.json, profile.csv, profile.png and trace.json are in {out}")
    return 0


def evaluate_command(words: list[str]) -> int:
    """Evaluate a trained run on its test data."""
    from a2sg.training import launch

    parser = Parser("evaluate", "Evaluate the network of a run folder on its test data.")
    parser.add_argument("run", help="run folder")
    parser.add_argument("--steps", help="at these numbers of time steps instead, such as 1,2,4,8")
    _add_device(parser)
    launch.add_options(parser)
    options = parser.read(words)

    from a2sg.files import write_json
    from a2sg.training.evaluate import evaluate
    from a2sg.training.over_steps import JSON, PICTURE, evaluate_over_steps, read_steps
    from a2sg.training.run import load_run
    from a2sg.training.tables import print_over_steps, print_summary
    from a2sg.training.world import World, find_place, joined

    steps = None if options.steps is None else read_steps(options.steps)
    ranks, patience = launch.ranks_to_start(options, options.device), launch.patience(options)
    if ranks > 1:
        return launch.launch(["evaluate", *words], ranks)
    world = World.here()
    device = find_place(options.device, world)
    folder = Path(options.run)
    with joined(world, device, patience):
        if steps is not None:
            found = evaluate_over_steps(folder, steps, device, progress=True)
            if world.rank == 0:
                print_over_steps(found)
                print(f"written to {folder}: {JSON}, {PICTURE}")
            return 0
        result = evaluate(load_run(folder), device, progress=True)
        by_first(lambda: write_json(folder / "evaluation.json", result))
        print_summary(result)
    return 0


def predict_command(words: list[str]) -> int:
    """Say what the network of a run makes of files."""
    import json

    parser = Parser("predict", "Print what a trained network says about files: classes, or numbers.")
    parser.add_argument("run", help="run folder")
    parser.add_argument("files", nargs="+", help="images or recordings, or folders of them")
    parser.add_argument(
        "--top", type=int, default=1, help="classes per file, the most likely first (default: 1)"
    )
    parser.add_argument("--json", action="store_true", help="write JSON instead of CSV")
    parser.add_argument("--out", help="file to write (default: print)")
    _add_device(parser)
    options = parser.read(words)

    from a2sg.devices import find_device
    from a2sg.files import csv_text, write_text
    from a2sg.training.predict import find_files, flat, predict
    from a2sg.training.run import load_run

    device = find_device(options.device)
    require_count("--top", options.top)
    out = _new_file(options.out) if options.out else None
    files = find_files(options.files)
    said = predict(load_run(Path(options.run)), files, top=options.top, device=device, progress=True)
    text = json.dumps(said, indent=2) + "\n" if options.json else csv_text([flat(one) for one in said])
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)
        print(f"written to {out}: {len(said)} files")
    return 0


def compare_command(words: list[str]) -> int:
    """Train several arms over several seeds and compare them in pairs."""
    from a2sg.training import launch
    from a2sg.training.options import read_run

    parser = Parser("compare", "Train several arms over several seeds, and compare them seed by seed.")
    parser.add_argument(
        "--arms",
        default="fixed,s-asg,t-asg,st-asg,asy,a2sg",
        help="arms, separated by commas (a2sg list arms); the first is the baseline",
    )
    parser.add_argument("--seeds", default="0,1,2", help="seeds, separated by commas (default: 0,1,2)")
    parser.add_argument("--out", help="folder (default: runs/compare-RECIPE)")
    parser.add_argument(
        "--overwrite", action="store_true", help="delete an earlier comparison in the folder, and start again"
    )
    parser.add_argument(
        "--parallel", metavar="N|auto", help="how many runs at a time, each on its own device; auto: all GPUs"
    )
    launch.add_options(parser)
    options, config = read_run(parser, words)

    from a2sg.training.arms import parse_arm
    from a2sg.training.compare import compare
    from a2sg.training.run import Interrupted
    from a2sg.training.spread import apart_from

    arms = [parse_arm(text) for text in options.arms.split(",")]
    out = Path(options.out or f"runs/compare-{config.recipe}")
    apart = apart_from(options, config)
    keep_pages()
    try:
        compare(config, arms, _seeds(options.seeds), out, apart=apart, overwrite=options.overwrite)
    except Interrupted:
        print("a2sg: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    return 0


def inspect_command(words: list[str]) -> int:
    """Say in numbers and words how surrogates and windows fit a network, from one batch."""
    parser = Parser("inspect", "Look at one batch: which layers get a gradient, and which window would fit.")
    parser.add_argument(
        "target", help="run folder, or name of a model (a2sg list models), with fresh weights"
    )
    parser.add_argument("--data", help="for a model: name of a data set, or random")
    parser.add_argument("--out", help="folder (default: RUN/inspection, runs/inspect-MODEL)")
    parser.add_argument("--batch-size", type=int, default=32, help="number of samples (default: 32)")
    parser.add_argument("--steps", type=int, help="T of a model (default: 4)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of fresh weights and of the samples (default: 0)"
    )
    _add_device(parser)
    parser.add_argument("--by-step", action="store_true", help="print a row for each layer and step")
    options = parser.read(words)

    from a2sg.devices import find_device
    from a2sg.study.inspect.table import show
    from a2sg.study.subject import find_subject

    device = find_device(options.device)
    require_count("--batch-size", options.batch_size)
    subject = find_subject(options.target, options.data, options.batch_size, options.steps, options.seed)
    folder = Path(options.target)
    out = Path(options.out or (folder / "inspection" if folder.is_dir() else f"runs/inspect-{folder.name}"))
    require(not out.exists() or out.is_dir(), f"--out must be a folder, but {out} is a file")
    keep_pages()
    found = subject.inspect(device)
    written = found.save(out)
    show(found, options.by_step)
    print(f"written to {out}: {', '.join(path.name for path in written)}")
    return 0


def analyze_command(words: list[str]) -> int:
    """Measure the links of the paper's chain of claims on trained runs, into one page."""
    parser = Parser(
        "analyze", "Measure variation, curvature, landscape, theory, fidelity and energy of runs."
    )
    parser.add_argument(
        "runs", nargs="+", help="run folders, or the folder of a comparison: one run of each arm"
    )
    parser.add_argument("--out", help="folder (default: RUN/analysis, or for several runs runs/analysis)")
    parser.add_argument(
        "--only", help="parts, separated by commas: variation,gain,curvature,landscape,theory,fidelity,energy"
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=64,
        help="training samples, for all parts except variation (default: 64)",
    )
    parser.add_argument(
        "--batch-size", type=int, default=32, help="size of the 8 batches for variation (default: 32)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of samples, directions and random vectors (default: 0)"
    )
    parser.add_argument(
        "--noise",
        type=float,
        help="σ on the potentials, such as 0.25: adds finite differences under noise; slow",
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=60.0,
        help="skip measurements that would take more seconds per run (default: 60)",
    )
    _add_device(parser)
    options = parser.read(words)

    from a2sg.study.report.analysis import analyze
    from a2sg.study.report.files import PAGE, require_free

    first = Path(options.runs[0])
    default = first / "analysis" if len(options.runs) == 1 else _free(Path("runs") / "analysis")
    out = Path(options.out) if options.out else default
    require_free(out)
    keep_pages()
    found = analyze(
        options.runs,
        only=options.only.split(",") if options.only is not None else None,
        samples=options.samples,
        batch_size=options.batch_size,
        seed=options.seed,
        noise=options.noise,
        budget=options.budget,
        device=options.device,
    )
    written = found.save(out)
    print(found)
    print(f"written to {out}: {PAGE} and {len(written) - 1} other files")
    return 0


def export_command(words: list[str]) -> int:
    """Write the network of a run for another library."""
    parser = Parser("export", "Write the network of a run folder for other libraries and hardware.")
    parser.add_argument("run", help="run folder")
    parser.add_argument("--nir", action="store_true", help="write a NIR graph")
    parser.add_argument(
        "--reader", default="nir", help="library that will read it: nir, norse or sinabs (default: nir)"
    )
    parser.add_argument("--out", help="file (default: RUN/model.nir)")
    options = parser.read(words)

    from a2sg.export import write_nir
    from a2sg.export.of_run import run_to_nir

    require(options.nir, "say as what to export it: --nir")
    folder = Path(options.run)
    out = _new_file(options.out or folder / "model.nir")
    graph = run_to_nir(folder, options.reader)
    write_nir(graph, out)
    print(f"written to {out}: {len(graph.nodes)} nodes, {len(graph.edges)} edges")
    for name, fact in graph.metadata.items():
        print(f"  {name:<8} {fact}")
    return 0


def bench_command(words: list[str]) -> int:
    """Measure speed and memory, against other libraries where they are installed."""
    from a2sg.bench.command import bench_command as bench

    return bench(words)


def list_command(words: list[str]) -> int:
    """Show what there is to choose from."""
    parser = Parser("list", "Show what there is to choose from.")
    parser.add_argument("topic", nargs="?", default="all", help=", ".join(TOPICS))
    topic = parser.read(words).topic
    chosen = TOPICS if topic == "all" else (require_choice("topic", topic, TOPICS),)
    for name in chosen:
        if len(chosen) > 1:
            print(f"{name}:")
        print("\n".join(lines_of(name, get_terminal_size().columns if sys.stdout.isatty() else None)))
    return 0


def info_command(words: list[str]) -> int:
    """Show versions, machine, and how neurons will run: the facts of a bug report."""
    import json

    from a2sg.info import environment, lines

    parser = Parser("info", "Show versions, machine and backends.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    as_json = parser.read(words).json
    found = environment()
    print(json.dumps(found, indent=2) if as_json else "\n".join(lines(found)))
    return 0


def _seeds(text: str) -> list[int]:
    words = text.split(",")
    require(
        all(word.strip().isdecimal() and len(word) < 20 for word in words) and len(set(words)) == len(words),
        f"--seeds must be different whole numbers such as 0,1,2, not {text!r}",
    )
    return [int(word) for word in words]


def _add_device(parser: Parser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


def _new_file(name: str | Path) -> Path:
    """Where `--out` says that a file is to be written."""
    out = Path(name)
    require(not out.is_dir(), f"--out must be a file, but {out} is a folder")
    require(out.parent.is_dir(), f"--out must be in a folder that exists, but {out.parent} does not")
    return out


def _free(folder: Path) -> Path:
    """`folder`, or the first of folder-2, folder-3 … that does not exist."""
    candidate, number = folder, 1
    while candidate.exists():
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate


COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "train": (train_command, "train a network by a recipe, or resume a run"),
    "evaluate": (evaluate_command, "evaluate a run on its test data"),
    "predict": (predict_command, "print what a trained run says about files: classes, or numbers"),
    "compare": (compare_command, "train several arms over several seeds and compare them"),
    "inspect": (inspect_command, "look at one batch: is the network all right? What to change?"),
    "analyze": (analyze_command, "measure why runs train as they do, and write a page about it"),
    "export": (export_command, "write a run's network for other libraries and hardware"),
    "bench": (bench_command, "measure speed and memory, also of other libraries"),
    "list": (list_command, "show what there is to choose from: models, recipes, arms, …"),
    "info": (info_command, "show versions, machine and backends, for a bug report"),
}

"""`a2sg evaluate`: a run on its test data."""

from __future__ import annotations

from pathlib import Path

from a2sg.commands.shared import add_device
from a2sg.parser import Parser
from a2sg.ranks import by_first


def evaluate_command(words: list[str]) -> int:
    """Evaluate a trained run on its test data."""
    from a2sg.training import launch

    parser = Parser("evaluate", "Evaluate the network of a run folder on its test data.")
    parser.add_argument("run", help="run folder")
    parser.add_argument("--steps", help="at these numbers of time steps instead, such as 1,2,4,8")
    add_device(parser)
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

"""How many small changes of the source the tests see: `make mutation`.

    score.py SESSION [--share 0.1] [--seed 0] [--only PART]

Cosmic Ray changes one place of a copy of the source at a time (another operator, number or constant, a
condition turned round, a decorator gone), and the tests of that component run until one fails. A share of the
places is drawn, in each module for itself; annotations, which nothing evaluates, are left out. Results stay
in the file SESSION: a run that was stopped goes on from there.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from functools import lru_cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test, mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkItem

ROOT = Path(__file__).parents[2]
PACKAGE = Path("src/a2sg")
COMPONENTS = {
    "surrogate": ["tests/surrogate", "tests/kernels/test_sums.py"],
    "kernels/reference.py": ["tests/neuron", "tests/kernels/test_sums.py", "tests/kernels/test_fills.py"],
    "window": ["tests/window"],
    "adopt": ["tests/adopt"],
}
"""What is changed, and the tests that have to see it."""
ELSEWHERE = {"spikingjelly.py", "snntorch.py", "sinabs.py"}
"""Modules that nothing runs without the libraries they are about (`make test-peers`)."""
LIMIT = 600
"""Seconds, several times what the tests of a component take; who takes longer is in an endless loop."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("session", type=Path)
    options.add_argument("--share", type=float, default=0.1, help="of the places that are changed")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", default="", help="modules whose path has this in it")
    given = options.parse_args()
    given.session.parent.mkdir(parents=True, exist_ok=True)
    with use_db(str(given.session.resolve())) as session, TemporaryDirectory() as copy:
        copy_sources(Path(copy))
        os.chdir(copy)
        os.environ["PYTHONPATH"] = str(Path("src").resolve())
        if not session.num_work_items:
            modules = [path for path in modules_of(COMPONENTS) if given.only in str(path)]
            init(modules, session, {})
            items = list(session.work_items)
            session.clear()
            session.add_work_items(drawn(items, given.share, given.seed))
        for item in list(session.pending_work_items):
            (mutation,) = item.mutations
            session.set_result(item.job_id, mutate_and_test(item.mutations, tests_of(mutation), LIMIT))
        report(session)


def copy_sources(folder: Path) -> None:
    """Put the files of the working tree into a folder: Cosmic Ray changes them where they are."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, encoding="utf-8")
    for name in filter(None, listed.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)


def modules_of(components: dict[str, list[str]]) -> list[Path]:
    """The modules that are changed, from the root of the tree."""
    found = []
    for component in components:
        path = PACKAGE / component
        found += [path] if path.suffix else sorted(path.glob("*.py"))
    return [path for path in found if path.name not in ELSEWHERE]


def drawn(items: list[WorkItem], share: float, seed: int) -> list[WorkItem]:
    """A share of the places of each module, and for each of them one of its changes."""
    places: dict[Path, dict[tuple[object, object], list[WorkItem]]] = {}
    for item in items:
        (mutation,) = item.mutations
        there = places.setdefault(mutation.module_path, {})
        there.setdefault((mutation.start_pos, mutation.end_pos), []).append(item)
    found = []
    for path, there in places.items():
        draw = random.Random(f"{seed} {path}")
        changes = (draw.choice(changes) for changes in draw.sample(list(there.values()), len(there)))
        found += islice(filter(is_change, changes), round(share * len(there)))
    return found


def is_change(item: WorkItem) -> bool:
    """Whether what is left can be read as Python, and differs in more than annotations."""
    (mutation,) = item.mutations
    source = mutation.module_path.read_text(encoding="utf-8")
    changed = mutate_code(source, get_operator(mutation.operator_name)(), mutation.occurrence)
    try:
        return changed is not None and meaning(changed) != meaning(source)
    except SyntaxError:
        return False


@lru_cache
def meaning(source: str) -> str:
    """A module as a tree without annotations, which nothing evaluates."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for part in ("annotation", "returns"):
            if getattr(node, part, None) is not None:
                setattr(node, part, ast.Constant(None))
    return ast.dump(tree)


def tests_of(mutation: MutationSpec) -> str:
    """The command that runs the tests of a module's component, those of its own name first."""
    path = mutation.module_path
    component = next(component for component in COMPONENTS if path.is_relative_to(PACKAGE / component))
    parts = map(Path, COMPONENTS[component])
    files = [file for part in parts for file in ([part] if part.suffix else sorted(part.glob("*.py")))]
    files.sort(key=lambda file: not file.stem.startswith(f"test_{path.stem}"))
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    return shlex.join([*words, "-m", "not slow and not gpu", *map(str, files)])


def report(session: WorkDB) -> None:
    """Print the score of each component, and the changes that no test saw."""
    results = dict(session.results)
    killed: Counter[str] = Counter()
    all_of: Counter[str] = Counter()
    for item in session.work_items:
        (mutation,) = item.mutations
        result = results[item.job_id]
        component = str(mutation.module_path.parent.relative_to(PACKAGE))
        all_of[component] += 1
        killed[component] += result.test_outcome == TestOutcome.KILLED
        outcome = "endless" if result.output == "timeout" else result.test_outcome
        if outcome != TestOutcome.KILLED:
            print(f"\n{outcome} in {mutation.definition_name}\n{result.diff or result.output}")
    print()
    for component, count in all_of.items():
        print(f"{component}: {killed[component]} of {count} killed")
    print(f"all: {killed.total()} of {all_of.total()} killed, {100 * killed.total() / all_of.total():.0f} %")


if __name__ == "__main__":
    main()

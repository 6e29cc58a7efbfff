"""How long `import a2sg` takes, as a multiple of `import torch`: fresh processes in turn, and their medians.

    .venv/bin/python benchmarks/import_time.py [--rounds 15]

It is the processor's time that is measured: one thread imports, and a busy machine does not count.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from statistics import median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {"torch": [], "a2sg": []}
    for name in seconds:  # files into memory, and compiled
        _import(name)
    for _ in range(rounds):
        for name, found in seconds.items():
            found.append(_import(name))
    for name, found in seconds.items():
        print(f"import {name:<5}  {median(found):.3f} s  ({min(found):.3f} .. {max(found):.3f})")
    print(f"ratio         {median(seconds['a2sg']) / median(seconds['torch']):.2f}")


def _import(name: str) -> float:
    """Processor seconds of a process that imports a package."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", f"import {name}"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()

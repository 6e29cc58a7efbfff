"""How long `import a2sg` takes, as a multiple of `import torch`: fresh processes in turn, and their medians.

    python benchmarks/import_time.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
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
    """Seconds of a process that imports a package."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {name}"], check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

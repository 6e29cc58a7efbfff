"""What measurements of curvature cost: processor seconds, on a run folder or a fresh network.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/curvature.py runs/digits-s0 --size 64
    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/curvature.py vgg16 --size 32 --chunk 8 --one-product

Of matrices the largest eigenvalue for the whole network, no traces. A product is that of a matrix with one
vector; with --one-product just one is taken, for networks where the rest follows. Seconds are those of the
processor, so that a busy machine does not count.
Prints a Markdown table: one measurement each, after one forward pass to warm up.
"""

from __future__ import annotations

import argparse
import platform
import resource
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import torch

from a2sg.analysis import (
    Curvature,
    Objective,
    double_backward_hessian,
    empirical_fisher,
    gauss_newton,
    grad_norm_sq,
    loss_slice,
    surrogate_field_jacobian,
    worst_case_sharpness,
)
from a2sg.study.measure.operators import Build, gauss_newton_of, hessian_of, opened, transposed_field_of
from a2sg.study.subject import find_subject

Measure = Callable[[Objective], object]
WHOLE: dict[str, Any] = {"layers": (), "probes": 0}
MEASURES: dict[str, tuple[str, Measure]] = {
    "gradient": ("`grad_norm_sq`", grad_norm_sq),
    "fisher": ("`empirical_fisher`", empirical_fisher),
    "ggn": ("`gauss_newton`", lambda of: gauss_newton(of, **WHOLE)),
    "gram": ('`gauss_newton(method="gram")`, all layers', lambda of: gauss_newton(of, method="gram")),
    "hessian": ("`double_backward_hessian`", lambda of: double_backward_hessian(of, **WHOLE)),
    "field": ("`surrogate_field_jacobian`", lambda of: surrogate_field_jacobian(of, **WHOLE)),
    "sharpness": ("`worst_case_sharpness`", worst_case_sharpness),
    "slice": ("`loss_slice`, 21 places", loss_slice),
}


BUILDS: dict[str, Build] = {
    "ggn": gauss_newton_of,
    "hessian": hessian_of,
    "field": transposed_field_of,
}


def one_product(objective: Objective, build: Build) -> int:
    with opened(objective, build) as matrix:
        operator = matrix.block(range(len(objective.parameters)))
        _ = operator @ torch.ones(operator.size, dtype=torch.float64)
        return matrix.products


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("subject", help="a run folder or the name of a network")
    parser.add_argument("--data", default=None, help="for a network: a data set, or random")
    parser.add_argument("--size", type=int, default=64, help="samples")
    parser.add_argument("--chunk", type=int, default=None, help="samples at a time")
    parser.add_argument("--one-product", action="store_true", help="of each matrix")
    parser.add_argument("--skip", default="", help=f"of {', '.join(MEASURES)}")
    options = parser.parse_args()
    subject = find_subject(options.subject, options.data, options.size, steps=None, seed=0)
    objective = Objective(subject.model, subject.batch, subject.loss, chunk=options.chunk)
    with objective.ready():
        objective.value()
    print(
        f"{subject.facts['model']}, {subject.facts['batch']}, {torch.get_num_threads()} thread(s), ", end=""
    )
    print(f"{platform.machine()}, torch {torch.__version__}, {date.today()}\n")
    print("| measurement | CPU s | products | s per product | peak memory so far, GiB |")
    print("|---|---|---|---|---|")
    for key, (name, measure) in MEASURES.items():
        if key in options.skip.split(","):
            continue
        start = time.process_time()
        products = 0
        if options.one_product and key in BUILDS:
            products = one_product(objective, BUILDS[key])
        else:
            found = measure(objective)
            products = found.products if isinstance(found, Curvature) else 0
        seconds = time.process_time() - start
        each = f"{seconds / products:.2g}" if products else ""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"| {name} | {seconds:.1f} | {products or ''} | {each} | {peak:.1f} |", flush=True)


if __name__ == "__main__":
    main()

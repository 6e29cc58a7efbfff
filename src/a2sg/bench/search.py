"""The sums at every candidate window of one layer and step, compared with the research code's way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from a2sg.bench import report
from a2sg.bench.options import THRESHOLD, Options
from a2sg.bench.timing import first_call, interleave
from a2sg.kernels import Gate, compiled_sums, sums, triton_bins, triton_sums
from a2sg.kernels.backends import fastest
from a2sg.kernels.triton_constants import available
from a2sg.surrogate import Asymmetric
from a2sg.window.objectives import sgv_from_sums, tgc_from_sums
from a2sg.window.search import first_best

EAGER = "eager, one evaluation per candidate"
LOW, HIGH = 0.1, 1.0
ONE_BY_ONE = "each"
"""The fill that evaluates every candidate in float64, the reference for the right window."""


def measure(options: Options) -> report.Report:
    """One row per size, objective and way."""
    rows: list[dict[str, Any]] = []
    panels: dict[str, dict[str, float]] = {}
    for elements in options.search_elements:
        for objective in ("SGV", "TGC"):
            found = _one(elements, objective, options)
            rows += found
            panels[f"{objective}, {elements:,} elements"] = {
                row["way"]: row["ratio"] for row in found if row["way"] != EAGER
            }
    return report.Report(
        title=f"Window search of one layer and step: {options.candidates} candidates",
        columns=(
            report.Column("elements", "elements", ",d"),
            report.Column("objective", "objective"),
            report.Column("way", "way"),
            report.Column("milliseconds", "ms", ".2f"),
            report.Column("ratio", "speed, ratio to eager", ".1f"),
            report.Column("window", "window found", ".4f"),
            report.Column("first_seconds", "first call, s", ".2f"),
        ),
        rows=rows,
        notes=[
            f"Medians over {options.rounds} interleaved rounds. Eager is the research code's way: the whole "
            "local gradient and its score once per candidate, in float32. a2sg's ways leave the sums and "
            "choose from them; each was checked in this run to find the very window that evaluating every "
            "candidate in float64 finds.",
        ],
        figure=report.bars(panels, "speed, ratio to eager"),
    )


def example(elements: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Potential u, upstream gradient dL/ds and the gradient r of the step after, each `[1, N]`.

    Upstream gradients grow away from the threshold, and the next step has nearly the same neurons near it:
    both objectives then have their best window inside the range.
    """
    generator = torch.Generator().manual_seed(0)
    u, later_u, g, noise = torch.randn(4, 1, elements, generator=generator)
    u = 0.6 + 0.6 * u
    x = u - THRESHOLD
    upstream = 1e-3 * g * (0.7 + x * x)
    near = Asymmetric().derivative(x + 0.1 * later_u, 0.45)
    later = near * (upstream + 2e-4 * noise)
    return u.to(device), upstream.to(device), later.to(device)


def eager(u: Tensor, upstream: Tensor, later: Tensor | None, windows: Tensor) -> Tensor:
    """Scores `[C]` as the research code computes them (method, section 4): one evaluation per candidate."""
    scores = []
    for window in windows:
        x = u - THRESHOLD
        delta = upstream * torch.where(x.abs() <= window, x / (2 * window) + 0.5, 0.0)
        if later is None:
            scores.append(1 - delta.var(correction=0) / delta.abs().mean())
        else:
            scores.append((delta * later).sum() / (delta.norm() * later.norm() + 1e-8))
    return torch.stack(scores)


def fills(device: str) -> dict[str, sums.Fill]:
    """Every way to fill the table, including those backends' that run here."""
    found: dict[str, sums.Fill] = {"each": sums.each, "blocked": sums.blocked, "binned": sums.binned}
    if fastest(device) != "reference":
        found["compiled"] = compiled_sums.fill
    if available(device):
        found |= {"triton": triton_sums.fill, "triton by gap": triton_bins.fill}
    return found


def _one(elements: int, objective: str, options: Options) -> list[dict[str, Any]]:
    u, upstream, r = example(elements, options.device)
    later = None if objective == "SGV" else r
    seen = sums.Observation(Gate(Asymmetric(), (THRESHOLD,)), u, upstream, later=later)
    lattice = torch.linspace(LOW, HIGH, options.candidates, dtype=torch.float64).float().double()
    lattice = lattice.to(options.device)

    def exact(fill: sums.Fill) -> int:
        table = sums.one_step(fill, seen, lattice)
        scores = -sgv_from_sums(table) if later is None else tgc_from_sums(table)
        return int(first_best(scores[None])[0])

    windows = lattice.to(u.dtype)
    ways: dict[str, Callable[[], int]] = {EAGER: lambda: int(eager(u, upstream, later, windows).argmax())}
    ways |= {
        f"a2sg {name}": lambda fill=fill: exact(fill)  # type: ignore[misc]
        for name, fill in fills(options.device).items()
        if name != ONE_BY_ONE
    }
    right = exact(sums.each)
    firsts = {name: first_call(way, options.device) for name, way in ways.items()}
    for name, (index, _) in firsts.items():
        if name != EAGER and index != right:
            raise RuntimeError(f"{name} chose window {lattice[index]:.4f}, not {lattice[right]:.4f}")
    title = f"search, {objective}, {elements:,} elements"
    timings = interleave(ways, options.rounds, options.sample, options.device, title)
    return [
        {
            "elements": elements,
            "objective": objective,
            "way": name,
            "milliseconds": 1000 * timing.median,
            "ratio": timing.speed(timings[EAGER]),
            "window": lattice[firsts[name][0]].item(),
            "same_window": firsts[name][0] == right,
            "first_seconds": firsts[name][1],
            "samples": timing.samples,
        }
        for name, timing in timings.items()
    ]

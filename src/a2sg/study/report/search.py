"""What searches of windows find on one batch and on several, and how much of their gain remains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from a2sg.modes import in_mode
from a2sg.study.measure.search_gain import SearchGain, search_gain
from a2sg.study.measure.variation import estimate
from a2sg.study.report import draw
from a2sg.study.report.cases import Case, Study
from a2sg.study.report.panel import Panel, Row, Table, panel
from a2sg.study.text import number

GROUPS = (1, 4)
"""Batches per search: as the paper has it, and as many as leave two searches to compare."""
SEARCHED = ("low", "high", "candidates", "search", "gradient", "spatial_steps", "biases")
"""Options that are taken from the run's own search; other policies have none, so the defaults apply."""
OBJECTIVES = {True: "SGV falls by (ln)", False: "TGC rises by"}
"""Names of the gain: of spatial steps, and of the others."""
KINDS = {"promised": "promised", "same": "kept on the batch", "other": "kept on the next"}
Found = Mapping[str, Mapping[int, Sequence[SearchGain]]]
"""By run and batches per search."""


def searches(study: Study) -> tuple[list[Panel], Found]:
    """The panels, and their numbers."""
    groups = [size for size in GROUPS if 2 * size <= len(study.cases[0].batches)]
    found = study.each("searches", lambda case: {size: _gains(case, size) for size in groups})
    rows: list[Row] = [
        {
            "run": label,
            "batches": size,
            "layer": step.layer,
            "step": step.step,
            "objective": "sgv" if step.spatial else "tgc",
            "window": step.window,
            "found": " ".join(f"{w:g}" for w in step.windows if w is not None),
            **{kind: getattr(step, kind).mean for kind in KINDS},
            **{f"{kind}_error": getattr(step, kind).error for kind in KINDS},
        }
        for label, sizes in found.items()
        for size, steps in sizes.items()
        for step in steps
    ]
    lines = []
    for label, sizes in found.items():
        for size, steps in sizes.items():
            for spatial, text in OBJECTIVES.items():
                means = [number(_mean(steps, spatial, kind)) for kind in KINDS]
                if any(means):
                    lines.append([label, str(size), text, *means])
    table = Table(("run", "batches per search", "objective", *KINDS.values()), lines)
    case, size = study.cases[0], study.options.batch_size
    held: dict[str, Any] = {"batches": len(case.batches), "size": size}
    held["trained"] = case.run.config.data.batch_size
    windows = panel("search-windows", rows, _windows, found, group=GROUPS[1], **held)
    return [windows, panel("search-gain", rows, _gain, found, tables=[table])], found


def _gains(case: Case, size: int) -> list[SearchGain]:
    config = case.run.config.windows
    options: dict[str, Any] = {}
    if config.policy == "a2sg":
        options = {name: getattr(config, name) for name in SEARCHED}
        # Even if the run itself only watched its windows.
        options |= {"spatial": config.spatial or True, "temporal": config.temporal or True}
    with in_mode(case.model, training=True):
        return search_gain(case.model, case.batches, case.loss, group=size, show_progress=False, **options)


def _windows(rows: Sequence[Row], found: Found) -> draw.Figure:
    """What a search finds

    The window that a search would set now, for {batches} batches of {size} one by one (dots) and for {group}
    at a time (diamonds); the dash is the window in use. Each layer's steps are shown from left to right. If
    the dots are far apart, one batch is not enough to find the best window: observe more batches per search
    (windows.batches).

    What batches of another size would find: in training they had {trained} samples, and larger batches give
    steadier windows.
    """
    first = next(iter(found.values()))
    keys = [(step.layer, step.step) for step in first[GROUPS[0]]]
    places = {key: place for place, key in enumerate(keys)}
    figure, grid = draw.frame(len(found), 1, min(16.0, 3 + 0.28 * len(keys)), 1.9, sharex=True, sharey=True)
    for (axes,), (label, sizes) in zip(grid, found.items(), strict=True):
        for at, (size, steps) in enumerate(sizes.items()):
            text, alpha = ("one batch", 0.35) if size == 1 else (f"{size} batches", 0.9)
            x = [places[step.layer, step.step] for step in steps for _ in step.windows]
            y = [window for step in steps for window in step.windows]
            draw.plot(axes, x, y, at, "oD"[at % 2], alpha=alpha, markersize=4, label=text)
        used = [step.window for step in sizes[GROUPS[0]]]
        axes.plot(used, "_", color=draw.GREY, markersize=9, label="in use")
        axes.set_ylim(bottom=0)
        axes.set_ylabel("window", fontsize=9)
        axes.set_title(draw.drawn_name(label), fontsize=10)
        draw.label_steps(axes, keys)
    return draw.legend_below(figure, grid[0][0])


def _mean(steps: Sequence[SearchGain], spatial: bool, kind: str, layer: str | None = None) -> float | None:
    mine = [step for step in steps if step.spatial == spatial and layer in (None, step.layer)]
    return estimate(getattr(step, kind).mean for step in mine).mean


def _gain(rows: Sequence[Row], found: Found) -> draw.Figure:
    """What a search promises, and what is left of it

    A search looks at each layer and step separately, on one batch, while everything else stays the same.
    "Promised" is the improvement that it sees there; "kept on the batch" is what remains on the same batch
    once all windows are set together; "kept on the next" is what remains on the batch of the next search.
    Bars are means over a layer's steps, with one batch per search. Below 0, the windows in use were better
    than those that the search would set.

    Whether training improves. Improvements of SGV are logarithms and depend on the gradient's scale: a later
    layer that passes less gradient lowers the SGV of all layers before it.
    """
    figure, grid = draw.frame(len(found), 2, 4.2, 2.1, sharex=True, sharey="col")
    for line, (label, sizes) in zip(grid, found.items(), strict=True):
        steps = sizes[GROUPS[0]]
        layers = list(dict.fromkeys(step.layer for step in steps))
        for axes, (spatial, text) in zip(line, OBJECTIVES.items(), strict=True):
            means = {
                text: [_mean(steps, spatial, kind, name) or 0.0 for name in layers]
                for kind, text in KINDS.items()
            }
            draw.bars(axes, means)
            axes.axhline(0, color=draw.GREY, linewidth=0.8)
            axes.set_ylabel(text, fontsize=9)
            axes.set_title(draw.drawn_name(label), fontsize=10)
            draw.label_layers(axes, layers)
    return draw.legend_below(figure, grid[0][0])

"""Draw docs/images/depth.png: accuracy of deep networks by arm, from the stored comparisons.

python evidence/depth_picture.py
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from a2sg.colours import COLOURS
from a2sg.statistics import mean
from deep_claims import WIDE
from stored import Values, stored

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "depth.png"

ARMS = {
    "calibrated": "calibrated: h = 0.8, searched once",
    WIDE: "fixed: h = 0.8, window 4",
    "asy": "asy: h = 0.5, window 1",
    "a2sg": "a2sg: the paper's setting",
}
NETWORKS = {
    "5 layers, CIFAR-10": ("cifar10-default",),
    "6 dense layers": ("digits-dense6",),
    "10 dense layers": ("digits-dense10",),
    "20 dense layers": ("digits-dense20", "digits-fast20"),
    "18 convolutions": ("digits-conv18",),
    "18 convolutions, T = 8": ("digits-conv18t8",),
    "18 convolutions, T = 16": ("digits-conv18t16",),
    "34 convolutions": ("digits-conv34",),
    "18 convolutions,\nFashion-MNIST": ("fashion-conv18",),
    "18 convolutions, events": ("digits-events-conv18",),
    "18 convolutions,\nCIFAR-10": ("cifar10-conv18",),
    "19 layers,\nmembrane shortcuts": ("digits-ms19",),
}
"""Label to the comparisons, one for each learning rate if arms were trained with both."""


def best(comparisons: list[Values], arm: str) -> list[float]:
    """Accuracies of an arm's seeds in %, those at the better learning rate; empty if it was not trained."""
    found = [list(values["score", arm].values()) for values in comparisons if ("score", arm) in values]
    return [100 * value for value in max(found, key=mean, default=[])]


def main() -> None:
    by_name = {comparison.name: comparison.values for comparison in stored()}
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    axes = figure.subplots()
    for row, names in enumerate(NETWORKS.values()):
        comparisons = [by_name[name] for name in names]
        for at, arm in enumerate(ARMS):
            scores = best(comparisons, arm)
            if not scores:
                continue
            y = row + 0.16 * (at - 1.5)
            axes.plot([min(scores), max(scores)], [y, y], color=COLOURS[at], linewidth=2, alpha=0.5)
            axes.plot(
                mean(scores),
                y,
                "o",
                color=COLOURS[at],
                label=ARMS[arm] if row == len(NETWORKS) - 1 else None,
            )
    axes.set_yticks(range(len(NETWORKS)), list(NETWORKS))
    axes.set_ylim(len(NETWORKS) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("test accuracy, %: mean of three seeds (dot), least and largest (line)")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(PICTURE, dpi=150)
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()

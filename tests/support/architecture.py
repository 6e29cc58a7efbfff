"""The components of the package, and who imports whom: read from the source, for a test and a picture.

python tests/support/architecture.py    # draws docs/images/architecture.svg and writes its arrows beside it
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "a2sg"
PICTURE = ROOT / "docs" / "images" / "architecture.svg"
ARROWS = PICTURE.with_suffix(".json")

LAYERS: tuple[Mapping[str, tuple[str, ...]], ...] = (
    {
        "helpers": (
            "errors",
            "registry",
            "progress",
            "parser",
            "ranks",
            "children",
            "terminal",
            "modes",
            "devices",
            "allowance",
            "groups",
            "statistics",
            "files",
            "colours",
            "columns",
            "score",
            "imports",
            "_version",
        )
    },
    {"surrogate": ("surrogate",)},
    {"kernels": ("kernels",)},
    {"window": ("window",)},
    {"guard": ("guard",), "neuron": ("neuron",)},
    {"adopt": ("adopt",)},
    {name: (name,) for name in ("memory", "baselines", "models", "data")},
    {"energy": ("energy",)},
    {"training": ("training",)},
    {"export": ("export",), "study": ("study", "analysis"), "info": ("info",)},
    {"bench": ("bench",)},
    {"cli": ("cli", "commands", "listing", "__main__", "a2sg")},
)
"""From the inside out: the components of each layer, and the modules or packages of each component.

A component imports components of inner layers, and no others; `a2sg` is the root package.
"""

COMPONENT = {part: component for layer in LAYERS for component, parts in layer.items() for part in parts}
RANK = {component: rank for rank, layer in enumerate(LAYERS) for component in layer}


class Import(NamedTuple):
    """That a module imports another, anywhere in its file: also in a function or for type checkers alone."""

    module: str
    target: str
    line: int


def modules(source: Path = SOURCE) -> dict[str, Path]:
    """The modules of a package by their dotted names."""
    names = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(source: Path = SOURCE) -> list[Import]:
    """Every import of one module of a package by another."""
    known = modules(source)
    return [
        Import(module, target, line)
        for module, path in known.items()
        for target, line in _imports_of(ast.parse(path.read_text(encoding="utf-8")), module, path, known)
        if target != module
    ]


def _imports_of(
    tree: ast.Module, module: str, path: Path, known: Mapping[str, Path]
) -> Iterator[tuple[str, int]]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [
                f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names
            ]
        for name in names:
            if name in known:
                yield name, node.lineno  # type: ignore[attr-defined]


def component(module: str) -> str:
    """The component that a module is in."""
    return COMPONENT[module.split(".")[1] if "." in module else module]


def arrows() -> dict[str, list[str]]:
    """By component, from the outside in, the components that it imports."""
    found: dict[str, set[str]] = {name: set() for name in sorted(RANK, key=lambda name: -RANK[name])}
    for one in imports():
        if component(one.module) != component(one.target):
            found[component(one.module)].add(component(one.target))
    return {
        name: sorted(components, key=lambda name: (-RANK[name], name)) for name, components in found.items()
    }


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of more than one node each of which leads to every other one."""
    reach = {node: _reached(node, edges) for node in edges}
    groups = {
        tuple(sorted(other for other in reach[node] | {node} if node in reach.get(other, ())))
        for node in edges
        if node in reach[node]
    }
    return [list(group) for group in sorted(groups)]


def _reached(node: str, edges: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = list(edges[node])
    while todo:
        other = todo.pop()
        if other not in seen:
            seen.add(other)
            todo += edges.get(other, ())
    return seen


ASIDE = {
    "bench": -1.6,
    "info": -5.2,
    "study": 1.0,
    "export": 2.8,
    "memory": -4.4,
    "models": -0.9,
    "energy": -0.9,
    "baselines": 0.8,
    "data": 4.6,
    "adopt": 2.1,
}
"""Where components stand in the picture, from its middle, so that arrows do not run through boxes."""


def draw(found: Mapping[str, list[str]], path: Path) -> None:
    """Components by layer, the outermost on top; an arrow that others imply is left out."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "a2sg", "font.size": 11})
    from matplotlib import pyplot as plt

    blue = "#5a7a9a"
    box = {"boxstyle": "round,pad=0.4", "facecolor": "#eef3f8", "edgecolor": blue}
    figure, axes = plt.subplots(figsize=(9, 8))
    axes.set(xlim=(-5.8, 5.2), ylim=(-0.6, len(LAYERS) - 0.4))
    axes.axis("off")
    texts = {
        name: axes.text(ASIDE.get(name, 0.0), RANK[name], name, ha="center", va="center", bbox=box)
        for name in found
    }
    figure.canvas.draw()  # so that boxes have their sizes
    edges = {name: set(components) for name, components in found.items()}
    for name, components in edges.items():
        for target in sorted(components):  # so that the picture is the same whenever it is drawn
            if not any(target in _reached(other, edges) for other in components):
                ends = {"patchA": texts[name].get_bbox_patch(), "patchB": texts[target].get_bbox_patch()}
                axes.annotate(
                    "",
                    xy=texts[target].get_position(),
                    xytext=texts[name].get_position(),
                    arrowprops={"arrowstyle": "-|>", "color": blue, "shrinkA": 0, "shrinkB": 0, **ends},
                )
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def main() -> None:
    found = arrows()
    draw(found, PICTURE)
    ARROWS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"written: {PICTURE.relative_to(ROOT)}, {ARROWS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

"""Imports point inwards, and none runs in a circle; the picture of them in the docs is today's."""

import json

import pytest

import architecture
from architecture import (
    ARROWS,
    COMPONENT,
    LAYERS,
    RANK,
    ROOT,
    SOURCE,
    arrows,
    circles,
    component,
    imports,
    modules,
)

REDRAW = "docs/images/architecture.svg is not of today: python tests/support/architecture.py"


def test_every_module_is_in_a_room():
    for path in SOURCE.iterdir():
        if path.suffix == ".py" or (path / "__init__.py").is_file():
            name = "a2sg" if path.name == "__init__.py" else path.stem
            assert name in COMPONENT, (
                f"{path.name} is in no component of tests/support/architecture.py: say in which"
            )


def test_no_arrow_points_outwards_or_aside():
    wrong = [
        f"{one.module}:{one.line} imports {one.target}"
        for one in imports()
        if component(one.module) != component(one.target)
        and RANK[component(one.target)] >= RANK[component(one.module)]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_in_a_circle():
    edges = {module: set() for module in modules()}
    for one in imports():
        edges[one.module].add(one.target)
    assert not circles(edges)


def test_the_picture_is_todays():
    assert json.loads(ARROWS.read_text(encoding="utf-8")) == arrows(), REDRAW


def test_the_page_tells_of_every_room():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip(" `") for line in page.splitlines() if line.startswith("| `")]
    assert rows == [name for layer in reversed(LAYERS) for name in layer]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two modules, and what is written into them."""

    def write(**texts):
        folder = tmp_path / "a2sg"
        folder.mkdir()
        for name, text in texts.items():
            path = folder / f"{name.replace('__', '/', 1) if not name.startswith('__') else name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return [(one.module, one.target) for one in imports(folder)]

    return write


@pytest.mark.parametrize(
    "text",
    [
        "import a2sg.window",
        "from a2sg import window",
        "from a2sg.window import Site",
        "from . import window",
        "from .window import Site",
        "def f():\n    import a2sg.window",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a2sg.window import Site",
        "class A:\n    def f(self):\n        with g():\n            from a2sg.window import Site",
    ],
)
def test_an_import_is_seen_wherever_it_stands(package, text):
    assert ("a2sg.kernels", "a2sg.window") in package(__init__="", window="Site = 1", kernels=text)


def test_relative_imports_are_read_from_inside_a_package(package):
    found = package(
        __init__="", kernels__one="from .two import f\nfrom .. import window", kernels__two="", window=""
    )
    assert set(found) == {("a2sg.kernels.one", "a2sg.kernels.two"), ("a2sg.kernels.one", "a2sg.window")}


def test_circles_are_found():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"f"}, "f": {"e"}}
    assert circles(edges) == [["b", "c"], ["e", "f"]]


def test_inner_components_know_nothing_of_outer_ones():
    """The two rules that the order stands for."""
    assert "window" not in arrows()["kernels"]
    assert architecture.RANK["kernels"] < architecture.RANK["window"] < architecture.RANK["neuron"]
    for path in (SOURCE / "window").rglob("*.py"):
        assert "torch.compile(" not in path.read_text(encoding="utf-8")
        assert "_dynamo" not in path.read_text(encoding="utf-8")

"""What `import a2sg` brings, what is imported later, and that torch and numpy are enough for the core."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import a2sg
from places import ROOT

PACKAGING = ROOT / "tests" / "packaging"


def python(code, *arguments):
    """Output of a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, errors="replace"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_brings_the_core_and_nothing_else():
    code = """
import sys, json, torch, numpy
before = set(sys.modules)
import a2sg
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    brought = json.loads(python(code))
    roots = {name.partition(".")[0] for name in brought} - sys.stdlib_module_names
    assert roots <= {"a2sg", "torch"}
    assert not [name for name in brought if name.startswith(("torch._dynamo", "torch._inductor"))]
    components = {name.split(".")[1] for name in brought if name.startswith("a2sg.")}
    outer = {
        "analysis",
        "models",
        "export",
        "baselines",
        "memory",
        "data",
        "training",
        "bench",
        "cli",
        "info",
    }
    assert not components & outer


def test_the_core_works_with_torch_and_numpy_alone():
    command = [sys.executable, str(PACKAGING / "alone.py"), str(PACKAGING / "bare.py")]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the core works alone\n"


def test_what_is_not_allowed_cannot_be_imported(tmp_path):
    (tmp_path / "wish.py").write_text("import numpy, torch, a2sg, json\nimport scipy\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(PACKAGING / "alone.py"), str(tmp_path / "wish.py")],
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'scipy'\n")


@pytest.mark.parametrize("name", [*a2sg.__all__, "analysis", "models"])
def test_every_name_is_there_in_dir_and_of_its_kind(name):
    assert name in dir(a2sg)
    assert getattr(a2sg, name) is vars(a2sg)[name], "asked for once, it is an ordinary name"
    modules = {"surrogate", "baselines", "export", "memory", "analysis", "models"}
    assert (type(getattr(a2sg, name)) is type(sys)) == (name in modules)


def test_a_star_import_a_module_and_help():
    code = """
from a2sg import *
import a2sg, a2sg.surrogate, a2sg.study.inspect.inspection, a2sg.adopt.adapt, a2sg.adopt.spike
assert all(eval(name) is getattr(a2sg, name) for name in a2sg.__all__)
assert callable(a2sg.inspect) and callable(a2sg.analyze) and callable(a2sg.spike) and callable(a2sg.adapt)
assert a2sg.surrogate.Boxcar and a2sg.models.create_model is a2sg.create_model
help(a2sg)
"""
    shown = python(code)
    for name in ("inspect(", "create_model(", "class AdaptiveWindows", "LIF"):
        assert name in shown


def test_no_file_has_the_name_of_a_function():
    files = {path.stem for path in Path(a2sg.__file__).parent.iterdir() if path.suffix in ("", ".py")}
    functions = {name for name in a2sg.__all__ if type(getattr(a2sg, name)) is not type(sys)}
    assert not files & functions


def test_a_wrong_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'a2sg' has no attribute 'inspekt'"):
        a2sg.inspekt  # noqa: B018


def test_type_checkers_see_what_is_imported_later():
    tree = ast.parse(Path(a2sg.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module.removeprefix("a2sg").lstrip(".") or alias.name
        for node in block.body
        for alias in node.names
    }
    assert seen == a2sg._LATER

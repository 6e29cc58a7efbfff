"""Sources stay clear of what Python 3.12 to 3.14 changed, and of what systems other than Linux do otherwise.

docs/platforms.md says what else was looked for.
"""

import ast
import warnings
from functools import cache

import pytest

from places import ROOT

FOLDERS = ("src", "tests", "benchmarks", "evidence", "examples")
FILES = {
    str(file.relative_to(ROOT)): file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))
}
SOURCES = {name: file.read_text(encoding="utf-8") for name, file in FILES.items()}
TREES = {name: ast.parse(text) for name, text in SOURCES.items()}

GONE = set(
    """
asynchat asyncore distutils imp smtpd
aifc audioop cgi cgitb chunk crypt imghdr lib2to3 mailcap msilib nis nntplib ossaudiodev pipes sndhdr spwd
sunau telnetlib uu xdrlib
ast.Bytes ast.Ellipsis ast.NameConstant ast.Num ast.Str
asyncio.get_event_loop asyncio.get_child_watcher asyncio.iscoroutinefunction
codecs.open datetime.datetime.utcnow datetime.datetime.utcfromtimestamp
importlib.abc.ResourceReader importlib.abc.Traversable importlib.find_loader
importlib.resources.contents importlib.resources.is_resource importlib.resources.path
inspect.getargspec locale.getdefaultlocale locale.resetlocale logging.warn
pkgutil.ImpImporter pkgutil.ImpLoader pkgutil.find_loader pkgutil.get_loader
typing.ByteString typing.io typing.re unittest.findTestCases unittest.makeSuite
""".split()  # noqa: SIM905
)
"""Modules and names that 3.12, 3.13 or 3.14 removed, deprecated or gave another meaning."""

ANNOTATIONS = "__annotations__"


def dotted(node):
    """A dotted name as it is written; None for anything else."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return before and f"{before}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else None


def names(tree):
    """Full names of everything that is imported, and of attributes of it."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
                first = alias.name.partition(".")[0]
                known[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield node, f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (name := dotted(node)):
            first, _, rest = name.partition(".")
            if first in known:
                yield node, f"{known[first]}.{rest}"


def removed(tree):
    for node, name in names(tree):
        parts = name.split(".")
        if any(".".join(parts[:length]) in GONE for length in range(1, len(parts) + 1)):
            yield node, name


@cache
def protocols():
    """Every class of the sources that is a Protocol."""
    return {
        node.name
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if (dotted(base.value if isinstance(base, ast.Subscript) else base) or "").endswith("Protocol")
    }


def runtime_protocols(tree):
    """Since 3.12 a check of a Protocol does not see what `__getattr__` gives, such as a module's buffers."""
    known = protocols()
    for node in ast.walk(tree):
        asked = []
        if (
            isinstance(node, ast.Call)
            and dotted(node.func) in ("isinstance", "issubclass")
            and len(node.args) == 2
        ):
            asked = list(ast.walk(node.args[1]))
        elif isinstance(node, ast.MatchClass):
            asked = [node.cls]
        elif isinstance(node, ast.Name | ast.Attribute) and (dotted(node) or "").endswith(
            "runtime_checkable"
        ):
            yield node, "runtime_checkable"
        for name in asked:
            if (last := (dotted(name) or "").rpartition(".")[2]) in known:
                yield node, f"a check of the Protocol {last}"


def raw_annotations(tree):
    """Since 3.14 annotations are made when they are asked for, and do not lie in a class's `__dict__`.

    They may be set.
    """
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute | ast.Subscript)
            and isinstance(node.ctx, ast.Load)
            and ANNOTATIONS
            in (getattr(node, "attr", None), getattr(getattr(node, "slice", None), "value", None))
        ):
            yield node, "annotations read raw: typing.get_type_hints gives them everywhere"


def jumps_out_of_finally(tree):
    """A SyntaxWarning since 3.14."""
    for node in ast.walk(tree):
        for inner in (inner for part in getattr(node, "finalbody", []) for inner in ast.walk(part)):
            if isinstance(inner, ast.Return | ast.Break | ast.Continue):
                yield inner, "a jump out of finally"


def calls(tree):
    """Arguments whose meaning or default changed."""
    unpacks = any(name == "tarfile" for _, name in names(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            given = {keyword.arg for keyword in node.keywords}
            if node.func.attr == "rmtree" and "onerror" in given:
                yield node, "rmtree(onerror=): onexc since 3.12"
            if unpacks and node.func.attr in ("extract", "extractall") and "filter" not in given:
                yield node, "a tar file unpacked without filter=, whose default changed in 3.14"


def partials_of_classes(tree):
    """A partial in the body of a class is to become a method: a FutureWarning since 3.13."""
    for node in ast.walk(tree):
        for line in node.body if isinstance(node, ast.ClassDef) else []:
            value = getattr(line, "value", None)
            if isinstance(value, ast.Call) and (dotted(value.func) or "").rpartition(".")[2] == "partial":
                yield line, "a partial as an attribute of a class"


OPENERS = {
    "open": 1,
    "io.open": 1,
    "os.fdopen": 1,
    "gzip.open": 1,
    "bz2.open": 1,
    "lzma.open": 1,
    "tempfile.NamedTemporaryFile": 0,
    "tempfile.TemporaryFile": 0,
    "tempfile.SpooledTemporaryFile": 1,
}
"""Functions that open a file, and which of their arguments is the mode."""


def system_encodings(tree):
    """Text files in the encoding of the system, which is not UTF-8 everywhere."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or any(keyword.arg == "encoding" for keyword in node.keywords):
            continue
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        name = dotted(node.func) or getattr(node.func, "attr", "")
        last = name.rpartition(".")[2]
        if last in ("read_text", "write_text") and isinstance(node.func, ast.Attribute):
            # Path's methods; our own write_text is a function.
            if len(node.args) < 1 + (last == "write_text"):
                yield node, f"{last} without encoding="
        elif name in ("subprocess.run", "subprocess.Popen", "subprocess.check_output"):
            # What other programs print is in the system's encoding, if in any.
            if {"text", "universal_newlines"} & set(given) and "errors" not in given:
                yield node, f"{name} as text without encoding= or errors="
        elif last == "TextIOWrapper":
            yield node, "TextIOWrapper without encoding="
        elif name in OPENERS:
            place = OPENERS[name]
            mode = given.get("mode", node.args[place] if len(node.args) > place else None)
            if (name in ("open", "io.open", "os.fdopen") and mode is None) or _text_modes(mode):
                yield node, f"{name} without encoding="
        elif last == "open" and isinstance(node.func, ast.Attribute):
            mode = given.get("mode", node.args[0] if node.args else None)
            if (not node.args and not given) or _text_modes(mode):
                yield node, "Path.open without encoding="


def _text_modes(mode):
    """Whether an argument is, or may be, a mode for text."""
    modes = [part.value for part in ast.walk(mode) if isinstance(part, ast.Constant)] if mode else []
    return any(isinstance(text, str) and text and not set(text) - set("rwax+t") for text in modes)


RULES = (
    removed,
    runtime_protocols,
    raw_annotations,
    jumps_out_of_finally,
    calls,
    partials_of_classes,
    system_encodings,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_sources_use_nothing_that_later_pythons_changed(rule):
    found = [f"{name}:{node.lineno}: {what}" for name, tree in TREES.items() for node, what in rule(tree)]
    assert not found


def test_sources_compile_without_a_warning():
    """Invalid escapes are a SyntaxWarning since 3.12, and will be an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, text in SOURCES.items():
            compile(text, name, "exec")


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (removed, "import distutils.util"),
        (removed, "from datetime import datetime as d\nd.utcnow()"),
        (removed, "import importlib.abc as a\na.Traversable"),
        (runtime_protocols, "import typing\n@typing.runtime_checkable\nclass A: ..."),
        (runtime_protocols, "isinstance(x, int | (backend.Backend))"),
        (runtime_protocols, "match x:\n    case Backend(): ..."),
        (raw_annotations, "vars(A)['__annotations__']"),
        (jumps_out_of_finally, "def f():\n    try: ...\n    finally:\n        if x: return"),
        (calls, "import tarfile\ntarfile.open(f).extractall(out)"),
        (calls, "shutil.rmtree(f, onerror=g)"),
        (partials_of_classes, "class A:\n    f = functools.partial(g, 1)"),
        (system_encodings, "open(path)"),
        (system_encodings, "open(path, 'w')"),
        (system_encodings, "path.open()"),
        (system_encodings, "path.open(newline='', mode='a' if more else 'w')"),
        (system_encodings, "path.read_text()"),
        (system_encodings, "path.write_text(text)"),
        (system_encodings, "gzip.open(path, 'rt')"),
        (system_encodings, "tempfile.NamedTemporaryFile('w')"),
        (system_encodings, "subprocess.run(words, text=True)"),
    ],
)
def test_the_rules_find_what_they_look_for(rule, text):
    assert list(rule(ast.parse(text)))

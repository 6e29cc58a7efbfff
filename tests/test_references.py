"""What pages, docstrings and comments name as ours exists: files, objects, commands, options, recipes."""

import ast
import importlib
import io
import re
import sys
import tokenize
from contextlib import redirect_stdout
from functools import cache

import pytest

from a2sg import cli
from a2sg.training.recipe import recipes as known_recipes
from places import ROOT

FOLDERS = ("src", "tests", "docs", "benchmarks", "evidence", "examples", ".ci")
SCRIPTS = ("Makefile", "pyproject.toml", "mkdocs.yml", "constraints.txt", ".ci/run")
PATH = re.compile(rf"(?<![\w/.~-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*[\w/](?![\w*{{<$])")
BARE = re.compile(r"(?<![\w/.*<-])\w+\.py\b(?!/)")
"""A Python file, by its name alone."""
NAME = re.compile(r"(?<![\w./-])a2sg(?:\.\w+)+")
SPAN = re.compile(r"`([^`\n]+)`")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w.-]*")
THEIRS = {"--extra-index-url", "--gpus-per-node", "--gpus-per-task", "--model"}
"""Options of pip and of srun, and what was one of ours."""


def released(page):
    """Where what is history begins."""
    found = list(re.finditer(r"^## \[", page, re.MULTILINE))
    return found[1].start() if len(found) > 1 else len(page)


def prose(source):
    """Docstrings (those of attributes too) and comments."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.value.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def texts():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "evidence").glob("*.md")]:
        text = page.read_text(encoding="utf-8")
        yield page, text[: released(text)] if page.name == "CHANGELOG.md" else text
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*.py"):
            yield file, "\n".join(prose(file.read_text(encoding="utf-8")))
    recipes = (ROOT / "src" / "a2sg" / "training" / "recipes").glob("*.yaml")
    for file in [*(ROOT / name for name in SCRIPTS), *recipes]:
        yield file, file.read_text(encoding="utf-8")


TEXTS = {str(file.relative_to(ROOT)): text for file, text in texts()}


@cache
def files():
    return {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}


def missing_files(text):
    for path in PATH.findall(text):
        placeholder = any(re.fullmatch("[A-Z]+", part) for part in path.split("/"))
        if not placeholder and not (ROOT / path).exists():
            yield path
    yours = (name for name in BARE.findall(text) if not name.startswith("my_"))
    yield from (name for name in yours if name not in files())
    named = (name for name in SPAN.findall(text) if re.fullmatch(r"[\w-]+\.(toml|cff)", name))
    yield from (name for name in named if not (ROOT / name).exists())


def missing_objects(text):
    return (name for name in NAME.findall(text) if not exists(name))


@cache
def exists(name):
    """Whether a dotted name can be imported, or is an attribute of what can."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            if not hasattr(found, attribute):
                return False
            found = getattr(found, attribute)
        return True
    return False


@cache
def options():
    """What the commands say they take."""
    with redirect_stdout(io.StringIO()) as shown:
        for words in ([], *([command] for command in cli.COMMANDS)):
            assert cli.main([*words, "--help"]) == 0
    return set(re.findall(r"--[a-z_.-]*[a-z_]", shown.getvalue())) | {"--version"} | THEIRS


@cache
def options_of(*scripts):
    """What files say they take."""
    return {option for script in scripts for option in OPTION.findall(script.read_text(encoding="utf-8"))}


def commands(text):
    """Lines of shell and spans of code that run this package or a file of it, or that name an option."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for words in (re.sub(r"\s#.*", "", line) for line in lines + SPAN.findall(text)):
        script = PATH.search(words)
        if re.match(r"(?:\S*/)?a2sg\b|--", words) or (script and (ROOT / script.group()).is_file()):
            yield words, script


def missing_options(text):
    for words, script in commands(text):
        if words.startswith("--"):
            known = options() | options_of(
                *(ROOT / "benchmarks").glob("*.py"), *(ROOT / "evidence").glob("*.py")
            )
        elif script and (ROOT / script.group()).is_file():
            known = options_of(ROOT / script.group())
        else:
            known = options()
        for option in OPTION.findall(words):
            if re.sub(r"\.options\..*", ".options", option.rstrip(".")) not in known:
                yield f"{option} of {words}"


def missing_commands(text):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for words, _ in commands(text):
        if (match := re.match(r"a2sg ([a-z]+)\b(?: ([a-z][\w-]*)(?![\w./*-]))?", words)) is not None:
            command, recipe = match.groups()
            if command not in cli.COMMANDS:
                yield words
            elif command in ("train", "compare") and recipe and recipe not in known_recipes():
                yield f"{recipe} of {words}"
    for words in SPAN.findall(text):
        if (match := re.match(r"make ([a-z-]+)", words)) and match.group(1) not in targets:
            yield words


RULES = (missing_files, missing_objects, missing_options, missing_commands)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_what_is_named_exists(rule):
    assert not [f"{name}: {fault}" for name, text in TEXTS.items() for fault in rule(text)]


@pytest.mark.parametrize(
    ("rule", "text", "fault"),
    [
        (missing_files, "as benchmarks/formats.py says", "benchmarks/formats.py"),
        (missing_files, "(`docs/gone.md`).", "docs/gone.md"),
        (missing_files, "see `tests/gone/`", "tests/gone/"),
        (missing_files, "by gone.py", "gone.py"),
        (missing_objects, "`a2sg.gone(x)`", "a2sg.gone"),
        (missing_objects, "::: a2sg.window.Gone", "a2sg.window.Gone"),
        (missing_options, "`--gone 3`", "--gone of --gone 3"),
        (missing_options, "```sh\na2sg list --gone\n```", "--gone of a2sg list --gone"),
        (missing_options, "`benchmarks/import_time.py --gone`", "--gone of benchmarks/import_time.py --gone"),
        (missing_commands, "`a2sg gone`", "a2sg gone"),
        (missing_commands, "`a2sg train gone --seed 1`", "gone of a2sg train gone --seed 1"),
        (missing_commands, "`make gone`", "make gone"),
    ],
)
def test_what_does_not_exist_is_found(rule, text, fault):
    assert list(rule(text)) == [fault]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_what_is_others_is_left_alone(rule):
    text = (
        "https://pytorch.org/docs/stable/x.html, `pip install --no-deps x`, `a2sg train mine.yaml --seed 1`, "
    )
    assert not list(rule(text + "tests/test_*.py, docs/NAME{.md,.html}, `a2sg bench --only lif,train`"))


SCRIPT = re.compile(
    r"(?:PYTHONPATH=(?P<path>\S+) )?(?:[\w./$()]+/)?(?<!\w)python (?P<script>(?:[a-z]+/)+\w+\.py)"
)
"""As one types it."""


def test_scripts_that_are_named_find_our_files_that_they_import():
    """Beside them, or where the line itself says."""
    ours = {
        path.name for folder in ("tests", "evidence", "benchmarks") for path in (ROOT / folder).rglob("*.py")
    }
    named = {found.group("script", "path") for text in TEXTS.values() for found in SCRIPT.finditer(text)}
    assert len(named) > 20
    for script, path in sorted(named, key=str):
        places = [(ROOT / script).parent, *(ROOT / place for place in (path or "").split(":"))]
        for node in ast.walk(ast.parse((ROOT / script).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for file in {f"{name}.py" for name in names if name not in sys.stdlib_module_names} & ours:
                assert any((place / file).exists() for place in places), f"{script}: {file}"

"""Not everyone has Linux and English: output in ASCII and code pages, text files in UTF-8 everywhere."""

import ast
import io
import json
import os
import subprocess
import sys

import pytest

from a2sg.cli import COMMANDS, main
from a2sg.listing import TOPICS
from a2sg.terminal import page, plain_output, spelled
from places import ROOT

NAME = "über β 中文 x"
RECIPE = """\
# комментарий 中文
epochs: 1
model: {name: mlp_small, steps: 2, options: {in_channels: 1, image_size: 8, hidden: [8]}}
windows: {every: 9}
data: {name: digits, batch_size: 64}
"""
SEVERAL = """
import sys
from a2sg.cli import main
for words in WORDS:
    status = main(words)
    if status:
        sys.exit(f"{words} ended with {status}")
"""


def run(commands, encoding, folder, **environment):
    """Run commands in one process whose output has an encoding that refuses what it lacks; return it."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL.replace("WORDS", ascii(commands))],
        cwd=folder,
        env=known
        | {"PYTHONIOENCODING": f"{encoding}:strict", "OMP_NUM_THREADS": "1"}
        | {"PYTHONPATH": str(ROOT / "src")}
        | environment,
        capture_output=True,
    )
    assert not done.returncode, done.stderr.decode(encoding, "replace")
    return done.stdout.decode(encoding)


@pytest.mark.parametrize(
    ("letter", "text"),
    [
        ("β", "beta"),
        ("Σ", "Sigma"),
        ("δ", "delta"),
        ("λ", "lambda"),
        ("²", "2"),
        ("ü", "u"),
        ("±", "+-"),
        ("µ", "mu"),
        ("ᵀ", "T"),
        ("⌊", "["),
        ("中", "?"),
        ("\udcff", "?"),
    ],
)
def test_spelling(letter, text):
    assert spelled(letter) == text


def test_every_sign_of_ours_has_a_spelling():
    texts = [
        node.value
        for file in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    letters = {letter for text in texts for letter in text if letter.isprintable() and not letter.isascii()}
    assert len(letters) > 20
    assert {letter for letter in letters if spelled(letter) == "?"} <= {"\N{REPLACEMENT CHARACTER}"}


def test_output_keeps_what_its_encoding_has(monkeypatch):
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="cp1252") for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    plain_output()
    for stream in streams:
        stream.write("ü ± β → 中")
        stream.flush()
        assert stream.buffer.getvalue().decode("cp1252") == "ü ± beta -> ?"


def test_lists_and_help_in_ascii(tmp_path):
    """The C locale, as in many containers and cron."""
    commands = [["list", topic] for topic in TOPICS] + [[name, "--help"] for name in COMMANDS]
    text = run(commands, "ascii", tmp_path, LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0")
    assert "usage: a2sg train" in text
    assert "vgg_small" in text


def c_locale(folder, *words):
    """A command in the C locale, with Python's UTF-8 mode off."""
    known = {
        name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))
    }
    return subprocess.run(
        [sys.executable, "-m", "a2sg", *words],
        cwd=folder,
        env=known
        | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
    )


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows knows no C locale")
def test_names_in_any_script_in_the_c_locale(tmp_path):
    """Where Python takes names of files to be ASCII; also that of the folder, and one inside a recipe."""
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / "réc.yaml").write_text(RECIPE, encoding="utf-8")
    for words in (
        ["train", "réc.yaml", "--out", f"{NAME}1"],
        ["inspect", f"{NAME}1", "--out", f"{NAME} inspected"],
    ):
        done = c_locale(folder, *words)
        assert not done.returncode, done.stderr
        assert done.stdout.isascii()
    page = (folder / f"{NAME} inspected" / "inspection.html").read_text(encoding="utf-8")
    assert f"{NAME}1" in page
    done = c_locale(folder, "evaluate", "β")
    assert done.returncode == 2
    assert done.stderr.decode("ascii").strip() == "a2sg: error: beta is not a run folder: it does not exist"


@pytest.mark.parametrize("words", [["train", "digits", "--out", "w\udcfcr"], ["evaluate", "\udcff"]])
def test_names_that_are_not_utf_8_are_told_before_anything_runs(words, capsys):
    assert main(words) == 2
    assert "is not UTF-8: rename" in capsys.readouterr().err


@pytest.mark.parametrize("page", ["cp1252", "gbk"])
def test_runs_under_a_code_page(tmp_path, page):
    """Recipes, runs and results, in a folder whose name it cannot write either."""
    folder = tmp_path / NAME / ("long " * 30).strip()
    folder.mkdir(parents=True)
    (folder / "réc.yaml").write_text(RECIPE, encoding="utf-8")
    commands = [
        ["train", "réc.yaml", "--out", f"{NAME}1"],
        ["train", "réc.yaml", "--seed", "1", "--out", f"{NAME}2"],
        ["evaluate", f"{NAME}1"],
        ["inspect", f"{NAME}1", "--out", f"{NAME} inspected"],
        ["analyze", f"{NAME}1", f"{NAME}2", "--only", "energy", "--out", f"{NAME} analyzed"],
    ]
    support = ROOT / "tests" / "support" / "code_page"
    text = run(
        commands,
        page,
        folder,
        A2SG_TEST_CODE_PAGE=page,
        PYTHONPATH=os.pathsep.join([str(support), str(ROOT / "src")]),
    )
    assert "test accuracy" in text
    assert ("中文" in text) == (page == "gbk")
    page = (folder / f"{NAME} inspected" / "inspection.html").read_text(encoding="utf-8")
    assert f"{NAME}1" in page
    assert json.loads((folder / f"{NAME} analyzed" / "analysis.json").read_text(encoding="utf-8"))
    assert not list(folder.rglob("*.part"))


class Closed(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, text):
        raise BrokenPipeError


def test_a_table_for_a_closed_pipe_is_no_end_of_the_process(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(BrokenPipeError):
        page(80).print("a table")


def test_what_is_left_for_a_closed_pipe_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "a2sg", "list", "neurons"],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")

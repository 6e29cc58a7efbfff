"""The words of the project: none of the turns of phrase that cost every reader effort, and no misspelling."""

import subprocess
import sys

import pytest

from places import ROOT
from prose import INSTEAD, UNREAD, faults, files


def test_no_page_and_no_source_has_one():
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files()}
    assert not [str(fault) for name, text in texts.items() for fault in faults(text, name)]


def test_what_is_looked_through():
    names = {path.relative_to(ROOT).as_posix() for path in files()}
    assert {"README.md", "docs/start.md", "src/a2sg/cli.py", "examples/first_network.ipynb"} <= names
    assert "src/a2sg/training/recipes/digits.yaml" in names
    assert not names & UNREAD


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("fine\nIt is put on a function", 2, "It is put on a"),
        ("a network of\nyour own", 1, "network of your own"),
        ("# which nobody\n# waits for", 1, "nobody # waits"),
        ("computed Anew", 1, "Anew"),
        ("x\n\nand is left out and named", 3, "left out and named"),
    ],
)
def test_each_is_found_with_its_line(text, line, found):
    (fault,) = faults(text, "page.md")
    assert fault.place == f"page.md:{line}"
    assert fault.found == found
    assert fault.instead in INSTEAD.values()


def test_words_that_only_look_like_them_are_left_alone():
    text = "your own network; put it on a function; runs are told apart; renewed"
    code = "def record(path, *, anew: bool): write(path, anew=anew); require(anew or known)"
    assert not list(faults(code, "code.py"))
    assert not list(faults(text, "page.md"))


def test_the_examples_of_what_not_to_write_do_not_count():
    page = "| not | but |\n|---|---|\n| Nobody waits | No call waits |\n\nNobody waits\n"
    assert [fault.place for fault in faults(page, "page.md")] == ["page.md:5"]


def test_as_a_command_it_fails_where_there_is_one(tmp_path):
    command = [sys.executable, str(ROOT / "tests" / "support" / "prose.py")]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    copy = tmp_path / "tests" / "support" / "prose.py"
    copy.parent.mkdir(parents=True)
    copy.write_bytes((ROOT / "tests" / "support" / "prose.py").read_bytes())
    (tmp_path / "README.md").write_text("a loop of your own\n", encoding="utf-8")
    done = subprocess.run([sys.executable, str(copy)], capture_output=True, text=True, errors="replace")
    assert done.returncode == 1
    assert done.stdout == "README.md:1: 'loop of your own': your own …\n"


def spelled(folder, *files):
    """What codespell says about files, by the settings of the project."""
    pytest.importorskip("codespell_lib")
    command = [sys.executable, "-m", "codespell_lib", "--toml", str(ROOT / "pyproject.toml"), *files]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")


def test_a_misspelling_is_found_and_our_words_are_none(tmp_path):
    (tmp_path / "page.md").write_text("Ther is a winodw.\n", encoding="utf-8")
    done = spelled(tmp_path, "page.md")
    assert done.returncode
    assert "Ther ==> " in done.stdout
    (tmp_path / "page.md").write_text(
        "lamda, which Unicode calls so; initialise the centre.\n", encoding="utf-8"
    )
    assert not spelled(tmp_path, "page.md").stdout

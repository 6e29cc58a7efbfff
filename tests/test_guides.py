"""The short guides, docs/learn and docs/howto: what they tell you to type works, in their order."""

import pytest
import torch

from a2sg import cli
from pages import Block, blocks, commands
from places import ROOT

GUIDES = sorted([*(ROOT / "docs" / "learn").glob("*.md"), *(ROOT / "docs" / "howto").glob("*.md")])
FIVE_MINUTES = 1000
"""Words, at 200 a minute."""

every_guide = pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("A2SG_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small tensors: more threads only wait for each other
    yield tmp_path
    torch.set_num_threads(threads)


def run(block, guide, names):
    if block.language == "python":
        exec(compile(block.text, f"{guide.name}: {block.text.splitlines()[0]}", "exec"), names)
    else:
        for words in commands(block):
            assert words[0] == "a2sg", f"{guide.name} runs {words[0]}, which no test does"
            assert cli.main(words[1:]) == 0, f"{guide.name}: {' '.join(words)}"


@every_guide
def test_its_python_runs(guide, here):
    names = {"__name__": "guide"}
    for block in blocks(guide, "python"):
        run(block, guide, names)


@pytest.mark.slow
@every_guide
def test_all_of_it_runs(guide, here):
    names = {"__name__": "guide"}
    assert blocks(guide, "sh")
    for block in blocks(guide, "python", "sh"):
        run(block, guide, names)


@every_guide
def test_it_takes_five_minutes(guide):
    assert len(guide.read_text(encoding="utf-8").split()) < FIVE_MINUTES


def test_a_command_that_fails_is_seen(here, capsys):
    with pytest.raises(AssertionError, match="gone"):
        run(Block("sh", "a2sg train gone  # no such recipe\n"), ROOT / "README.md", {})
    with pytest.raises(AssertionError, match="which no test does"):
        run(Block("sh", "rm -r x\n"), ROOT / "README.md", {})
    assert "gone" in capsys.readouterr().err

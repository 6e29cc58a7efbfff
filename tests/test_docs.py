"""The documents agree with the repository: links lead somewhere, code runs, versions are these."""

import re
import subprocess
import sys
import tomllib
from itertools import chain

import pytest
import torch
import yaml

import a2sg
from a2sg.training.recipe import load_recipe
from notebooks import FOLDER, NOTEBOOKS
from pages import blocks
from places import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
RUN = [ROOT / "docs" / f"{name}.md" for name in ("start", "recurrent", "method", "export", "spikes", "steps")]

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def text_of(page):
    """The page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def python_blocks(page):
    return [block.text for block in blocks(page, "python")]


def anchors(page):
    """What a link may name after `#`: the words of a heading, joined by hyphens."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())) for heading in headings}


@every_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target} does not exist"
        assert not anchor or anchor in anchors(file), f"{target}: no such heading"


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small tensors: more threads only wait for each other
    code = python_blocks(page)
    assert code
    names = {"__name__": "docs"}
    try:
        for number, block in enumerate(code, start=1):
            exec(compile(block, f"{page.name}, block {number}", "exec"), names)
    finally:
        torch.set_num_threads(threads)


def test_readme_loop_is_short_and_learns():
    (block,) = python_blocks(ROOT / "README.md")
    torch.manual_seed(0)
    assert len([line for line in block.splitlines() if line]) <= 20
    names = {}
    exec(block, names)
    assert names["loss"].item() < 0.5
    assert not torch.equal(names["net"][1].window, torch.ones(4))


def test_every_page_is_in_the_navigation():
    def files(entry):
        if isinstance(entry, str):
            return [entry]
        return [
            name for value in (entry.values() if isinstance(entry, dict) else entry) for name in files(value)
        ]

    listed = files(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    written = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    made = [f"{FOLDER}/{notebook.stem}.md" for notebook in NOTEBOOKS]
    assert sorted(listed) == sorted(written + made)


def test_pages_build_and_need_no_network(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert pages
    for page in pages:
        loaded = re.findall(
            r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"(https?://[^\"]+)",
            page.read_text(encoding="utf-8"),
        )
        assert not loaded, f"{page.name} loads {loaded}"


def test_the_written_out_recipe_is_one(tmp_path):
    (block,) = re.findall(
        r"```yaml\n(.*?)```", (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )
    (tmp_path / "mine.yaml").write_text(block, encoding="utf-8")
    config = load_recipe(str(tmp_path / "mine.yaml"))
    assert config.windows.every == yaml.safe_load(block)["windows"]["every"]


def test_every_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    rows = re.findall(
        r"^\| ([^|]+) \|", (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    reasoned = {name for row in rows for name in row.split(", ")}
    groups = [
        project["project"]["dependencies"],
        project["build-system"]["requires"],
        *project["project"]["optional-dependencies"].values(),
    ]
    for requirement in chain.from_iterable(groups):
        name = re.match(r"[\w-]+", requirement).group()
        assert name == "a2sg" or name in reasoned, f"{name} has no row"


def test_citation_names_the_paper_and_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == a2sg.__version__
    assert citation["license"] == "Apache-2.0"
    for work in (citation, citation["preferred-citation"]):
        assert {"authors", "title", "type"} <= work.keys()
        assert all({"name", "family-names"} & author.keys() for author in work["authors"])
    assert citation["message"]
    assert citation["preferred-citation"]["identifiers"][0]["value"] == "arXiv:2606.11236"


def test_changelog_knows_this_version():
    assert f"## [{a2sg.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_licence_is_the_declared_one():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text

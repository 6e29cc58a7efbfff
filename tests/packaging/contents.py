"""Fails where a wheel or a source archive lacks a file of the checkout that it should have, or has another.

Called as `contents.py WHEEL SDIST`.
"""

import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def package() -> set[str]:
    """The files of the package in the checkout."""
    files = (path for path in (ROOT / "src" / "a2sg").rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT / "src")) for path in files if "__pycache__" not in path.parts}


def main() -> None:
    wheel, sdist = sys.argv[1:]
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert "a2sg/py.typed" in names
    assert any(name.endswith("recipes/digits.yaml") for name in names)
    assert names == package(), sorted(names ^ package())
    print(f"{Path(wheel).name}: {len(names)} files of the package, and no others")

    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {f"src/{name}" for name in package()}
    for folder in ("tests", "docs", "examples", "benchmarks", "evidence"):
        files = (path for path in (ROOT / folder).rglob("*") if path.is_file())
        wanted |= {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}
    wanted |= {"pyproject.toml", "constraints.txt", "Makefile", "mkdocs.yml", "LICENSE", "CITATION.cff"}
    wanted |= {"README.md", "CHANGELOG.md", "CONTRIBUTING.md"}
    assert wanted <= packed, sorted(wanted - packed)
    print(f"{Path(sdist).name}: {len(packed)} files, with all that the tests need")


if __name__ == "__main__":
    main()

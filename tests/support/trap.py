"""A module whose import leaves a trace, and a watch over what Python is asked to import or run."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MODULE = "a2sg_trap"
COMMAND = "touch PWNED"
STARTS = {"os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen"}

_watched: list[tuple[str, tuple[object, ...]]] | None = None


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _watched is None:
        return
    ours = any(word in str(arguments) for word in (MODULE, COMMAND))  # compilers are started too
    if ours and (event == "import" or event in STARTS):
        _watched.append((event, arguments))


sys.addaudithook(_hook)  # it cannot be taken away again


def set_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the module importable; its class leaves a trace too."""
    trace = folder / "TRACE"
    code = f"open({str(trace)!r}, 'a').write('imported ')\nclass Trap:\n"
    code += f"    def __init__(self, *_, **__):\n        open({str(trace)!r}, 'a').write('called ')\n"
    (folder / f"{MODULE}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))


@contextmanager
def untouched(folder: Path, cwd: Path) -> Iterator[None]:
    """Inside, nothing is started, the module is not imported, and `cwd` gets no file."""
    global _watched
    before, _watched = set(cwd.iterdir()), []
    try:
        yield
        seen = _watched
    finally:
        _watched = None
        sys.modules.pop(MODULE, None)
    assert not seen, f"asked for: {seen}"
    assert not (folder / "TRACE").exists(), (folder / "TRACE").read_text(encoding="utf-8")
    assert set(cwd.iterdir()) == before, f"written: {set(cwd.iterdir()) - before}"

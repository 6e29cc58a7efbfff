"""A module whose import leaves a trace, and a watch over what Python is asked to import or run."""

import sys
from contextlib import contextmanager

MODULE = "a2sg_trap"
COMMAND = "touch PWNED"
STARTS = {"os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen"}

_watched = None


def _hook(event, arguments):
    if _watched is None:
        return
    ours = any(word in str(arguments) for word in (MODULE, COMMAND))  # compilers are started too
    if ours and (event == "import" or event in STARTS):
        _watched.append((event, arguments))


sys.addaudithook(_hook)  # it cannot be taken away again


def set_up(folder, monkeypatch):
    """Make the module importable; its class leaves a trace too."""
    trace = folder / "TRACE"
    code = f"open({str(trace)!r}, 'a').write('imported ')\nclass Trap:\n"
    code += f"    def __init__(self, *_, **__):\n        open({str(trace)!r}, 'a').write('called ')\n"
    (folder / f"{MODULE}.py").write_text(code)
    monkeypatch.syspath_prepend(str(folder))


@contextmanager
def untouched(folder, cwd):
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
    assert not (folder / "TRACE").exists(), (folder / "TRACE").read_text()
    assert set(cwd.iterdir()) == before, f"written: {set(cwd.iterdir()) - before}"

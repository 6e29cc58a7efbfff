"""Keeping freed memory: the process stops faulting fresh pages in."""

import platform
import resource
import subprocess
import sys

import pytest

from a2sg import cli
from a2sg.memory import keep_pages, pages
from a2sg.training import run

WORK = """
import resource, sys
import numpy as np
import a2sg.memory
if sys.argv[1] == "keep":
    assert a2sg.memory.keep_pages()
for _ in range(3):
    np.ones(2**23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    np.ones(2**23)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(setting):
    done = subprocess.run(
        [sys.executable, "-c", WORK, setting], capture_output=True, text=True, check=True, errors="replace"
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_kept_pages_are_not_faulted_in_again():
    freed = 3 * 8 * 2**23 // resource.getpagesize()
    assert faults("keep") < freed / 20
    assert faults("leave") > 10 * faults("keep")


def test_elsewhere_it_says_no(monkeypatch):
    monkeypatch.setattr(pages.platform, "libc_ver", lambda: ("", ""))
    assert keep_pages() is False


def test_training_from_the_command_line_keeps_them(monkeypatch, tmp_path):
    kept = []

    def stop(*_, **__):
        raise run.Interrupted(str(tmp_path / "run"))

    monkeypatch.setattr(pages, "keep_pages", lambda: kept.append(True))
    monkeypatch.setattr(run, "train", stop)
    assert cli.main(["train", "digits", "--out", str(tmp_path / "run")]) == 130
    assert kept == [True]

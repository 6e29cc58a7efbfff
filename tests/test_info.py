"""`a2sg info` against what this machine, or one that is made up, says of itself."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import a2sg
from a2sg import cli, info
from a2sg.allowance import cores
from a2sg.kernels import backends

GIB = 2**30


def run(path=None, **variables):
    """What a process of its own says, with another search path for programs."""
    environment = {**os.environ, **variables} | ({} if path is None else {"PATH": str(path)})
    environment.pop("CXX", None)
    done = subprocess.run(
        [sys.executable, "-m", "a2sg", "info", "--json"],
        capture_output=True,
        text=True,
        env=environment,
        errors="replace",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_versions_and_machine():
    found = info.environment()
    assert found["versions"] == {
        "a2sg": a2sg.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": found["versions"]["triton"],
        "numpy": np.__version__,
    }
    assert found["cores"] == cores()
    assert found["threads"] == torch.get_num_threads()
    assert found["devices"][0]["device"] == "cpu"
    assert len(found["devices"]) == 1 + torch.cuda.device_count()


def test_the_compiler_is_the_one_that_is_found(tmp_path):
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\necho Mine 1.2\necho more\n", encoding="utf-8")
    compiler.chmod(0o755)
    found = run(tmp_path)
    assert found["compiler"] == "Mine 1.2"
    assert found["devices"][0]["backend"] == "compiled"


def test_without_a_compiler_neurons_take_the_reference(tmp_path):
    found = run(tmp_path)
    assert found["compiler"] is None
    assert found["devices"][0]["backend"] == "reference"
    assert found["devices"][0]["why"] == "no C++ compiler was found"


def test_a_compiler_that_failed_is_the_reason(monkeypatch):
    monkeypatch.setitem(backends._broken, ("compiled", "cpu"), "compilation failed (no space)")
    (cpu, *_) = info.environment()["devices"]
    assert (cpu["backend"], cpu["why"]) == ("reference", "compilation failed (no space)")


@pytest.mark.parametrize(
    ("kind", "name", "memory", "backend"),
    [("cuda", "Fast One", 80 * GIB, "compiled"), ("mps", "mps", None, "reference")],
)
def test_every_device_has_a_backend(monkeypatch, kind, name, memory, backend):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(kind))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    properties = SimpleNamespace(name="Fast One", total_memory=80 * GIB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    found = info.environment()
    assert [device["device"] for device in found["devices"]] == ["cpu", f"{kind}:0", f"{kind}:1"]
    for device in found["devices"][1:]:
        assert (device["name"], device["memory"], device["backend"]) == (name, memory, backend)
    text = "\n".join(info.lines(found))
    assert f"{kind}:1" in text
    assert ("Fast One, 80 GiB" in text) == (kind == "cuda")


def test_an_extra_lists_what_it_adds_and_what_is_missing(monkeypatch):
    requirements = [
        "torch>=2.6",
        'numpy>=2; extra == "train"',
        "not-there[all]<2,>=1; extra == 'train'",
        "numpy>=2; extra == 'events'",
        "not-there[all]<2,>=1; extra == 'events'",
        "nor.this; extra == 'events'",
        "pytest; extra == 'dev'",
    ]
    monkeypatch.setattr(info.metadata, "requires", lambda name: requirements)
    found = info.environment()
    assert found["extras"] == {
        "events": {"nor.this": None},
        "train": {"not-there": None, "numpy": np.__version__},
    }
    *_, events, train = info.lines(found)
    assert events.split("  ")[-1] == "missing: nor.this (pip install 'a2sg[events]')"
    assert f"numpy {np.__version__}; missing: not-there (pip install 'a2sg[train]')" in train


def test_the_source_alone_has_no_extras(monkeypatch):
    def requires(name):
        raise info.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(info.metadata, "requires", requires)
    assert info.environment()["extras"] == {}


def test_the_command_says_it_in_lines_or_in_json(capsys):
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    assert cli.main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == info.environment()
    assert text.splitlines() == info.lines(found)
    for fact in (a2sg.__version__, torch.__version__, found["devices"][0]["why"], found["system"]):
        assert fact in text

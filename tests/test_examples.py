"""Every example runs as a script, and does what it says."""

import ast
import importlib
import os
import subprocess
import sys

import pytest
import torch

from places import ROOT

EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


@pytest.fixture
def example(monkeypatch):
    """Import an example by name, as its neighbours do."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small tensors: more threads only wait for each other
    yield importlib.import_module
    torch.set_num_threads(threads)
    for script in SCRIPTS:
        sys.modules.pop(script.stem, None)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_runs_as_a_script(script, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    torchs_own = "ignore:Implicitly cleaning up:ResourceWarning"  # of torch 2.6, as the process ends
    command = [sys.executable, "-W", "error", "-W", torchs_own, str(script), "1"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, errors="replace"
    )
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    assert not done.stderr
    assert not list(tmp_path.iterdir()), "an example leaves nothing behind"


def test_the_bare_loop_learns_and_its_windows_move(example):
    net, windows, losses, accuracy = example("bare_loop").main(epochs=3)
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert accuracy > 0.8
    searches = (len(losses) - 1) // windows.every
    assert searches > 0
    assert len(windows.history) == searches * 2 * net.lif1.steps
    for neuron in (net.lif1, net.lif2):
        assert ((neuron.window >= 0.1) & (neuron.window <= 1.0)).all()
        assert not torch.equal(neuron.window, torch.ones(neuron.steps))


def test_the_bare_loop_is_short_and_needs_the_core_alone():
    source = (EXAMPLES / "bare_loop.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) < 60
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert imported == {"sys", "torch", "sklearn.datasets", "a2sg"}
    loaded = "import sys, bare_loop; print('lightning' in sys.modules)"
    command = [sys.executable, "-c", loaded]
    done = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, check=True, errors="replace")
    assert done.stdout.strip() == "False"


def test_streaming_gives_what_the_whole_pass_gives(example):
    streaming = example("streaming")
    net, images, accuracies = streaming.main(epochs=1)
    assert len(accuracies) > net.lif1.steps
    assert accuracies[-1] > 0.5
    states, streamed = [None, None], []
    with torch.no_grad():
        for _ in range(net.lif1.steps):
            logits, states = streaming.stream(net, images, states)
            streamed.append(logits)
        torch.testing.assert_close(torch.stack(streamed), net(images), atol=1e-4, rtol=1e-4)

"""Run folders of strangers: a whole checkpoint that holds something else, damaged tables, odd summaries."""

import json
import warnings
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from a2sg import cli
from a2sg.analysis import arm_points, run_history
from a2sg.errors import InputError
from a2sg.files import JSON
from a2sg.study.report.runs import find_runs
from a2sg.study.report.variation import LAYERS, observed
from a2sg.training.checkpoints import CHECKPOINT
from a2sg.training.folders import read_run_config, read_summary
from a2sg.training.pictures import run_pictures
from a2sg.training.tables import arm_results, notes, print_summary, print_table
from mutations import changes, mutated, read_or_told
from tiny import TINY


def changed(*path):
    """A checkpoint with the last of `path` in the place that those before lead to."""

    def change(state):
        *places, last, value = path
        at = state
        for place in places:
            at = at[place]
        at[last] = value
        return state

    return change


ELSE = {
    "nothing of it": lambda state: {"x": 1},
    "a list": lambda state: [1, 2],
    "no windows": lambda state: {name: value for name, value in state.items() if name != "windows"},
    "weights that are a list": changed("state_dict", [1]),
    "a weight that is text": changed("state_dict", "model.fc1.synapse.weight", "x"),
    "a weight of another shape": changed("state_dict", "model.fc1.synapse.weight", torch.zeros(3)),
    "windows that are text": changed("windows", "x"),
    "an iteration that is text": changed("windows", "iteration", "x"),
    "seconds that are a list": changed("windows", "seconds", [1]),
    "a history of numbers": changed("windows", "history", [1]),
    "tables that are text": changed("windows", "tables", "x"),
    "no optimizer": changed("optimizer_states", [{}]),
    "loops that are text": changed("loops", "x"),
}


def one_line(capsys, words):
    capsys.readouterr()
    assert cli.main(words) == 2, words
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert err.startswith("a2sg: error: ")
    return err


@pytest.mark.parametrize("change", ELSE.values(), ids=list(ELSE))
def test_a_checkpoint_that_holds_something_else_is_told(run, change, capsys):
    state = torch.load(run / CHECKPOINT, weights_only=True)
    for path in (run / CHECKPOINT).parent.iterdir():
        path.unlink()
    torch.save(change(state), run / CHECKPOINT)
    (run / "summary.json").unlink()
    said = one_line(capsys, ["train", "--resume", str(run)])
    assert "last.ckpt" in said or "windows" in said
    if change not in (ELSE["no optimizer"], ELSE["loops that are text"]):  # which evaluation does not look at
        assert "last.ckpt" in one_line(capsys, ["evaluate", str(run)])


@pytest.mark.parametrize("change", [changed("state_dict", [1]), lambda state: {"x": 1}])
def test_weights_that_are_something_else_are_told(run, change, tmp_path, capsys):
    for path in (run / CHECKPOINT).parent.iterdir():
        path.unlink()
    torch.save(change({}), run / CHECKPOINT)
    words = ["train", "digits", "--out", str(tmp_path / "out"), "--model.weights", str(run)]
    words += [f"--{name}={value}" for name, value in TINY.items()]
    assert "holds something other than weights" in one_line(capsys, words)


@pytest.mark.parametrize("content", ["window\nx\n", "iteration,window\n1,2,3\n", "epoch\n1\n"])
def test_damaged_tables_of_a_run_are_told(run, content, tmp_path, capsys):
    (run / "windows.csv").write_text(content, encoding="utf-8")
    words = ["analyze", str(run), "--only", "variation", "--samples", "8", "--batch-size", "8"]
    said = one_line(capsys, [*words, "--out", str(tmp_path / "out")])
    assert "damaged" in said
    assert str(run) in said


HEAD = "iteration,layer,step,window,sgv,tgc,window_before,sgv_before,tgc_before\n"
ROW = "4,l,1,0.5,1,,0.5,1,"
TABLES = {
    "windows.csv": {
        "other columns": "iteration,layer,step\n1,a,1\n",
        "an iteration without end": f"{HEAD}{'9' * 20}{ROW[1:]}\n",
        "an empty window": f"{HEAD}4,l,1,,1,,0.5,1,\n",
        "a variation below 0": f"{HEAD}4,l,1,0.5,1,,0.5,-1,\n",
    },
    "metrics.csv": {"other columns": "epoch,iteration\n1,2\n"},
}


@pytest.mark.parametrize(
    ("name", "content"),
    [(name, content) for name, tables in TABLES.items() for content in tables.values()],
    ids=[f"{name}: {what}" for name, tables in TABLES.items() for what in tables],
)
def test_pictures_of_damaged_tables_are_told(run, name, content):
    (run / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="damaged"):
        run_pictures(run)


def test_damaged_tables_at_the_end_of_a_resumed_run_are_told(run, capsys):
    (run / "summary.json").unlink()
    (run / "metrics.csv").write_text("epoch,iteration\n1,2\n", encoding="utf-8")
    assert str(run) in one_line(capsys, ["train", "--resume", str(run)])


ODD = "\x1b]0;pwn\x07$\\frac{$"


def test_names_in_the_files_of_a_run_are_drawn_and_printed_as_names(run, tmp_path, capsys):
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    summary |= {"arm": ODD, "firing_rates": {ODD: [0.1], "x" * 200_000: [0.1]}, "energy_uncounted": [ODD]}
    (run / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    table = (run / "windows.csv").read_text(encoding="utf-8")
    (run / "windows.csv").write_text(table.replace(",fc1", f",{ODD}fc1"), encoding="utf-8")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Glyph")
        assert len(run_pictures(run)) == 4
        words = ["analyze", str(run), "--only", "variation,energy", "--samples", "8", "--batch-size", "8"]
        assert cli.main([*words, "--out", str(tmp_path / "out")]) == 0
    results = arm_results({ODD: [summary]})
    print_table(results, ODD, [*notes(results), ODD])
    print_summary(summary)
    printed = capsys.readouterr()
    assert "pwn" in printed.out
    assert "\x1b" not in printed.out + printed.err


def test_an_analysis_shows_a_few_hundred_layers_and_says_so(run):
    rows = "".join(f"4,l{at},1,0.5,1,,0.5,1,\n" for at in range(LAYERS + 50))
    (run / "windows.csv").write_text(HEAD + rows, encoding="utf-8")
    said = []
    case = SimpleNamespace(label="a2sg", run=SimpleNamespace(folder=run, config=read_run_config(run)))
    assert len(observed(case, said)) == LAYERS
    assert said == [f"a2sg: windows.csv has {LAYERS + 50} layers, of which {LAYERS} are shown."]


def read_tables(run):
    """What is read of the text files in the folder of a comparison that holds `run`."""
    read_summary(run)
    _, points, _ = find_runs([run.parent])
    arm_points(points)
    run_history(run)


@pytest.mark.parametrize("count", [25, pytest.param(1500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["summary.json", "metrics.csv", "windows.csv", "../comparison.csv"])
def test_changed_tables_are_read_or_told(run, name, count):
    (run.parent / "comparison.csv").write_text("arm,folder\na2sg,a2sg-s0\n", encoding="utf-8")
    content = (run / name).read_bytes()
    outcomes = []

    @settings(max_examples=count, suppress_health_check=list(HealthCheck))
    @given(changes)
    def look(changed):
        (run / name).write_bytes(mutated(content, changed))
        outcomes.append(read_or_told(lambda: read_tables(run)))

    look()
    assert False in outcomes


@pytest.mark.parametrize("value", [None, [], {}, "x", 10**400, [[1]]])
def test_odd_values_in_a_summary_are_read_or_told(run, value):
    path = run / "summary.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for name in content:
        path.write_text(json.dumps({**content, name: value}), encoding="utf-8")
        read_or_told(lambda: read_tables(run))


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b" " * JSON + b"{}", b"\xff"])
def test_a_summary_beyond_measure_counts_as_none(run, content):
    (run / "summary.json").write_bytes(content)
    assert read_summary(run) is None
    assert not read_or_told(lambda: find_runs([run]))

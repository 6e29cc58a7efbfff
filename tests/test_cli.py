"""The command line: bad input is one line and status 2, good input works."""

import json

import pytest

from a2sg import cli
from a2sg.listing import lines_of


def run(capsys, *words):
    status = cli.main(list(words))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "did you mean 'train'"),
        (["train", "digit"], "did you mean 'digits'"),
        (["train", "digits", "--epochs", "x"], "epochs"),
        (["train", "digits", "--epochs", "0"], "at least 1"),
        (["train", "digits", "--colour", "red"], "--colour"),
        (["train", "digits", "--model.steps", "0"], "steps must be a whole number of at least 1, not 0"),
        (["train", "digits", "--windows.low", "1.5"], "low must be below high"),
        (["train", "digits", "--windows.search", "best"], "best"),
        (["train", "digits", "--surrogate.window", "-1"], "window must be a number above 0"),
        (["train", "digits", "--surrogate.options.bias", "0.3"], "bias must be at least 0.5, not 0.3"),
        (["train", "digits", "--surrogate.options.bios", "0.3"], "bios"),
        (["train", "digits", "--surrogate.name", "boxcat"], "did you mean 'boxcar'"),
        (["train", "digits", "--neuron.name", "lof"], "did you mean 'lif'"),
        (["train", "digits", "--neuron.options.decay", "3"], "decay must be between 0 and 1, not 3"),
        (["train", "digits", "--neuron.options.dekay", "0.3"], "dekay"),
        (["train", "digits", "--device", "tpu"], "tpu"),
        (["train", "digits", "--device", "gpu"], "did you mean 'cuda'"),
        (["train", "digits", "epochs=3"], "does not take 'epochs=3' (did you mean '--epochs'?)"),
        (["train", "--resume", "nowhere"], "nowhere is not a run folder: it does not exist"),
        (["train", "--resume", "nowhere", "--epochs", "3"], "only other options it takes"),
        (["evaluate"], "run"),
        (["inspect", "digits"], "'digits' is a data set: give a network or a run folder, and --data digits"),
        (["evaluate", "nowhere"], "nowhere is not a run folder"),
        (["compare", "digits", "--seeds", "a"], "--seeds must be"),
        (["compare", "digits", "--seeds", "1,1"], "different"),
        (["compare", "digits", "--arms", "a3sg"], "a2sg"),
        (["list", "modles"], "did you mean 'models'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(capsys, *words)
    assert status == 2
    assert err.startswith("a2sg: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not list(tmp_path.iterdir()), "nothing may be left behind"


def test_broken_yaml_is_one_line(capsys, tmp_path):
    (tmp_path / "r.yaml").write_text("a: [", encoding="utf-8")
    status, _, err = run(capsys, "train", str(tmp_path / "r.yaml"))
    assert status == 2
    assert "broken YAML" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["help"], *([command, "--help"] for command in cli.COMMANDS)], ids=" ".join
)
def test_help_is_there_and_fits_a_narrow_terminal(capsys, monkeypatch, words):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = run(capsys, *words)
    assert status == 0
    assert "usage:" in out
    assert not err
    assert not [line for line in out.splitlines() if len(line) > 80]


def test_version(capsys):
    import a2sg

    assert run(capsys, "--version")[1].strip() == f"a2sg {a2sg.__version__}"


def test_list_shows_what_can_be_named(capsys):
    _, out, _ = run(capsys, "list")
    for word in ("vgg_small", "digits", "asymmetric", "plif", "st-asg"):
        assert word in out
    _, out, _ = run(capsys, "list", "surrogates")
    assert "dspike" in out
    assert "vgg_small" not in out


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_on_a_terminal_long_lines_of_a_list_go_on_below_their_beginning(columns):
    whole = lines_of("arms")
    shown = lines_of("arms", columns)
    assert max(map(len, shown)) <= columns < max(map(len, whole))
    assert " ".join(" ".join(shown).split()) == " ".join(" ".join(whole).split())
    start = whole[0].index("boxcar")
    names = [line.split()[0] for line in shown if not line[:start].isspace()]
    assert names == [line.split()[0] for line in whole]


def test_train_evaluate_and_compare_work_together(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--epochs", "2", "--windows.every", "8", "--model.options.width", "0.25"]
    status, out, err = run(capsys, "train", "digits", *options)
    assert status == 0, err
    folder = tmp_path / "runs" / "digits-s0"
    assert str(folder.relative_to(tmp_path)) in out
    assert (folder / "windows.png").is_file()
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    status, out, err = run(capsys, "evaluate", str(folder))
    assert status == 0, err
    evaluation = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    for name in ("accuracy", "loss", "spikes_per_sample", "energy_nj_per_sample"):
        assert evaluation[name] == summary[name]
    status, out, err = run(
        capsys, "compare", "digits", "--arms", "fixed,a2sg", "--seeds", "0", "--out", "c", *options
    )
    assert status == 0, err
    assert "a2sg" in out
    assert "fixed" in out
    same = json.loads((tmp_path / "c" / "a2sg-s0" / "summary.json").read_text(encoding="utf-8"))
    assert same["accuracy"] == summary["accuracy"]
    status, out, err = run(capsys, "train", "--resume", str(folder))
    assert status == 0
    assert "finished" in out
    status, out, err = run(capsys, "train", "digits", *options)
    assert (tmp_path / "runs" / "digits-s0-2" / "summary.json").is_file()
    status, out, err = run(capsys, "train", "digits", "--out", str(folder))
    assert status == 2
    assert "is not empty" in err


def test_compare_refuses_one_seed_by_the_name_of_train(capsys, tmp_path):
    status, _, err = run(capsys, "compare", "digits", "--seed", "3", "--out", str(tmp_path / "c"))
    assert status == 2
    assert err == "a2sg: error: compare takes --seeds: write --seeds 3, not --seed 3\n"
    assert not (tmp_path / "c").exists()


def test_a_missing_extra_is_one_line(capsys, monkeypatch):
    def missing(words):
        raise ModuleNotFoundError("No module named 'lightning'", name="lightning")

    monkeypatch.setitem(cli.COMMANDS, "train", (missing, ""))
    status, _, err = run(capsys, "train")
    assert status == 2
    assert "pip install 'a2sg[train]'" in err


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "no\x1b[2J\nwhere\x07"],
        ["train", "\x1b]0;title\x07"],
        ["train", "digits", "--model.name", "\x1b[31m"],
        ["list", "\u202emodels"],
        ["compare", "digits", "--seeds", "²"],
        ["compare", "digits", "--seeds", "9" * 5000],
        ["compare", "digits", "--seeds", str(2**32)],
    ],
)
def test_an_error_steers_no_terminal(capsys, words):
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert err.startswith("a2sg: error: ")
    assert err.removesuffix("\n").isprintable()

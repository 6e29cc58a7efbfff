"""Comparisons: which runs are trained, what is written and printed, and what is never touched."""

import csv
import json
from copy import deepcopy

import pytest

from a2sg.errors import InputError
from a2sg.training import pictures
from a2sg.training.arms import apply_arm, parse_arm
from a2sg.training.compare import compare
from a2sg.training.config import RunConfig
from a2sg.training.recipe import read_config
from a2sg.training.tables import arm_results, markdown_table, notes, print_summary, print_table
from fake_train import FakeTrain, Stopped


def arms(*names):
    return [parse_arm(name) for name in names]


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


CONFIG = RunConfig(epochs=3)


@pytest.fixture(autouse=True)
def drawn(request, monkeypatch):
    """Pictures take seconds: all but the test that is about them only note which would be drawn."""
    calls = []
    if "draws" not in request.fixturenames:
        monkeypatch.setattr(pictures, "run_pictures", lambda run, against=None: calls.append((run, against)))
        for name in ("comparison", "score_curves"):
            monkeypatch.setattr(pictures, name, lambda content, path: path.write_bytes(b""))
    return calls


@pytest.fixture
def draws():
    """Asks for real pictures."""


def test_every_arm_meets_every_seed_in_pairs(tmp_path):
    train, config = FakeTrain(), deepcopy(CONFIG)
    out = tmp_path / "c"
    compare(config, arms("fixed", "a2sg:bias=0.8", "s-asg"), [3, 1], out, train=train)
    assert train.calls == [
        ("fixed", 3, False),
        ("a2sg:bias=0.8", 3, False),
        ("s-asg", 3, False),
        ("fixed", 1, False),
        ("a2sg:bias=0.8", 1, False),
        ("s-asg", 1, False),
    ]
    assert config == CONFIG
    trained = read_config(out / "a2sg_bias=0.8-s1" / "config.yaml")
    assert (trained.arm, trained.seed, trained.surrogate.options) == ("a2sg:bias=0.8", 1, {"bias": 0.8})
    assert (trained.windows.spatial, trained.windows.temporal, trained.epochs) == (True, True, 3)


def test_tables_hold_what_the_runs_found(tmp_path):
    result = compare(CONFIG, arms("fixed", "a2sg"), [0, 1, 2], tmp_path / "c", train=FakeTrain())
    found = {
        (arm, seed): json.loads(
            (tmp_path / "c" / f"{arm}-s{seed}" / "summary.json").read_text(encoding="utf-8")
        )
        for arm in ("fixed", "a2sg")
        for seed in (0, 1, 2)
    }
    table = rows(tmp_path / "c" / "comparison.csv")
    assert len(table) == 6
    for row in table:
        summary = found[row["arm"], int(row["seed"])]
        for name in (
            "accuracy",
            "loss",
            "spikes_per_sample",
            "energy_nj_per_sample",
            "seconds",
            "search_share",
        ):
            assert float(row[name]) == summary[name]
        assert (tmp_path / "c" / row["folder"] / "summary.json").is_file()

    fixed, a2sg = rows(tmp_path / "c" / "table.csv")
    points = [100 * (found["a2sg", s]["accuracy"] - found["fixed", s]["accuracy"]) for s in (0, 1, 2)]
    assert fixed["verdict"] == "baseline"
    assert fixed["difference_points"] == ""
    assert float(a2sg["difference_points"]) == pytest.approx(sum(points) / 3)
    assert float(a2sg["accuracy_percent"]) == pytest.approx(
        100 * sum(found["a2sg", s]["accuracy"] for s in (0, 1, 2)) / 3
    )
    # The seeds differ by a point each, the pairs by 2 points within 0.2: only pairing shows it.
    assert float(a2sg["accuracy_sd"]) > 0.9
    assert 1.5 < float(a2sg["difference_low"]) < float(a2sg["difference_high"]) < 2.5
    assert a2sg["verdict"] == "better"
    assert float(a2sg["search_share_percent"]) == pytest.approx(1.25)
    assert [arm.verdict for arm in result.results] == ["baseline", "better"]
    page = (tmp_path / "c" / "table.md").read_text(encoding="utf-8")
    assert "| a2sg | 3 | " in page
    assert "paired over 3 seeds, with Student-t intervals of 95 %" in page


def test_the_printed_table_fits_100_columns(tmp_path, capsys):
    names = ("fixed", "s-asg", "t-asg", "st-asg", "asy", "a2sg")
    compare(CONFIG, arms(*names), [0, 1, 2], tmp_path / "c", train=FakeTrain())
    out, err = capsys.readouterr()
    lines = [line.rstrip() for line in out.splitlines() if "/c" not in line]
    assert max(map(len, lines)) <= 100
    first = {line.split()[0]: line for line in lines if line}
    assert "no difference shown" in first["s-asg"]
    assert "better" in first["a2sg"]
    assert "5 comparisons, so chance has 5 tries: at 99 % each" in " ".join(out.split())
    assert f"tables and pictures: {tmp_path / 'c'}" in out
    assert str(tmp_path / "c" / "s-asg-s0") in out  # the first adaptive arm
    assert "run 2 of 18: s-asg, seed 0" in err


def test_long_options_stay_readable(tmp_path, capsys):
    compare(
        CONFIG, arms("fixed", "a2sg:search=bayes:candidates=20"), [0, 1], tmp_path / "c", train=FakeTrain()
    )
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines() if "/c" not in line]
    assert max(map(len, lines)) <= 100
    at = next(number for number, line in enumerate(lines) if line.startswith("a2sg"))
    assert lines[at + 1].split()[0] == "candidates=20"
    assert lines[at + 2].split()[0] == "search=bayes"


def test_one_seed_prints_a_table_without_interval(tmp_path, capsys):
    compare(CONFIG, arms("fixed", "a2sg"), [0], tmp_path / "c", train=FakeTrain())
    out = capsys.readouterr().out
    assert "one seed: no interval" in out
    assert "digits: 1 seed, 3 epochs" in out
    assert "nan" not in (out + (tmp_path / "c" / "table.csv").read_text(encoding="utf-8")).lower()
    assert rows(tmp_path / "c" / "table.csv")[1]["difference_low"] == ""


def test_one_arm_alone_is_a_table_too(tmp_path, capsys):
    compare(CONFIG, arms("a2sg"), [0, 1], tmp_path / "c", train=FakeTrain())
    assert "baseline" in capsys.readouterr().out


def test_correction_asks_more_of_every_interval(tmp_path):
    options = {"train": FakeTrain()}
    alone = compare(CONFIG, arms("fixed", "a2sg", "asy"), [0, 1, 2], tmp_path / "c", **options)
    corrected = compare(
        CONFIG, arms("fixed", "a2sg", "asy"), [0, 1, 2], tmp_path / "c", corrected=True, **options
    )
    for one, other in zip(alone.results[1:], corrected.results[1:], strict=True):
        assert other.difference.level == pytest.approx(0.975)
        assert other.difference.low < one.difference.low
        assert other.difference.high > one.difference.high
    assert len(options["train"].calls) == 9


def test_pictures_are_drawn_for_every_run_and_the_whole(tmp_path, draws):
    out = tmp_path / "c"
    compare(CONFIG, arms("fixed", "a2sg"), [0, 1], out, train=FakeTrain())
    for folder in (out / f"{arm}-s{seed}" for arm in ("fixed", "a2sg") for seed in (0, 1)):
        for name in ("windows", "variation", "firing_rates", "accuracy"):
            assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "comparison.png").is_file()
    assert (out / "accuracy.png").is_file()
    assert not list(out.rglob("*.part"))


def test_pictures_show_an_arm_beside_the_baseline_of_its_seed(tmp_path, drawn):
    out = tmp_path / "c"
    compare(CONFIG, arms("fixed", "asy", "a2sg"), [0, 7], out, train=FakeTrain())
    assert drawn == [
        (out / f"{arm}-s{seed}", None if arm == "fixed" else out / f"fixed-s{seed}")
        for seed in (0, 7)
        for arm in ("fixed", "asy", "a2sg")
    ]


def test_a_stopped_comparison_goes_on_where_it_was(tmp_path):
    whole = compare(CONFIG, arms("fixed", "a2sg"), [0, 1], tmp_path / "whole", train=FakeTrain())
    part, out = FakeTrain(stop_at=2), tmp_path / "part"
    with pytest.raises(Stopped):
        compare(CONFIG, arms("fixed", "a2sg"), [0, 1], out, train=part)
    assert not (out / "table.csv").exists()
    again = FakeTrain()
    result = compare(CONFIG, arms("fixed", "a2sg"), [0, 1], out, train=again)
    assert again.calls == [("fixed", 1, True), ("a2sg", 1, False)]
    assert result.results == whole.results
    for name in ("table.csv", "table.md", "comparison.csv"):
        assert (out / name).read_text(encoding="utf-8") == (tmp_path / "whole" / name).read_text(
            encoding="utf-8"
        )


def test_a_finished_comparison_trains_nothing_and_more_seeds_train_the_rest(tmp_path):
    out = tmp_path / "c"
    compare(CONFIG, arms("fixed", "a2sg"), [0], out, train=FakeTrain())
    again = FakeTrain()
    compare(CONFIG, arms("fixed", "a2sg"), [0], out, train=again)
    assert again.calls == []
    compare(CONFIG, arms("fixed", "a2sg", "asy"), [0, 1], out, train=again)
    assert again.calls == [("asy", 0, False), ("fixed", 1, False), ("a2sg", 1, False), ("asy", 1, False)]


def test_runs_trained_differently_are_not_taken(tmp_path):
    out = tmp_path / "c"
    compare(CONFIG, arms("fixed", "a2sg"), [0], out, train=FakeTrain())
    before = (out / "table.csv").read_text(encoding="utf-8")
    train, other = FakeTrain(), RunConfig(epochs=5)
    with pytest.raises(InputError, match="fixed-s0 was trained with epochs 3, not 5"):
        compare(other, arms("fixed", "a2sg"), [0], out, train=train)
    assert train.calls == []
    assert (out / "table.csv").read_text(encoding="utf-8") == before
    compare(other, arms("fixed", "a2sg"), [0], out, train=train, overwrite=True)
    assert train.calls == [("fixed", 0, False), ("a2sg", 0, False)]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["notes", "single run", "another project"])
def test_a_folder_of_something_else_is_refused_and_untouched(tmp_path, overwrite, kind):
    out = tmp_path / "c"
    out.mkdir()
    if kind == "notes":
        (out / "notes.txt").write_text("mine", encoding="utf-8")
    elif kind == "single run":
        FakeTrain()(RunConfig(arm=""), out)
    else:
        (out / "service-s0").mkdir()
        (out / "service-s0" / "config.yaml").write_text("port: 80\n", encoding="utf-8")
    before = sorted(str(path) for path in out.rglob("*"))
    train = FakeTrain()
    with pytest.raises(InputError, match="holds something other than a comparison"):
        compare(CONFIG, arms("fixed"), [0], out, train=train, overwrite=overwrite)
    assert train.calls == []
    assert sorted(str(path) for path in out.rglob("*")) == before


def test_overwrite_clears_its_own_and_nothing_else(tmp_path):
    out = tmp_path / "c"
    compare(CONFIG, arms("fixed", "a2sg"), [0, 1], out, train=FakeTrain())
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    (out / "data").mkdir()
    (out / "data" / "config.yaml").write_text("arm: a2sg\nseed: 0\n", encoding="utf-8")
    elsewhere = tmp_path / "elsewhere"
    FakeTrain()(read_config(out / "a2sg-s0" / "config.yaml"), elsewhere / "a2sg-s5")
    (out / "a2sg-s5").symlink_to(elsewhere / "a2sg-s5")
    train = FakeTrain()
    compare(CONFIG, arms("fixed"), [0], out, train=train, overwrite=True)
    assert train.calls == [("fixed", 0, False)]
    assert {path.name for path in out.iterdir()} == {
        "fixed-s0",
        "notes.txt",
        "data",
        "a2sg-s5",
        "comparison.csv",
        "table.csv",
        "table.md",
        "comparison.png",
        "accuracy.png",
    }
    assert (elsewhere / "a2sg-s5" / "summary.json").is_file()


@pytest.mark.parametrize(
    ("names", "seeds", "message"),
    [
        ((), [0], "at least one arm"),
        (("a2sg",), [], "at least one seed"),
        (("a2sg",), [1, 1], "seeds must differ, not 1, 1"),
        (("a2sg",), [-1], "seed must be a whole number of at least 0, not -1"),
        (("a2sg", "fixed", "a2sg"), [0], "trains the same way"),
        (("fixed", "a2sg:low=2"), [0], "low must be below high"),
    ],
)
def test_a_comparison_that_cannot_be_leaves_nothing(tmp_path, names, seeds, message):
    with pytest.raises(InputError, match=message):
        compare(CONFIG, arms(*names), seeds, tmp_path / "c", train=FakeTrain())
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "c").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="is a file, not a folder"):
        compare(CONFIG, arms("a2sg"), [0], tmp_path / "c", train=FakeTrain())


def test_a_run_whose_folder_is_taken_is_told_before_any_training(tmp_path):
    out, train = tmp_path / "c", FakeTrain()
    compare(CONFIG, arms("fixed"), [0], out, train=FakeTrain())
    (out / "a2sg-s0").mkdir()
    (out / "a2sg-s0" / "thesis.tex").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="a2sg-s0 holds something other than a run"):
        compare(CONFIG, arms("asy", "a2sg"), [0], out, train=train)
    assert train.calls == []


def test_a_summary_prints_what_it_holds(capsys):
    print_summary(FakeTrain.summary(apply_arm(CONFIG, parse_arm("fixed"))))
    whole = capsys.readouterr().out
    print_summary(
        {"accuracy": 0.98765, "spikes_per_sample": 12345.6, "energy_nj_per_sample": 7.25, "loss": 0.5}
    )
    part = capsys.readouterr().out
    words = {" ".join(line.split()) for line in part.splitlines()}
    assert words == {
        "test accuracy 98.77 %",
        "test loss 0.5000",
        "spikes per sample 12,346",
        "energy per sample 7.2 nJ (estimate)",
    }
    assert "its share 1.25 % of training" in " ".join(whole.split())


def test_notes_name_the_arms_that_stand_correction():
    def runs(*accuracies):
        return [{"accuracy": value} for value in accuracies]

    base, near = runs(0.90, 0.91, 0.92), runs(0.91, 0.921, 0.927)  # differences 1, 1.1 and 0.7 points
    far = runs(0.95, 0.9601, 0.9701)
    one = arm_results({"fixed": base, "near": near})
    assert one[1].verdict == "better"
    assert notes(one) == ["Differences from fixed, paired over 3 seeds, with Student-t intervals of 95 %."]
    many = arm_results(
        {"fixed": base, "near": near, "far": far, "b": runs(0.9, 0.9, 0.9), "c": base, "d": base}
    )
    (note,) = notes(many)
    assert "These are 5 comparisons" in note
    assert note.endswith("a difference is shown for far.")
    assert "one seed" in notes(arm_results({"fixed": runs(0.9), "a2sg": runs(0.91)}))[0]
    assert notes(arm_results({"a2sg": base})) == []


def test_what_the_share_of_the_search_leaves_out_on_a_gpu_is_said():
    run = {"accuracy": 0.5, "search_share": 0.001, "device": "NVIDIA H100 80GB HBM3"}
    assert notes(arm_results({"a2sg": [run]}))[0].startswith("The share of the search leaves out sums")
    for other in ({"device": "cpu (2 cores)"}, {"search_share": 0.0}):
        assert notes(arm_results({"a2sg": [{**run, **other}]})) == []


def test_what_energy_leaves_out_is_below_the_table_and_the_summary(capsys):
    run = {"accuracy": 0.5, "energy_nj_per_sample": 1.0, "energy_uncounted": ["mix (matmul)", "lstm (lstm)"]}
    assert notes(arm_results({"a2sg": [run, run]})) == ["The energy leaves out mix (matmul), lstm (lstm)."]
    assert notes(arm_results({"a2sg": [{**run, "energy_uncounted": []}]})) == []
    print_summary(run)
    assert capsys.readouterr().out.endswith(
        "nJ (estimate)\nThe energy leaves out mix (matmul), lstm (lstm).\n"
    )


HOSTILE = "a2sg[red]|<script>alert(1)</script>\n[link=x]"


def test_names_change_no_table(capsys):
    run = {
        **dict.fromkeys(("spikes_per_sample", "energy_nj_per_sample", "seconds", "search_share"), 0.0),
        "accuracy": 0.5,
    }
    results = arm_results({HOSTILE: [run], "fixed": [run]})
    print_table(results, HOSTILE, [HOSTILE])
    printed = capsys.readouterr().out
    assert "[red]" in printed
    assert printed.count("[link=x]") == 3
    lines = markdown_table(results, HOSTILE, [HOSTILE]).splitlines()
    assert [line.count(" | ") for line in lines if line.startswith("|")] == [8, 8, 8, 8]
    assert not [line for line in lines if "<script>" in line]
    assert len(lines) == 8

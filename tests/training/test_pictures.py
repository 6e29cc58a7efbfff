"""Pictures: what is drawn is what the files say, and every label can be read."""

import builtins
import json
import logging
from itertools import combinations, pairwise

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cbook import is_math_text
from matplotlib.image import imread

from a2sg.colours import drawn_name
from a2sg.errors import InputError
from a2sg.files import csv_text, read_rows
from a2sg.training import pictures
from a2sg.training.arms import apply_arm, parse_arm
from a2sg.training.config import RunConfig
from a2sg.training.tables import arm_results
from fake_train import FakeTrain


@pytest.fixture
def figures(monkeypatch):
    """Every figure saved, to look into."""
    kept = []
    save = pictures._save

    def keep(figure, path):
        kept.append(figure)
        return save(figure, path)

    monkeypatch.setattr(pictures, "_save", keep)
    return kept


def window_rows(layers, steps, iterations, window=lambda layer, step, at: 0.5):
    """Rows of windows.csv: SGV is 10^-(layer + at), TGC (layer + step)/20, windows from the function."""
    return [
        {
            "iteration": iteration,
            "layer": name,
            "step": step,
            "window": window(layer, step, at + 1),
            "sgv": 0.7,
            "tgc": None if step == steps else 0.9,
            "window_before": window(layer, step, at),
            "sgv_before": 10.0 ** -(layer + at),
            "tgc_before": None if step == steps else (layer + step) / 20,
            "kept": "",
        }
        for at, iteration in enumerate(iterations)
        for layer, name in enumerate(layers)
        for step in range(1, steps + 1)
    ]


def lines(axes):
    """The drawn lines as lists of points, thick ones (the means) apart."""
    thin, thick = [], {}
    for line in axes.get_lines():
        points = [(float(x), float(y)) for x, y in zip(*line.get_data(), strict=True)]
        if line.get_linewidth() < 1:
            thin.append(points)
        else:
            thick[line.get_label()] = points
    return thin, thick


def visible_labels(figure):
    """(text, box) of every label that is drawn, in pixels."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    texts = list(figure.texts)
    for axes in figure.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if low <= tick.get_loc() <= high:
                    texts.append(tick.label1)
                    texts.append(tick.label2)
    return [
        (text.get_text(), text.get_window_extent(renderer))
        for text in texts
        if text.get_visible() and text.get_text()
    ]


def require_legible(figure):
    labels = visible_labels(figure)
    for (one, box), (other, place) in combinations(labels, 2):
        overlap = min(box.x1, place.x1) - max(box.x0, place.x0), min(box.y1, place.y1) - max(box.y0, place.y0)
        assert min(overlap) <= 1, f"{one!r} and {other!r} overlap"
    for text, box in labels:
        assert box.x0 >= 0, f"{text!r} is cut"
        assert box.x1 <= figure.bbox.x1, f"{text!r} is cut"


DEEP = [f"features.{3 * number}.neuron" for number in range(12)]


def test_the_heat_map_shows_every_window_where_and_when_it_acts(figures, tmp_path):
    def window(layer, step, at):
        return 0.1 + 0.2 * layer + 0.05 * step + 0.01 * at

    rows = window_rows(["b", "a"], 3, [19, 38, 57], window)
    path = pictures.window_heatmap(rows, tmp_path / "w.png", "run")
    axes, bar = figures[0].axes
    (mesh,) = axes.collections
    expected = [[window(layer, step, at) for at in range(4)] for layer in (0, 1) for step in (1, 2, 3)]
    assert np.allclose(mesh.get_array().reshape(6, 4), expected)
    edges = mesh.get_coordinates()[0, :, 0]
    assert list(edges) == [0, 20, 39, 58, 77]  # a search in iteration 19 acts from 20 on
    assert axes.get_ylim() == (6, 0)  # the first layer on top
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]
    assert [label.get_text() for label in axes.get_yticklabels(minor=True)] == ["1", "2", "3"] * 2
    assert mesh.get_cmap().name == "viridis"
    assert bar.get_ylabel() == "window (half-width)"
    assert imread(path).shape[2] == 4


@pytest.mark.parametrize(("done", "last"), [(60, 60), (58, 59), (None, 77)])
def test_the_heat_map_ends_with_the_training(figures, tmp_path, done, last):
    """With windows that were searched once, too, and not one iteration later."""
    pictures.window_heatmap(window_rows(["a"], 1, [19, 38, 57]), tmp_path / "w.png", "run", done)
    pictures.window_heatmap(window_rows(["a"], 1, [0]), tmp_path / "o.png", "run", 1000)
    ends = [figure.axes[0].collections[0].get_coordinates()[0, -1, 0] for figure in figures]
    assert ends == [last, 1000]


def test_the_colour_scale_is_the_same_for_usual_windows_and_grows_for_wide_ones(figures, tmp_path):
    pictures.window_heatmap(window_rows(["a"], 1, [0]), tmp_path / "a.png")
    pictures.window_heatmap(window_rows(["a"], 2, [5], lambda *_: 2.5), tmp_path / "b.png")
    assert [figure.axes[0].collections[0].get_clim() for figure in figures] == [(0, 1), (0, 2.5)]


@pytest.mark.parametrize(
    ("layers", "steps"), [(DEEP, 4), (["n"], 1), ([f"block.{i}.attention.lif" for i in range(40)], 4)]
)
def test_labels_of_pictures_by_layer_do_not_overlap(figures, tmp_path, layers, steps):
    rows = window_rows(layers, steps, range(500, 5001, 500))
    pictures.window_heatmap(rows, tmp_path / "w.png", "a2sg, seed 0")
    pictures.variation({"a2sg, seed 0": rows, "fixed, seed 0": rows}, tmp_path / "v.png")
    rates = {layer: [0.1] * steps for layer in layers}
    pictures.firing_rates({"a2sg, seed 0": rates, "fixed, seed 0": rates}, tmp_path / "r.png")
    # Tilted labels overlap as upright boxes; what counts is that neighbours are further apart than a line.
    for figure in figures[:2]:
        require_legible(figure)
    (axes,) = figures[2].axes
    figures[2].draw(FigureCanvasAgg(figures[2]).get_renderer())
    ends = [label.get_window_extent().x1 for label in axes.get_xticklabels()]
    height = axes.get_xticklabels()[0].get_fontsize() / 72 * figures[2].dpi
    assert all(later - end > height for end, later in pairwise(ends))


def test_variation_draws_layers_and_their_means(figures, tmp_path):
    rows = window_rows(["a", "b"], 3, [19, 38])
    pictures.variation({"one": rows}, tmp_path / "v.png")
    sgv, tgc = figures[0].axes
    assert sgv.get_yscale() == "log"
    thin, thick = lines(sgv)
    assert thin == [[(19, 1.0), (38, 0.1)], [(19, 0.1), (38, 0.01)]]
    assert thick["one"] == [(19, pytest.approx(10**-0.5)), (38, pytest.approx(10**-1.5))]
    thin, thick = lines(tgc)
    assert thin == [  # the mean of steps 1 and 2
        [(19, pytest.approx(0.075)), (38, pytest.approx(0.075))],
        [(19, pytest.approx(0.125)), (38, pytest.approx(0.125))],
    ]
    assert thick["one"] == [(19, pytest.approx(0.1)), (38, pytest.approx(0.1))]


def test_variation_of_several_runs_has_a_colour_each(figures, tmp_path):
    rows = window_rows(["a", "b"], 2, [19, 38])
    pictures.variation({"one": rows, "two": rows}, tmp_path / "v.png")
    colours = {line.get_label(): line.get_color() for line in figures[0].axes[0].get_lines()}
    assert colours["one"] != colours["two"]
    (legend,) = figures[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["one", "two"]


def test_variation_leaves_out_what_is_no_number(figures, tmp_path):
    rows = window_rows(["a", "b"], 1, [19, 38])
    rows[0]["sgv_before"] = None  # not finite
    dead = [{**row, "layer": "dead", "sgv_before": 0.0} for row in rows[::2]]  # no gradient comes through
    pictures.variation({"one": rows + dead}, tmp_path / "v.png")
    (axes,) = figures[0].axes  # T = 1 has no TGC
    thin, thick = lines(axes)
    assert sorted(thin) == [[(19, 0.1), (38, 0.01)], [(38, 0.1)]]
    assert thick["one"] == [(38, pytest.approx(10**-1.5))]


def test_firing_rates_are_drawn_by_layer_and_step(figures, tmp_path):
    pictures.firing_rates(
        {"one": {"a": [0.1, 0.2], "b": [0.3, 0.4]}, "two": {"b": [0.5, 0.6]}}, tmp_path / "r.png"
    )
    (axes,) = figures[0].axes
    drawn = [
        [(float(x), float(y)) for x, y in zip(*line.get_data(), strict=True)] for line in axes.get_lines()
    ]
    assert [line for line in drawn if line] == [
        [(0, 0.1), (1, 0.2)],
        [(3, 0.3), (4, 0.4)],
        [(3, 0.5), (4, 0.6)],
    ]
    assert list(axes.get_xticks()) == [0.5, 3.5]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]


def test_accuracy_curves_are_the_seeds_and_their_mean(figures, tmp_path):
    def run(*accuracies):
        return [
            {"epoch": at + 1, "test_accuracy": value, "train_loss": 2 * value}
            for at, value in enumerate(accuracies)
        ]

    # A seed that has not got as far ends the mean, not the other's line.
    pictures.score_curves({"a": [run(0.5, 0.7, 0.9), run(0.3, 0.5)], "b": [run(0.4)]}, tmp_path / "a.png")
    accuracy, loss = figures[0].axes
    thin, thick = lines(accuracy)
    assert thin == [[(1, 50), (2, 70), (3, 90)], [(1, 30), (2, 50)]]
    assert thick == {"a": [(1, pytest.approx(40)), (2, pytest.approx(60))], "b": [(1, 40)]}
    assert lines(loss)[1]["a"] == [(1, pytest.approx(0.8)), (2, pytest.approx(1.2))]


def test_comparison_shows_every_seed_and_every_interval(figures, tmp_path):
    def runs(*accuracies):
        return [{"accuracy": value} for value in accuracies]

    results = arm_results(
        {
            "fixed": runs(0.9, 0.91, 0.93),
            "a2sg:bias=0.8": runs(0.92, 0.93, 0.96),
            "asy": runs(0.9, 0.93, 0.92),
        }
    )
    pictures.comparison(results, tmp_path / "c.png")
    left, right = figures[0].axes
    dots = [line for line in left.get_lines() if line.get_marker() == "o"]
    assert [sorted(line.get_xdata()) for line in dots] == [
        pytest.approx([90, 91, 93]),
        pytest.approx([92, 93, 96]),
        pytest.approx([90, 92, 93]),
    ]
    intervals = [list(line.get_xdata()) for line in right.get_lines() if line.get_marker() == "None"]
    expected = [[result.difference.low, result.difference.high] for result in results[1:]]
    assert [pair for pair in intervals if pair != [0, 0]] == [pytest.approx(pair) for pair in expected]
    assert [text.get_text() for text in right.texts] == ["better", "no difference shown"]
    assert "95 % interval" in right.get_title()
    require_legible(figures[0])


def test_comparison_of_one_seed_claims_no_interval(figures, tmp_path):
    pictures.comparison(
        arm_results({"fixed": [{"accuracy": 0.9}], "a2sg": [{"accuracy": 0.95}]}), tmp_path / "c.png"
    )
    _, right = figures[0].axes
    assert right.get_title() == "paired difference of one seed: no interval"
    assert not [line for line in right.get_lines() if len(set(line.get_xdata())) > 1]


@pytest.fixture
def folders(tmp_path):
    made = []
    for name in ("a2sg", "fixed"):
        FakeTrain()(apply_arm(RunConfig(epochs=3), parse_arm(name)), tmp_path / name)
        made.append(tmp_path / name)
    return made


def test_a_run_folder_gets_its_pictures(figures, folders):
    run, against = folders
    written = pictures.run_pictures(run, against)
    assert [path.name for path in written] == [
        "windows.png",
        "variation.png",
        "firing_rates.png",
        "accuracy.png",
    ]
    for path in written:
        assert path.parent == run
        assert imread(path).size > 0
    windows, *beside = figures
    assert "a2sg, seed 0" in windows.get_suptitle()
    for figure in beside:
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == ["a2sg, seed 0", "fixed, seed 0"]
    assert not list(against.glob("*.png"))


def test_a_run_beside_another_of_the_same_name_keeps_both(figures, folders, tmp_path):
    FakeTrain()(apply_arm(RunConfig(epochs=2), parse_arm("a2sg")), tmp_path / "again")
    pictures.run_pictures(folders[0], tmp_path / "again")
    names = [text.get_text() for text in figures[-1].legends[0].get_texts()]
    assert names[0] == "a2sg, seed 0"
    assert names[1].startswith("a2sg, seed 0 (")
    assert names[1].endswith("again)")  # a long path is cut in the middle


def test_a_run_without_observations_says_what_it_leaves_out(folders, caplog):
    run, against = folders
    header = (run / "windows.csv").read_text(encoding="utf-8").splitlines()[0]
    (run / "windows.csv").write_text(header + "\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING, "a2sg"):
        written = pictures.run_pictures(run, against)
    assert [path.name for path in written] == ["firing_rates.png", "accuracy.png"]
    assert "windows.png and variation.png are left out" in caplog.text


def test_an_unfinished_run_gets_what_there_is(figures, folders):
    run, _ = folders
    (run / "summary.json").unlink()
    written = pictures.run_pictures(run)
    assert [path.name for path in written] == ["windows.png", "variation.png", "accuracy.png"]
    assert figures[0].get_suptitle().endswith("a2sg")  # the folder's name
    (run / "metrics.csv").unlink()
    (run / "windows.csv").unlink()
    assert pictures.run_pictures(run) == []


def test_nothing_is_left_half_written(folders, monkeypatch):
    run, _ = folders

    def full(self, path, **_):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(mpl.figure.Figure, "savefig", full)
    with pytest.raises(InputError, match=r"cannot write .*no space"):
        pictures.run_pictures(run)
    assert not list(run.glob("*.png"))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (r"$\frac{$", r"$\frac{$"),
        (r"a\$b$", r"a\$b$"),
        ("\x1b]0;a\nb", "\N{REPLACEMENT CHARACTER}]0;a b"),
        ("a" * 200_000 + "z", "a" * 30 + "…" + "a" * 29 + "z"),
        ("features.3.neuron", "features.3.neuron"),
    ],
)
def test_a_name_is_drawn_as_it_is(name, shown):
    label = drawn_name(name)
    assert not is_math_text(label)
    assert label.replace(r"\$", "$") == shown  # as matplotlib does where there is no formula


def test_pictures_show_a_few_hundred_layers_and_say_how_many_they_leave_out(figures, tmp_path):
    layers = [f"l{at}" for at in range(pictures.LAYERS + 50)]
    rows = window_rows(layers, 1, [0])
    pictures.window_heatmap(rows, tmp_path / "w.png", "run")
    pictures.variation({"run": rows}, tmp_path / "v.png")
    pictures.firing_rates({"run": {layer: [0.1] for layer in layers}}, tmp_path / "f.png")
    for figure in figures:
        assert figure.get_suptitle().endswith(", without 50 further layers")
    heat, variation, rates = (figure.axes[0] for figure in figures)
    assert len(heat.get_yticks()) == len(rates.get_xticks()) == pictures.LAYERS
    thin, _ = lines(variation)
    assert len(thin) == pictures.LAYERS


def test_no_pyplot_window_state_is_touched(folders):
    import matplotlib.pyplot as plt

    pictures.run_pictures(folders[0])
    assert plt.get_fignums() == []


def test_missing_matplotlib_is_told(folders, monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=r"pip install 'a2sg\[train\]'"):
        pictures.run_pictures(folders[0])


def test_rows_come_back_from_their_file(tmp_path):
    rows = window_rows(["features.0"], 2, [19])
    (tmp_path / "windows.csv").write_text(csv_text(rows), encoding="utf-8")
    assert read_rows(tmp_path / "windows.csv") == rows
    metrics = [{"epoch": 1, "iteration": 23, "lr": 1e-3, "test_accuracy": 0.5}]
    (tmp_path / "metrics.csv").write_text(csv_text(metrics), encoding="utf-8")
    assert read_rows(tmp_path / "metrics.csv") == metrics
    assert read_rows(tmp_path / "none.csv") == []
    assert json.dumps(rows)  # plain numbers

"""What an inspection prints and writes: table, JSON, a page by itself, pictures, and the command."""

import base64
import io
import json
import logging
import re
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from torch import nn

import a2sg
from a2sg import cli
from a2sg.errors import InputError
from a2sg.study import html
from a2sg.study.inspect import charts
from a2sg.study.inspect.table import HEADERS, fitting, number, rows, show
from a2sg.study.subject import find_subject
from networks import Net, Plan, batch

FILES = {
    "inspection.json",
    "inspection.html",
    "gain.png",
    "potentials.png",
    "gradients.png",
    "windows.png",
    "shapes.png",
}
VOID = {"meta", "img", "rect", "line", "polygon", "circle"}


def summed(outputs, labels):
    return nn.functional.cross_entropy(outputs, labels, reduction="sum")


@pytest.fixture(scope="module")
def found():
    net = Net(Plan())
    for parameter in net.linears[0].parameters():
        parameter.requires_grad_(False)
    net.neurons[1].window.copy_(torch.tensor([0.2, 0.4, 0.6, 0.8]))
    return a2sg.inspect(net, batch(4), summed)


@pytest.fixture(scope="module")
def saved(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "new" / "report"
    written = found.save(folder)
    assert {path.name for path in written} == FILES == {path.name for path in folder.iterdir()}
    return folder


class Page(HTMLParser):
    """Everything a page would load, and whether its tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.loads, self.tags, self.texts = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href", "xlink:href", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        assert tag in VOID

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_table_has_a_row_per_layer_or_step(found):
    lines = found.table().splitlines()
    assert lines[0].split() == list(HEADERS)
    assert lines[1].split()[:2] == ["neurons.1", "0.20-0.80"]
    assert lines[2] == ""
    assert lines[3].startswith("there is one spiking layer")
    assert lines[4].startswith("! neurons.0: no backward pass came here")
    assert lines[-1] == f"Is the network all right? {found.answer}"
    assert str(found) == found.table()
    steps = found.table(by_step=True).splitlines()
    assert [line.split()[:3] for line in steps[1:5]] == [
        ["neurons.1", f"t={t}", f"0.{2 * t}0"] for t in (1, 2, 3, 4)
    ]
    layer = found.layers["neurons.1"]
    inside = sum(step.inside for step in layer.steps) / 4
    assert lines[1].split()[2] == f"{100 * inside:.1f}%"
    assert lines[1].split()[-3] == number(layer.steps[-1].own.sgv)


def test_columns_end_below_their_heads(found):
    head, *rows = found.table(by_step=True).splitlines()[:5]
    for name in list(HEADERS)[1:]:
        end = head.index(name) + len(name)
        assert {row[end : end + 1] for row in rows} <= {"", " "}
        assert name in ("gain", "SGV", "TGC") or all(row[end - 1] != " " for row in rows)


@pytest.mark.parametrize(
    ("width", "groups"),
    [
        (100, [[0, 1, 2, 3]]),
        (22, [[0, 1, 2, 3]]),
        (21, [[0, 1, 2], [0, 3]]),
        (16, [[0, 1], [0, 2, 3]]),
        (15, [[0, 1], [0, 2], [0, 3]]),
        (1, [[0, 1], [0, 2], [0, 3]]),
    ],
)
def test_columns_that_do_not_fit_go_into_further_tables(width, groups):
    lines = [["layer", "a", "bb", "ccc"], ["conv1", "1.00", "2", ""]]  # 7, 6, 4 and 5 wide with the gaps
    assert fitting(lines, width) == groups


def test_on_a_narrow_terminal_nothing_is_cut_off(found, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    written = io.StringIO()
    with redirect_stdout(written):
        show(replace(found, facts=found.facts | {"batch": "a batch"}), by_step=True)
    text = re.sub(r"\x1b\[[0-9;]*m", "", written.getvalue())
    assert max(map(len, text.splitlines())) <= 80
    words = text.split()
    for line in rows(found, by_step=True):
        assert words.count("t=1") >= 2, "the layer stands in each table"
        assert not [cell for cell in line[1:] if cell and cell not in words]


def test_numbers_as_text():
    assert [number(value) for value in (None, 0.0, 0.25, 1234.5, 12345.0, 3e-5, -2.0)] == [
        "", "0", "0.25", "1.23e+03", "1.2e+04", "3.0e-05", "-2",
    ]  # fmt: skip


def test_names_of_layers_do_nothing_on_a_terminal(found, capsys):
    odd = {name: f"\x1b[31m{name}" for name in found.layers}
    layers = {odd[name]: replace(layer, name=odd[name]) for name, layer in found.layers.items()}
    verdicts = {odd[name]: found.verdicts[name] for name in odd}
    renamed = replace(found, layers=layers, verdicts=verdicts, facts=found.facts | {"batch": "\x1b]0;a"})
    show(renamed)
    printed = capsys.readouterr().out + str(renamed)
    assert "[31mneurons.1" in printed
    assert "\x1b" not in printed


def test_json_holds_every_number(found, saved):
    content = json.loads((saved / "inspection.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert content == found.to_dict()
    (layer,) = content["layers"]
    assert layer["name"] == "neurons.1"
    assert layer["verdicts"][0].keys() == {"level", "rule", "text"}
    assert len(layer["steps"]) == 4
    assert layer["steps"][3]["window"] == pytest.approx(0.8)
    assert len(layer["steps"][0]["own"]["by_window"]) == len(content["windows"]) == 40
    assert len(layer["steps"][0]["histogram"]) == 2 * len(content["edges"]) + 2
    assert content["unreached"] == ["neurons.0"]
    assert content["mode"] == "train"


def test_the_page_loads_nothing_and_says_everything(found, saved):
    text = (saved / "inspection.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "http" not in text
    assert "@import" not in text
    assert "url(" not in text
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert len(page.loads) == page.tags.count("img") == 5
    for source in page.loads:
        kind, _, content = source.partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content, validate=True).startswith(b"\x89PNG")
    assert page.tags.count("svg") == 2 * 4
    shown = " ".join(page.texts)
    for verdicts in found.verdicts.values():
        for verdict in verdicts:
            assert verdict.text in shown
    assert "SGV over its least" in shown
    assert found.answer in shown
    assert found.answer.startswith("No: 1 of 2 layers has a problem. Begin with neurons.0: no backward pass")
    bars = dict(zip(found.verdicts, re.findall(r'<i style="width:([0-9.]+)%"', text), strict=True))
    share = 100 * found.layers["neurons.1"].mean("passing")
    assert bars == {"neurons.0": "0.0", "neurons.1": f"{share:.1f}"}
    assert "step 1: potentials about the threshold" in shown
    assert 'name="viewport"' in text, "a phone would show the page of a desktop, shrunk"
    assert len(re.findall(r"step \d, window", shown)) == 4


def test_pictures_are_drawn(saved):
    from matplotlib.image import imread

    for name in FILES:
        if name.endswith(".png"):
            pixels = imread(saved / name)[..., :3]
            assert min(pixels.shape[:2]) > 150
            assert pixels.std() > 0.08, f"{name} is all but empty"


def test_without_matplotlib_the_page_does_with_its_own_charts(found, tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with caplog.at_level(logging.WARNING, logger="a2sg"):
        written = found.save(tmp_path)
    assert {path.name for path in written} == {"inspection.json", "inspection.html"}
    assert "no pictures, as matplotlib" in caplog.text
    assert Page((tmp_path / "inspection.html").read_text(encoding="utf-8")).tags.count("svg") == 8


def test_a_place_that_cannot_be_written(found, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot write to"):
        found.save(tmp_path / "file" / "report")


def test_names_are_escaped(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(9, 4)
            self.add_module("<script>&", a2sg.LIF(4))

        def forward(self, x):
            return self._modules["<script>&"](2 * self.linear(x)).mean(0)

    found = a2sg.inspect(Odd().double(), batch(4), summed)
    found.save(tmp_path)
    page = Page((tmp_path / "inspection.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert "<script>&" in "".join(page.texts)


def test_layers_without_a_gradient_can_be_drawn(tmp_path):
    net = Net(Plan(threshold=1e6, steps=2))
    found = a2sg.inspect(net, batch(2), summed)
    found.save(tmp_path)
    assert "no gradient" in (tmp_path / "inspection.html").read_text(encoding="utf-8")


def test_a_histogram_shades_the_window():
    drawn = charts.histogram([5, 0, 1, 4, 0, 2], [0.5, 1.0], 0.5, "step 1")
    width, bottom = charts.WIDTH, charts.HEIGHT - charts.MARGIN
    x, shaded = (
        float(re.search(rf'class="window" .*?\b{name}="([\d.]+)"', drawn)[1]) for name in ("x", "width")
    )
    assert (x, shaded) == (width / 4, width / 2)
    points = re.search(r'points="([^"]+)"', drawn)[1].split()
    heights = [bottom - float(point.split(",")[1]) for point in points[1:-1]]
    assert heights == pytest.approx([0, 0, bottom / 4, bottom / 4, bottom, bottom, 0, 0], abs=0.06)
    assert "step 1; 58.3 % lie beyond" in drawn


def test_a_curve_marks_its_best_window():
    lines = {"boxcar": [1.0, 3.0, None], "own": [2.0, 1.0, 1.5]}
    drawn = charts.curves(lines, [0.5, 1.0, 1.5], 1.0, 0.5, "TGC")
    best = re.search(r'class="best" cx="([\d.]+)" cy="([\d.]+)"', drawn)
    own = re.search(r'class="own" points="([^"]+)"', drawn)[1].split()
    assert f"{best[1]},{best[2]}" == own[0]
    assert len(own) == 3
    assert len(re.search(r'stroke:#0072B2" points="([^"]+)"', drawn)[1].split()) == 2
    assert 'class="best"' not in charts.curves(lines, [0.5, 1.0, 1.5], 1.0, None, "TGC")


def run(capsys, *words):
    status = cli.main(list(words))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_model_with_fresh_weights_and_digits(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, "inspect", "mlp_small", "--batch-size", "16", "--steps", "2", "--by-step")
    assert status == 0, err
    assert "mlp_small with fresh weights, 16 training samples of digits, loss" in out
    assert re.search(r"t=2\b", out)
    assert not re.search(r"t=3\b", out)
    folder = tmp_path / "runs" / "inspect-mlp_small"
    assert {path.name for path in folder.iterdir()} == FILES
    first = json.loads((folder / "inspection.json").read_text(encoding="utf-8"))
    assert first["mode"] == "train"
    assert first["batch"] == "16 training samples of digits"
    run(capsys, "inspect", "mlp_small", "--batch-size", "16", "--steps", "2", "--out", "again")
    assert json.loads((tmp_path / "again" / "inspection.json").read_text(encoding="utf-8")) == first


def test_a_seed_is_that_of_weights_and_samples():
    one, same, other = (find_subject("mlp_small", "digits", 8, 2, seed) for seed in (0, 0, 1))
    assert torch.equal(one.batch[0], same.batch[0])
    assert not torch.equal(one.batch[0], other.batch[0])
    weights = [next(subject.model.parameters()) for subject in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_model_that_digits_do_not_fit(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, "inspect", "fcn_small", "--batch-size", "2", "--steps", "1")
    assert status == 0, err
    assert "2 random images of 32x32 pixels" in out
    status, out, err = run(
        capsys, "inspect", "fcn_small", "--data", "digits_scenes", "--batch-size", "2", "--steps", "1"
    )
    assert status == 0, err
    assert "2 training samples of digits_scenes" in out
    status, out, err = run(
        capsys, "inspect", "mlp_small", "--data", "digits_events", "--batch-size", "2", "--steps", "3"
    )
    assert status == 0, err
    assert "2 training samples of digits_events" in out


def test_a_run_with_its_weights_windows_and_data(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--epochs", "1", "--windows.every", "8", "--model.name", "mlp_small", "--model.steps", "2"]
    assert run(capsys, "train", "digits", *options, "--out", "r")[0] == 0
    summary = json.loads((tmp_path / "r" / "summary.json").read_text(encoding="utf-8"))
    status, out, err = run(capsys, "inspect", "r")
    assert status == 0, err
    assert "mlp_small of r, 32 training samples of digits" in out
    content = json.loads((tmp_path / "r" / "inspection" / "inspection.json").read_text(encoding="utf-8"))
    windows = {layer["name"]: [step["window"] for step in layer["steps"]] for layer in content["layers"]}
    assert windows == {name: pytest.approx(values) for name, values in summary["windows"].items()}
    assert "never set" not in out
    assert content["optimizer"] == "adamw"
    short = [*options, "--windows.every", "900", "--optimizer.name", "sgd", "--out", "short"]
    assert run(capsys, "train", "digits", *short)[0] == 0
    summary = json.loads((tmp_path / "short" / "summary.json").read_text(encoding="utf-8"))
    assert summary["search_silence"].startswith("no search has run: the first needs 901 iterations")
    assert f"windows were never set: {summary['search_silence'][:40]}" in run(capsys, "inspect", "short")[1]
    content = json.loads((tmp_path / "short" / "inspection" / "inspection.json").read_text(encoding="utf-8"))
    assert content["optimizer"] == "sgd"
    status, _, err = run(capsys, "inspect", "r", "--data", "digits")
    assert status == 2
    assert "those of its config.yaml" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "target"),
        (["vgg_smal"], "did you mean 'vgg_small'"),
        (["vgg_small", "--data", "digitz"], "did you mean 'digits'"),
        (["vgg16", "--data", "digits"], "image_size must be at least 32"),
        (["fcn_small", "--data", "digits"], "do not fit the labels"),
        (["vgg_small", "--batch-size", "0"], "--batch-size must be a whole number of at least 1"),
        (["vgg_small", "--steps", "0"], "steps must be a whole number of at least 1"),
        (["vgg_small", "--device", "tpu"], "unknown device 'tpu'"),
        (["vgg_small", "--out", "taken"], "--out must be a folder, but taken is a file"),
        (["vgg_small", "--out", "taken/report"], "cannot write to taken/report"),
        (["taken"], "is not a run folder"),
        (["."], "is not a run folder"),
    ],
)
def test_bad_input_is_one_line(capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("", encoding="utf-8")
    status, _, err = run(capsys, "inspect", *words)
    assert status == 2
    assert err.startswith("a2sg: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;"


@pytest.mark.parametrize(
    "write",
    [
        lambda text: html.document(text, text, [], ""),
        lambda text: html.heading(2, text),
        lambda text: html.paragraph(text),
        lambda text: html.folded(text),
        lambda text: html.table([text], [[text]], longest=0),
        lambda text: html.picture(b"", "png", text),
        lambda text: charts.histogram([1, 2, 3], [0.0, 1.0, 2.0, 3.0], 1.0, text),
        lambda text: charts.curves({text: [1.0, 2.0], "own": [1.0, 2.0]}, [0.5, 1.0], 1.0, None, text),
    ],
)
def test_names_write_no_html(write):
    class Reader(HTMLParser):
        text = ""
        tags: tuple[str, ...] = ()
        values: tuple[str | None, ...] = ()

        def handle_starttag(self, tag, attributes):
            self.tags += (tag,)
            self.values += tuple(value for _, value in attributes)

        def handle_data(self, data):
            self.text += data

    reader, plain = Reader(), Reader()
    reader.feed(write(HOSTILE))
    plain.feed(write("fine"))
    assert reader.tags == plain.tags
    values = [str(value).replace(HOSTILE, "fine") for value in reader.values]
    assert (reader.text.replace(HOSTILE, "fine"), values) == (plain.text, [*map(str, plain.values)])
    assert HOSTILE in reader.text + "".join(map(str, reader.values))

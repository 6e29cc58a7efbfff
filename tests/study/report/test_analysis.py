"""`a2sg analyze`: all files there, numbers those of the functions, one page that loads nothing."""

import base64
import csv
import json
from html.parser import HTMLParser
from itertools import islice

import pytest
import torch

import a2sg
from a2sg import analysis, cli
from a2sg.errors import InputError
from a2sg.files import write_json
from a2sg.study.report import cases
from a2sg.study.report import curvature as curvature_part
from a2sg.study.report.cases import Options, Study, open_study
from a2sg.study.report.parts import PARTS
from a2sg.study.report.prediction import feeding
from a2sg.study.report.runs import find_runs
from a2sg.study.report.variation import together
from a2sg.study.subject import training_batches
from a2sg.training.arms import parse_arm
from a2sg.training.compare import compare
from a2sg.training.recipe import load_recipe
from a2sg.training.run import load_run

VOID = {"meta", "img"}
SAMPLES, BATCH = 8, 16
QUICK = ("--samples", str(SAMPLES), "--batch-size", str(BATCH), "--seed", "3")
PANELS = {
    "variation": [
        "variation-training",
        "variation-batches",
        "signal-to-noise",
        "search-windows",
        "search-gain",
    ],
    "gain": ["gain-depth", "gain-training"],
    "curvature": ["curvature", "curvature-batches", "sharpness"],
    "landscape": ["landscape-line", "landscape-layers", "landscape-plane"],
    "theory": ["theory-shapes", "theory-condition", "theory-prediction", "theory-bridge"],
    "fidelity": ["fidelity-own", "fidelity-smoothed"],
    "energy": ["energy", "spikes", "accuracy-energy"],
}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """Two arms and two seeds of a small dense network, an epoch each."""
    out = tmp_path_factory.mktemp("runs") / "comparison"
    config = load_recipe(
        "digits",
        {
            "epochs": 1,
            "windows.every": 5,
            "model.name": "mlp_small",
            "model.steps": 2,
            "model.options": {"hidden": [8, 8]},
        },
    )
    compare(config, [parse_arm("fixed"), parse_arm("a2sg")], [0, 1], out)
    return out


@pytest.fixture(scope="module")
def analyzed(comparison, tmp_path_factory):
    """The folder of an analysis of the comparison, through the command line."""
    out = tmp_path_factory.mktemp("analysis") / "new" / "report"
    assert cli.main(["analyze", str(comparison), "--out", str(out), *QUICK]) == 0
    return out


@pytest.fixture(scope="module")
def content(analyzed):
    return json.loads((analyzed / "analysis.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)


@pytest.fixture(scope="module")
def task(comparison):
    return load_run(comparison / "a2sg-s0")


@pytest.fixture(scope="module")
def objective(task):
    batch = next(training_batches(task.data, SAMPLES, 3))
    return analysis.Objective(task.model.eval(), batch, task.loss, samples_dim=0)


class Page(HTMLParser):
    """What a page would load, its links, and whether its tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.links, self.ids, self.tags = [], [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            {"src": self.sources, "href": self.links, "id": self.ids}.get(name, []).append(value)
        if tag == "img":
            assert dict(attributes)["alt"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def names_of(panels):
    return [name for names in panels.values() for name in names]


def test_all_files_are_there(analyzed, content):
    panels = names_of(PANELS)
    files = {f"{name}.{kind}" for name in panels for kind in ("svg", "png", "csv")}
    files |= {"analysis.html", "analysis.json"}
    assert {path.name for path in analyzed.iterdir()} == files == set(content["files"])
    assert list(content["parts"]) == list(PARTS) == list(PANELS)


def test_a_comparison_stands_for_the_smallest_seed_of_each_arm(content):
    assert [run["label"] for run in content["runs"]] == ["fixed, seed 0", "a2sg, seed 0"]
    (said,) = content["left_out"]
    assert "smallest seed" in said
    points = content["parts"]["energy"]["found"]["run_points"]
    assert sorted((point["arm"], point["seed"]) for point in points) == [
        (arm, seed) for arm in ("a2sg", "fixed") for seed in (0, 1)
    ]


def test_the_page_loads_nothing_and_has_a_picture_per_panel(analyzed):
    text = (analyzed / "analysis.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "http" not in text
    assert "@import" not in text
    assert "url(" not in text
    assert page.links == [f"#{name}" for name in PARTS]
    assert set(PARTS) <= set(page.ids)
    assert len(page.sources) == len(names_of(PANELS))
    for source, name in zip(page.sources, names_of(PANELS), strict=True):
        kind, _, data = source.partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert base64.b64decode(data, validate=True) == (analyzed / f"{name}.svg").read_bytes()
    assert 'name="viewport"' in text
    assert text.count("What it cannot show: ") == len(page.sources)


def test_pictures_are_drawn_and_data_parse(analyzed):
    from matplotlib.image import imread

    for name in names_of(PANELS):
        assert imread(analyzed / f"{name}.png")[..., :3].std() > 0.03, f"{name} is all but empty"
        with (analyzed / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert rows, name
        assert None not in rows[0], name
        assert len({len(row) for row in rows}) == 1, name
        if name != "accuracy-energy":
            assert {row["run"] for row in rows} == {"a2sg, seed 0", "fixed, seed 0"}, name


def test_variation_is_that_of_the_functions(content, task, comparison):
    found = content["parts"]["variation"]["found"]
    history = analysis.run_history(comparison / "a2sg-s0")
    assert [row["sgv"] for row in found["run_history"]["a2sg, seed 0"]] == [point.sgv for point in history]
    batches = islice(training_batches(task.data, BATCH, 4), 8)
    direct = analysis.batch_variation(task.model.train(), batches, task.loss)
    task.model.eval()
    mine = found["batch_variation"]["a2sg, seed 0"]
    assert mine["batches"] == 8
    for step, row in zip(direct.steps, mine["steps"], strict=True):
        assert row["cv"]["mean"] == pytest.approx(step.cv.mean)
        assert row["norm"]["error"] == pytest.approx(step.norm.error)


def points(*iterations):
    """What a run observed at each iteration."""
    rest = dict.fromkeys(("tgc_before", "cv", "norm", "sparsity", "gain"))
    places = {"layer": "fc1", "step": 1, "window": 1.0, "window_before": 1.0}
    rows = [{"iteration": at, "sgv_before": 1.0 / (1 + at), **places, **rest} for at in iterations]
    return analysis.history_points(rows)


def test_means_over_training_are_over_iterations_that_all_runs_observed():
    notes = []
    same = {"a": points(5, 10), "b": points(5, 10)}
    assert together(same, notes) == same
    assert notes == []
    rarely = {"a": points(0, 5, 10), "b": points(0)}
    assert together(rarely, notes) == {"a": points(0), "b": points(0)}
    assert notes.pop() == "At a glance, SGV and TGC are means over 1 iteration that runs share."
    once = {"searched once": points(0), **same}
    assert together(once, notes) == same
    assert notes.pop().endswith("without SGV and TGC at a glance: searched once.")
    assert together({}, notes) == {}
    assert notes == []


def test_curvature_is_that_of_the_functions(content, objective):
    found = content["parts"]["curvature"]["found"]
    label = "a2sg, seed 0"
    fisher = analysis.empirical_fisher(objective)
    assert found["empirical_fisher"][label]["whole"]["top"] == pytest.approx(fisher.whole.top)
    squared = analysis.grad_norm_sq(objective)
    assert found["grad_norm_sq"][label]["whole"] == pytest.approx(squared.whole)
    newton = analysis.gauss_newton(objective, method="gram")
    assert found["gauss_newton"][label]["whole"]["top"] == pytest.approx(newton.whole.top)
    hessian = analysis.double_backward_hessian(objective, layers=(), seed=3)
    assert found["double_backward_hessian"][label]["whole"]["top"] == pytest.approx(
        hessian.whole.top, rel=1e-3
    )
    for name, function in (
        ("double_backward_hessian", analysis.double_backward_hessian),
        ("surrogate_field_jacobian", analysis.surrogate_field_jacobian),
    ):
        mine = found[name][label]["layers"]
        assert list(mine) == ["fc1.synapse", "fc2.synapse", "head.layer"]
        direct = function(objective, layers=["head.layer"], probes=0, seed=3).layers["head.layer"]
        for one, other in zip(mine["head.layer"]["top"], direct.top, strict=True):
            assert one == pytest.approx(other, rel=1e-3)
    ball = analysis.worst_case_sharpness(objective, rho=curvature_part.RHO, scale="filter", seed=3)
    assert found["worst_case_sharpness"][label]["increase"] == pytest.approx(ball.increase)
    assert content["glance"]["λmax of the empirical Fisher"][label] == pytest.approx(fisher.whole.top[0])


def test_landscapes_follow_the_same_directions(content, objective):
    found = content["parts"]["landscape"]["found"]
    line = analysis.loss_slice(objective, seed=3)
    mine = found["lines"]["all layers"]["kept"]
    assert mine["a2sg, seed 0"]["losses"] == pytest.approx(line.losses)
    assert mine["a2sg, seed 0"]["seed"] == mine["fixed, seed 0"]["seed"] == 3
    assert mine["a2sg, seed 0"]["losses"] != mine["fixed, seed 0"]["losses"]
    plane = analysis.loss_slice(objective, dimensions=2, points=15, seed=3, statistics="re-estimated")
    for row, direct in zip(found["planes"]["a2sg, seed 0"]["losses"], plane.losses, strict=True):
        assert row == pytest.approx(direct)


def test_theory_fidelity_and_energy_are_those_of_the_functions(content, task, objective):
    label, batch = "a2sg, seed 0", (objective.inputs, objective.labels)
    theory = content["parts"]["theory"]["found"]
    theorems = analysis.check_theorems(task.model.train(), batch, task.loss)
    task.model.eval()
    kappas = [step["potential"]["kappa"] for step in theory["check_theorems"][label]["steps"]]
    assert kappas == pytest.approx([step.potential.kappa for step in theorems.steps])
    tops = [one["top"] for one in theory["bridges"][label]]
    assert tops == pytest.approx([one.top for one in analysis.bridges(task.model, batch, task.loss)])
    fidelity = content["parts"]["fidelity"]["found"]
    direct = analysis.own_fidelity(task.model, batch, task.loss)
    assert [row["cosine"] for row in fidelity["own_fidelity"][label]] == pytest.approx(
        [row.cosine for row in direct]
    )
    table = analysis.energy_table(task.model, batch[0])
    energy = content["parts"]["energy"]["found"]["energy_table"][label]
    assert energy["picojoules"] == pytest.approx(table.picojoules)


def test_the_scatter_pairs_layers_with_the_weights_that_feed_them(analyzed, content):
    with (analyzed / "theory-prediction.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["run"] == "a2sg, seed 0"]
    layers = content["parts"]["curvature"]["found"]["empirical_fisher"]["a2sg, seed 0"]["layers"]
    assert len(rows) == 2 * 2
    for row in rows:
        assert row["weights"].rpartition(".")[0] == row["layer"].rpartition(".")[0]
        assert float(row["lambda"]) == pytest.approx(layers[row["weights"]]["top"][0])


def test_feeding_names_the_layer_that_ran_last():
    model = a2sg.create_model("resnet19", in_channels=1, image_size=8, steps=1).eval()
    weights = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    fed = feeding(model, torch.zeros(1, 1, 8, 8), weights)
    neurons = [n for n, m in model.named_modules() if isinstance(m, a2sg.LIF)]
    assert sorted(fed) == sorted(neurons)
    assert set(fed.values()) <= set(weights)


def test_two_analyses_are_equal_and_the_second_replaces_the_first(comparison, tmp_path, capsys):
    words = ["analyze", str(comparison), "--out", str(tmp_path / "r"), "--only", "energy,fidelity", *QUICK]
    assert cli.main(words) == 0
    first = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()}
    (tmp_path / "r" / "mine.txt").write_text("kept", encoding="utf-8")
    assert cli.main([*words[:4], "--only", "energy", *QUICK]) == 0
    second = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()}
    assert second.pop("mine.txt") == b"kept"
    assert set(first) - set(second) == {
        f"{name}.{kind}" for name in PANELS["fidelity"] for kind in ("svg", "png", "csv")
    }
    assert all(second[name] == first[name] for name in second if not name.startswith("analysis"))
    assert "nJ per sample" in capsys.readouterr().out


def test_what_is_too_slow_is_left_out_and_named(comparison, tmp_path):
    found = a2sg.analyze(
        comparison / "a2sg-s0", only=["curvature", "fidelity"], samples=SAMPLES, batch_size=BATCH, budget=1e-9
    )
    notes = found.sections["curvature"].notes
    assert any("gauss_newton would take" in note for note in notes)
    assert not found.sections["fidelity"].panels
    assert any("own_fidelity would take" in note for note in found.sections["fidelity"].notes)
    assert any("Variation is that of 2 batches, not 8" in text for text in found.facts["left_out"])
    assert not found.sections["curvature"].panels
    assert "would take" in str(found)
    found.save(tmp_path)
    assert "gauss_newton would take" in (tmp_path / "analysis.html").read_text(encoding="utf-8")


def test_one_run_alone(comparison, tmp_path):
    found = a2sg.analyze(str(comparison / "a2sg-s1"), only=["theory"], samples=SAMPLES, batch_size=BATCH)
    found.save(tmp_path / "one")
    content = json.loads((tmp_path / "one" / "analysis.json").read_text(encoding="utf-8"))
    theory = content["parts"]["theory"]
    assert {one["clusters"] for one in theory["found"]["correlate"].values()} == {2}  # its layers
    assert "<td>too few</td>" in (tmp_path / "one" / "analysis.html").read_text(encoding="utf-8")
    assert any("weights of earlier epochs were not kept" in note for note in theory["notes"])
    assert [run["label"] for run in content["runs"]] == ["a2sg, seed 1"]


@pytest.mark.slow
def test_noise_when_asked_for(comparison, tmp_path):
    found = a2sg.analyze(comparison / "a2sg-s0", only=["fidelity"], samples=4, batch_size=BATCH, noise=0.25)
    assert [panel.name for panel in found.sections["fidelity"].panels][-1] == "fidelity-noise"
    rows = found.sections["fidelity"].panels[-1].rows
    assert {row["reference"] for row in rows} == {"noise"}
    found.save(tmp_path / "r")
    assert (tmp_path / "r" / "fidelity-noise.png").is_file()


def test_runs_given_twice_count_once(comparison):
    folders, points, _ = find_runs([comparison / "a2sg-s0", comparison])
    assert [folder.name for folder in folders] == ["a2sg-s0", "fixed-s0"]
    assert len(points) == 4


@pytest.mark.parametrize(
    ("finished", "seeds", "said"),
    [
        ({"fixed": [1, 2], "a2sg": [0, 1, 2]}, [1, 1], "that all arms have is analysed"),
        ({"fixed": [1], "a2sg": [0]}, [1, 0], "runs of different seeds stand side by side"),
    ],
)
def test_arms_are_analysed_at_a_seed_that_all_have_finished(tmp_path, finished, seeds, said):
    for arm, seed in [("fixed", 0), *((arm, seed) for arm, every in finished.items() for seed in every)]:
        run = tmp_path / f"{arm}-s{seed}"
        run.mkdir()
        (run / "config.yaml").write_text("", encoding="utf-8")
        if seed in finished[arm]:
            numbers = {"accuracy": 0.5, "energy_nj_per_sample": 1.0, "spikes_per_sample": 1.0}
            write_json(run / "summary.json", {"arm": arm, "seed": seed, **numbers})
    folders, points, left_out = find_runs([tmp_path])
    assert {folder.name for folder in folders} == {
        f"{arm}-s{seed}" for arm, seed in zip(finished, seeds, strict=True)
    }
    assert len(points) == sum(map(len, finished.values()))
    assert said in " ".join(left_out)


def test_all_runs_get_the_same_samples(comparison):
    study = open_study([comparison], Options(samples=SAMPLES, batch_size=BATCH), torch.device("cpu"), False)
    assert isinstance(study, Study)
    one, other = study.cases
    assert torch.equal(one.objective.inputs, other.objective.inputs)
    assert one.batches is other.batches
    assert not one.model.training


def test_large_networks_are_looked_at_some_samples_at_a_time(comparison, monkeypatch):
    options = Options(samples=SAMPLES, batch_size=BATCH)
    whole = open_study([comparison], options, torch.device("cpu"), False)
    assert {case.objective.chunk for case in whole.cases} == {SAMPLES}
    one = analysis.Objective(whole.cases[0].model, whole.cases[0].batch, whole.cases[0].loss, samples_dim=0)
    kept = 0

    def count(tensor):
        nonlocal kept
        kept += tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        one.output(range(1))
    monkeypatch.setattr(cases, "GRAPH", kept / 2**30)  # no less than one sample keeps, as weights count here
    some = open_study([comparison], options, torch.device("cpu"), False)
    (chunk,) = {case.objective.chunk for case in some.cases}
    assert 1 <= chunk < SAMPLES
    for case, other in zip(whole.cases, some.cases, strict=True):
        newton, mine = (
            analysis.gauss_newton(run.objective, layers=(), probes=0, seed=1) for run in (case, other)
        )
        assert mine.whole.top == pytest.approx(newton.whole.top, rel=1e-3)
        assert mine.loss == pytest.approx(newton.loss)
    monkeypatch.setattr(cases, "GRAPH", 1e-12)
    tiny = open_study([comparison], options, torch.device("cpu"), False)
    assert {case.objective.chunk for case in tiny.cases} == {1}


def test_runs_that_do_not_compare(comparison, tmp_path):
    from a2sg.training.run import train

    options = {"epochs": 1, "model.name": "mlp_small", "model.steps": 3, "model.options": {"hidden": [8, 8]}}
    train(load_recipe("digits", options), tmp_path / "longer", quiet=True)
    with pytest.raises(InputError, match=r"they differ in their number of steps \(2 and 3\)"):
        a2sg.analyze([comparison / "a2sg-s0", tmp_path / "longer"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "runs"),
        (["nowhere"], "nowhere is not a run folder"),
        (["empty"], "empty is not a run folder: it has no config.yaml"),
        (["."], "has no finished run"),
        (["open"], "open is not finished"),
        (["RUN", "--only", "curvatur"], "did you mean 'curvature'"),
        (["RUN", "--samples", "1"], "samples must be a whole number of at least 2"),
        (["RUN", "--samples", "9999"], "samples must be at most the 1197 training samples of digits"),
        (["RUN", "--batch-size", "1197"], "batch_size 1197 leaves 1 whole batches"),
        (["RUN", "--noise", "-1"], "noise must be a number above 0"),
        (["RUN", "--budget", "0"], "budget must be a number above 0"),
        (["RUN", "--device", "tpu"], "unknown device 'tpu'"),
        (["RUN", "--out", "taken"], "--out must be a folder, but taken is a file"),
        (["RUN", "--out", "open"], "open holds something other than an analysis"),
    ],
)
def test_bad_input_is_one_line(comparison, capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("", encoding="utf-8")
    (tmp_path / "open").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "open" / "config.yaml").write_text(
        (comparison / "a2sg-s0" / "config.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    run = str(comparison / "a2sg-s0")
    before = sorted(tmp_path.rglob("*")), sorted((comparison / "a2sg-s0").rglob("*"))
    status = cli.main(["analyze", *(run if word == "RUN" else word for word in words)])
    err = capsys.readouterr().err
    assert status == 2
    assert err.startswith("a2sg: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert before == (sorted(tmp_path.rglob("*")), sorted((comparison / "a2sg-s0").rglob("*")))

"""`a2sg bench`: what it writes, how its numbers follow from its samples, what it refuses to measure."""

import json
import statistics
from dataclasses import replace

import pytest
import torch

from a2sg import imports
from a2sg.bench import command, lif, memory, networks, peers, search, timing, train
from a2sg.cli import main
from a2sg.errors import InputError
from a2sg.kernels import Gate, backends, sums
from a2sg.surrogate import Asymmetric
from bench_options import OPTIONS

NAMES = ("lif", "search", "train", "memory")


def uncompiled(patch):
    """Compiling takes longer than all else here, and other tests look at what is compiled."""
    for module in (search, train):
        patch.setattr(module, "fastest", lambda _: "reference")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    words = ["--quick", "--no-peers", "--backends", "reference", "--ways", "a2sg,a2sg observed"]
    words += ["--rounds", "3", "--batch", "4", "--memory-steps", "1,4", "--out", str(folder)]
    with pytest.MonkeyPatch.context() as patch:
        uncompiled(patch)
        assert command.bench_command(words) == 0
    return folder


@pytest.fixture(scope="module")
def found(out):
    return {name: json.loads((out / f"{name}.json").read_text(encoding="utf-8")) for name in NAMES}


def test_each_bench_leaves_json_markdown_and_a_picture_and_nothing_else(out):
    assert {path.name for path in out.iterdir()} == {
        f"{n}.{end}" for n in NAMES for end in ("json", "md", "png")
    }
    for name in NAMES:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", NAMES)
def test_machine_versions_and_options_are_recorded(found, name):
    content = found[name]
    assert content["torch"] == torch.__version__
    assert content["threads"] == torch.get_num_threads()
    assert content["device"] == "cpu"
    assert content["machine"]
    assert content["date"]
    assert content["peers"] == {}
    assert content["options"]["batch"] == 4


@pytest.mark.parametrize("name", NAMES)
def test_the_table_has_a_line_for_each_row(out, found, name):
    page = (out / f"{name}.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(found[name]["rows"])
    assert found[name]["date"] in page
    assert page.startswith(f"# {found[name]['title']}")


@pytest.mark.parametrize(
    ("name", "group", "label"),
    [
        ("lif", ("elements",), "layer"),
        ("search", ("elements", "objective"), "way"),
        ("train", ("network",), "way"),
    ],
)
def test_medians_and_ratios_follow_from_the_samples(found, name, group, label):
    rows = [row for row in found[name]["rows"] if row["ratio"] is not None]
    for row in rows:
        same = [other for other in rows if all(other[key] == row[key] for key in group)]
        base = next(other for other in same if other[label] == row.get("ratio_to", search.EAGER))
        assert len(row["samples"]) == 3
        assert row["milliseconds"] == pytest.approx(1000 * statistics.median(row["samples"]))
        ratios = [b / a for a, b in zip(row["samples"], base["samples"], strict=True)]
        assert row["ratio"] == pytest.approx(statistics.median(ratios))
        assert base["ratio"] == 1


@pytest.mark.parametrize(("copy", "share"), [(lif.COPY, "copy_share"), (lif.MEMORY, "memory_share")])
def test_the_share_of_bandwidth_is_five_passes_at_the_speed_of_a_copy(found, copy, share):
    steps = found["lif"]["options"]["steps"]
    for size in found["lif"]["options"]["elements"]:
        rows = {row["layer"]: row for row in found["lif"]["rows"] if row["elements"] == size}
        copied = lif.LARGE if copy == lif.MEMORY else 4 * size * steps
        rate = rows[copy]["gigabytes_per_second"]
        assert rate == pytest.approx(2 * copied / rows[copy]["milliseconds"] / 1e6)
        for row in rows.values():
            if row["layer"] not in (lif.COPY, lif.MEMORY):
                limits = [sample * 5 * 4 * size * steps / (2 * copied) for sample in rows[copy]["samples"]]
                shares = [limit / taken for limit, taken in zip(limits, row["samples"], strict=True)]
                assert row[share] == pytest.approx(statistics.median(shares))
                assert row["same_spikes"] == 1


def test_training_rows(found):
    ordinary, observed = found["train"]["rows"]
    assert (ordinary["way"], observed["way"]) == ("a2sg", "a2sg observed")
    assert ordinary["observed_to_ordinary"] is None
    times = [o / u for o, u in zip(observed["samples"], ordinary["samples"], strict=True)]
    assert observed["observed_to_ordinary"] == pytest.approx(statistics.median(times))
    for row in (ordinary, observed):
        assert row["images_per_second"] == pytest.approx(4000 / row["milliseconds"])


def test_memory_grows_with_the_steps(found):
    peaks = {row["steps"]: row["megabytes"] for row in found["memory"]["rows"]}
    assert list(peaks) == [1, 4]
    assert 0 < peaks[1] < peaks[4]


def test_only_some_benches(tmp_path):
    words = ["--quick", "--no-peers", "--backends", "reference", "--only", "lif", "--elements", "32"]
    assert (
        command.bench_command([*words, "--reset", "hard", "--dtype", "bfloat16", "--out", str(tmp_path)]) == 0
    )
    assert {path.name for path in tmp_path.iterdir()} == {"lif.json", "lif.md", "lif.png"}
    content = json.loads((tmp_path / "lif.json").read_text(encoding="utf-8"))
    assert {row["elements"] for row in content["rows"]} == {32}
    assert "bfloat16, hard reset" in content["title"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "lfi"], "did you mean 'lif'"),
        (["--colour", "red"], "--colour"),
        (["--rounds", "0"], "--rounds must be a whole number of at least 1, not 0"),
        (["--rounds", "few"], "few"),
        (["--steps", "-1"], "at least 1, not -1"),
        (["--elements", "4,x"], "--elements must be whole numbers above 0 such as 4,8, not '4,x'"),
        (["--memory-steps", "0"], "--memory-steps"),
        (["--candidates", "1"], "at least 2, not 1"),
        (["--batch", "1"], "at least 2, not 1"),
        (["--width", "0"], "--width must be a number above 0"),
        (["--dtype", "float16"], "bfloat16, float32"),
        (["--reset", "none"], "hard, soft"),
        (["--network", "vgg61"], "did you mean 'vgg16'"),
        (["--ways", "a2sgg"], "did you mean 'a2sg'"),
        (["--backends", "fast"], "reference"),
        (["--device", "tpu"], "tpu"),
        (
            ["--peers", "nowhere"],
            "nowhere is not an environment: create it with benchmarks/setup-peers nowhere",
        ),
        (["--threads", "0"], "--threads must be a whole number of at least 1"),
    ],
)
def test_bad_options(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        command.bench_command(["--quick", *words])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_cuda_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="device cuda was asked for"):
        command.bench_command(["--quick", "--no-peers", "--device", "cuda"])


def test_a_file_cannot_be_the_folder(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="must be a folder"):
        command.bench_command(["--quick", "--no-peers", "--out", str(tmp_path / "file")])


def test_the_environment_of_the_peers_takes_over(tmp_path, monkeypatch):
    python = tmp_path / "peers" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("", encoding="utf-8")
    started, known = [], []

    class Replaced(Exception):
        pass

    def execute(path, arguments):
        started.append((path, arguments))
        raise Replaced

    monkeypatch.setattr(command.os, "execv", execute)
    for module in (imports, command):
        monkeypatch.setattr(module, "imported", known)
    words = ["--quick", "--peers", str(tmp_path / "peers")]
    with pytest.raises(Replaced):
        main(["bench", *words, "--import", "colorsys"])  # any module
    assert started == [(python, [str(python), "-m", "a2sg", "bench", "--import=colorsys", *words])]
    monkeypatch.setattr(command.sys, "prefix", str(tmp_path / "peers"))
    command._enter(tmp_path / "peers", asked=True, words=words)  # being there, it goes on
    assert len(started) == 1


def test_networks_train_in_mixed_precision_if_asked(monkeypatch):
    """What the loss is computed from says so."""
    uncompiled(monkeypatch)
    seen = []
    loss = train._loss
    monkeypatch.setattr(
        train, "_loss", lambda logits, labels: seen.append(logits.dtype) or loss(logits, labels)
    )
    for precision in ("32", "bf16"):
        options = replace(OPTIONS, precision=precision, width=1 / 16, batch=2, steps=1)
        train.WAYS["a2sg"](options, 1)()
    assert seen == [torch.float32, torch.bfloat16]


def test_what_needs_a_gpu_is_left_out_on_a_cpu():
    options = replace(OPTIONS, ways=("a2sg", *train.ON_A_GPU), peers=("spikingjelly",))
    assert train.chosen(options) == ["a2sg"]
    assert train.chosen(replace(options, device="cuda")) == ["a2sg", *train.ON_A_GPU]


def test_without_peers_it_says_how_to_get_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(peers, "available", lambda: ({}, {}))
    words = ["--quick", "--only", "search", "--search-elements", "64", "--out", str(tmp_path)]
    assert command.bench_command(words) == 0
    assert "benchmarks/setup-peers" in capsys.readouterr().err


def test_calls_are_interleaved_and_each_round_starts_with_another(monkeypatch):
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    timings = timing.interleave(calls, rounds=3, sample=0.0, device="cpu", title="")
    assert "".join(order[-9:]) == "abcbcacab"
    assert [len(timings[name].samples) for name in "abc"] == [3, 3, 3]


def test_short_calls_are_repeated():
    looks = iter(range(1000))  # every look at the clock is a second later: a call takes one second
    count = []
    options = {"rounds": 1, "sample": 5.0, "device": "cpu", "title": "", "clock": lambda: next(looks)}
    timings = timing.interleave({"a": lambda: count.append(1)}, **options)
    assert len(count) == 3 + 5  # three to warm up
    assert timings["a"].samples == [1 / 5]


def test_speed_is_the_median_ratio_of_rounds():
    fast, slow = timing.Timing(0, [1.0, 2.0, 4.0]), timing.Timing(0, [3.0, 4.0, 40.0])
    assert fast.speed(slow) == 3
    assert fast.median == 2


def test_gradients_are_dropped_and_not_added_up():
    x, grad = lif.example(16, OPTIONS)
    call = lif.step(lambda current: 2 * current, x, grad)
    call()
    call()
    assert torch.equal(x.grad, 2 * grad)


def half_precision(x):
    """A LIF that keeps its potential in the precision of its input."""
    u, spikes = torch.zeros_like(x[0]), []
    for current in x:
        u = lif.DECAY * u + current
        spikes.append(u.gt(lif.THRESHOLD).to(x.dtype) + 0 * u)
        u = u - lif.THRESHOLD * spikes[-1].detach()
    return torch.stack(spikes)


def test_a_peer_that_rounds_otherwise_is_timed_and_told(monkeypatch):
    monkeypatch.setattr(peers, "lif_layers", lambda options: {"SpikingJelly torch": half_precision})
    options = replace(OPTIONS, dtype="bfloat16", steps=4, elements=(20000, 64))
    found = lif.measure(options)
    shares = [row["same_spikes"] for row in found.rows if row["layer"] == "SpikingJelly torch"]
    assert len(shares) == 2
    assert 0.9 < shares[0] < 1
    told = [note for note in found.notes if note.startswith("Spikes that are the same as a2sg's")]
    assert told == [
        f"Spikes that are the same as a2sg's, where not all are: SpikingJelly torch {min(shares):.2%}."
    ]
    assert all(row["same_spikes"] == 1 for row in found.rows if row["layer"].startswith("a2sg"))
    assert not lif.differing({"a2sg": [1.0, 1.0]})


def test_a_layer_of_ours_that_differs_is_not_timed():
    x, grad = lif.example(256, OPTIONS)
    ours = lif.lif(OPTIONS, "reference")
    hard = lif.lif(replace(OPTIONS, reset="hard"), "reference")
    found = lif.agree({"a2sg": ours, "other": hard}, ours, x, grad)
    assert found["a2sg"]["same_spikes"] == 1
    assert found["a2sg"]["gradient_error"] == 0
    assert found["other"]["same_spikes"] < 1
    with pytest.raises(RuntimeError, match="does not agree"):
        lif.agree({"a2sg wrong": hard}, ours, x, grad)
    wide = lif.lif(OPTIONS, "reference", Asymmetric())
    with pytest.raises(RuntimeError, match="does not agree"):
        lif.agree({"a2sg wrong": wide}, ours, x, grad)  # same spikes, other gradients
    assert "gradient_error" not in lif.agree({"a2sg, asymmetric": wide}, ours, x, grad)["a2sg, asymmetric"]


def test_the_eager_search_is_the_method():
    u, upstream, later = search.example(2000, "cpu")
    u, upstream, later = u.double(), 1e6 * upstream.double(), 1e6 * later.double()
    windows = torch.linspace(0.1, 1.0, 7, dtype=torch.float64)
    for r, by_hand in (
        (None, lambda delta: 1 - ((delta - delta.mean()) ** 2).mean() / delta.abs().mean()),
        (later, lambda delta: torch.cosine_similarity(delta, later[0], dim=0)),
    ):
        scores = search.eager(u, upstream, r, windows)
        for window, score in zip(windows, scores, strict=True):
            delta = upstream[0] * Asymmetric().derivative(u[0] - 1, window)
            assert score.item() == pytest.approx(by_hand(delta).item(), rel=1e-7)


def test_every_way_to_fill_is_found_and_a_wrong_one_stops_the_bench(monkeypatch):
    assert {"blocked", "binned", "each"} <= set(search.fills("cpu"))
    assert ("compiled" in search.fills("cpu")) == (backends.fastest("cpu") == "compiled")

    def wrong(seen, candidates, table):
        sums.each(seen, candidates.flip(1), table)

    monkeypatch.setattr(search, "fills", lambda device: {"wrong": wrong})
    with pytest.raises(RuntimeError, match="chose window"):
        search.measure(OPTIONS)


def test_the_best_window_lies_inside_the_range():
    u, upstream, later = search.example(4096, "cpu")
    windows = torch.linspace(0.1, 1.0, 20)
    for r in (None, later):
        best = search.eager(u, upstream, r, windows).argmax()
        assert 0 < best < 19
    assert Gate(Asymmetric(), (1.0,)).fire(u).mean() > 0.1


def test_an_observed_step_sets_windows_and_an_ordinary_one_does_not(monkeypatch):
    made = []
    uncompiled(monkeypatch)
    create = networks.NETWORKS["vgg16"].ours

    def keep(options, steps):
        made.append(create(options, steps))
        return made[-1]

    monkeypatch.setitem(networks.NETWORKS, "vgg16", networks.Network(keep, lambda model, reset: model))
    for observed in (False, True):
        step = train.ours(OPTIONS, OPTIONS.steps, observed=observed)
        before = made[-1].conv1.neuron.window.clone(), made[-1].head.layer.weight.clone()
        step()
        assert torch.equal(made[-1].conv1.neuron.window, before[0]) != observed
        assert not torch.equal(made[-1].head.layer.weight, before[1])


def test_options_survive_the_way_to_another_process():
    from dataclasses import asdict

    assert memory._read(json.loads(json.dumps(asdict(OPTIONS)))) == OPTIONS


def test_memory_leaves_out_what_lies_in_the_pools_of_graphs(monkeypatch):
    """They are recorded after more steps than it takes, and then no step rises above what they hold."""
    asked = []
    monkeypatch.setattr(
        memory, "_fresh", lambda name, *_: asked.append(name) or {"peak": 2**20, "baseline": 2**20}
    )
    options = replace(OPTIONS, device="cuda", ways=("a2sg", *train.ON_A_GPU), peers=("spikingjelly",))
    memory.measure(replace(options, memory_steps=(1,)))
    assert asked == ["a2sg", train.TRITON]
    with pytest.raises(InputError, match="none of"):
        memory.measure(replace(options, ways=train.RECORDED))


def test_a_process_that_fails_says_why():
    with pytest.raises(RuntimeError, match="vgg61"):
        memory._fresh("a2sg", 1, replace(OPTIONS, network="vgg61"))


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize(
    ("library", "resets"), [("spikingjelly", "soft hard"), ("norse", "soft hard"), ("snntorch", "hard")]
)
def test_a_peer_gives_our_spikes(library, resets, reset):
    pytest.importorskip(peers.MODULES[library])
    options = replace(OPTIONS, reset=reset, peers=(library,))
    x, grad = lif.example(500, options)
    layers = {name: layer for name, layer in peers.lif_layers(options).items() if "compiled" not in name}
    for agreement in lif.agree(layers, lif.lif(options, "reference"), x, grad).values():
        assert (agreement["same_spikes"] == 1) == (reset in resets)


def test_spikingjellys_network_is_ours():
    pytest.importorskip(peers.MODULES["spikingjelly"])
    assert "same logits" in train.check(OPTIONS)
    with pytest.raises(RuntimeError, match="not the same function"):
        train.check(replace(OPTIONS, reset="hard"), their_reset="soft")

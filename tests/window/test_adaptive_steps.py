"""The search with windows that steps share, with another T in each batch, and with padded sequences."""

import pytest
import torch
from torch import nn

import a2sg
from a2sg import AdaptiveWindows, InputError
from a2sg.kernels.sums import Sums
from networks import NOW, Net, Plan, Replica, batch, candidates, observe
from reference import sgv, tgc

COUNT = 30


class Shared(Net):
    """A `Net` whose neurons share windows."""

    def __init__(self, plan, groups, backend="reference"):
        super().__init__(plan)
        self.neurons = nn.ModuleList(
            [a2sg.LIF(plan.steps, groups=groups, window=plan.window, backend=backend) for _ in range(2)]
        ).double()

    def loss(self, x, y, scale=1.0, lengths=None):
        """The cross-entropy of the mean over each sequence's own steps."""
        if lengths is None:
            return super().loss(x, y, scale)
        for layer, neuron in enumerate(self.neurons):
            x = neuron(self.current(layer, x))
        out = a2sg.mean_over_steps(self.out(x), lengths)
        return nn.functional.cross_entropy(out, y, reduction="sum")


def tables(windows):
    return {name: observer.table.clone() for name, observer in windows.observers.items()}


def summed(net, x, y, **options):
    """The tables of one backward pass."""
    windows = AdaptiveWindows(net, **NOW, candidates=COUNT)
    windows.lengths = options.get("lengths")
    net.loss(x, y, **options).backward()
    return tables(windows)


def runs(steps, groups):
    """Steps 0 .. T-1 in G runs, by the definition."""
    return [[t for t in range(steps) if t * groups // steps == group] for group in range(groups)]


def best(score, grid):
    scores = [score(window) for window in grid]
    return next(
        w for w, one in zip(grid, scores, strict=True) if one >= max(scores) - 1e-9 * abs(max(scores))
    )


@pytest.mark.parametrize(
    ("groups", "backend"),
    [
        (1, "reference"),
        (2, "reference"),
        pytest.param(2, "compiled", marks=pytest.mark.slow),
        (3, "reference"),
        (5, "reference"),
    ],
)
def test_groups_take_the_windows_that_brute_force_finds(groups, backend):
    """SGV of all δ of the last group's steps; before it the cosine of all δ with those a step later."""
    steps, grid = 5, candidates(count=COUNT)
    net, (x, y) = Shared(Plan(steps=steps, window=0.8), groups, backend), batch(steps)
    twin = Net(Plan(steps=steps, window=0.8))
    twin.load_state_dict(net.state_dict())
    found = Replica(twin, x, y).steps
    windows = AdaptiveWindows(net, **NOW, candidates=COUNT)
    observe(net, windows, x, y)
    expected = {}
    for name, own in found.items():
        expected[name] = []
        for run in runs(steps, groups):

            def deltas(window, own=own, run=run):
                return torch.cat([own[t].delta(window).flatten() for t in run])

            if run[-1] == steps - 1:
                expected[name].append(best(lambda window: -sgv(deltas(window)), grid))
            else:
                later = torch.cat([own[t].later.flatten() for t in run])
                expected[name].append(best(lambda window, later=later: tgc(deltas(window), later), grid))
    assert {name: window.tolist() for name, window in net.windows().items()} == expected
    rows = [row for row in windows.history if row["layer"] == "neurons.0"]
    assert [row["step"] for row in rows] == [run[-1] + 1 for run in runs(steps, groups)]
    assert [row["tgc"] is None for row in rows] == [False] * (groups - 1) + [True]


@pytest.mark.parametrize("backend", ["reference", pytest.param("compiled", marks=pytest.mark.slow)])
def test_the_sums_of_a_group_are_those_of_its_steps(backend):
    x, y = batch(5)
    apart = summed(Shared(Plan(steps=5), None, backend), x, y)
    shared = summed(Shared(Plan(steps=5), 2, backend), x, y)
    for name, table in apart.items():
        expected = torch.stack([table[run].sum(0) for run in runs(5, 2)])
        torch.testing.assert_close(shared[name], expected, rtol=1e-10, atol=1e-14)


def test_batches_of_another_t_add_up_step_by_step():
    long, short = batch(4, seed=1), batch(2, seed=2)
    net = Shared(Plan(), None)
    alone, first = summed(net, *long), summed(Shared(Plan(steps=2), None), *short)
    windows = AdaptiveWindows(net, **NOW, candidates=COUNT)
    net.loss(*long).backward()
    net.loss(*short).backward()
    for name, table in tables(windows).items():
        torch.testing.assert_close(table[:2], alone[name][:2] + first[name], rtol=1e-10, atol=1e-14)
        assert torch.equal(table[2:], alone[name][2:])


def test_steps_that_no_batch_had_keep_their_windows_and_say_so():
    net = Shared(Plan(), None)
    windows = AdaptiveWindows(net, **NOW, candidates=COUNT)
    observe(net, windows, *batch(2))
    for name, window in net.windows().items():
        assert window[2:].tolist() == [1.0, 1.0]
        reasons = [row["kept"] for row in windows.history if row["layer"] == name]
        assert reasons[2:] == ["not reached", "not reached"]
        assert "not reached" not in reasons[:2]
    assert windows.kept["not reached"] == 4
    observe(net, windows, *batch(4))
    assert windows.kept["not reached"] == 4


def test_a_layer_without_gradients_says_no_gradient():
    net = Shared(Plan(), None)
    windows = AdaptiveWindows(net, **NOW)
    windows.step()
    assert windows.kept == {"no gradient": 8}


def test_steps_beyond_t_count_as_the_last_group():
    x, y = batch(6)
    longer = Shared(Plan(steps=6), None)
    shared = Shared(Plan(steps=4), 2)
    apart = summed(longer, x, y)
    for name, table in summed(shared, x, y).items():
        expected = torch.stack([apart[name][:2].sum(0), apart[name][2:].sum(0)])
        torch.testing.assert_close(table, expected, rtol=1e-10, atol=1e-14)


LENGTHS = [4, 1, 3, 4, 2, 4]


@pytest.mark.parametrize(
    ("groups", "backend"),
    [
        (None, "reference"),
        (1, "reference"),
        (2, "reference"),
        pytest.param(2, "compiled", marks=pytest.mark.slow),
    ],
)
def test_padded_sequences_have_the_sums_of_the_sequences_alone(groups, backend):
    x, y = batch(4)
    sequences = [x[:length, b] for b, length in enumerate(LENGTHS)]
    padded, lengths = a2sg.pad(sequences)
    assert lengths.tolist() == LENGTHS
    padded[3:, 1] = 7.0  # what comes after the end is anything
    net = Shared(Plan(), groups, backend)
    alone = AdaptiveWindows(net, **NOW, candidates=COUNT)
    for neuron in net.neurons:
        neuron.backend = "reference"
    for b, sequence in enumerate(sequences):
        net.loss(sequence[:, None], y[b : b + 1]).backward()
    expected = tables(alone)
    gradients = [parameter.grad.clone() for parameter in net.parameters()]
    alone.step()
    found = Shared(Plan(), groups, backend)
    windows = AdaptiveWindows(found, **NOW, candidates=COUNT)
    windows.lengths = lengths
    found.loss(padded, y, lengths=lengths).backward()
    for name, table in tables(windows).items():
        torch.testing.assert_close(table, expected[name], rtol=1e-9, atol=1e-14)
        steps = runs(4, groups or 4)
        counts = [sum(length > t for length in LENGTHS for t in run) for run in steps]
        neurons = 11 if name.endswith("0") else 7
        assert table[:, -1, Sums.COUNT].tolist() == [neurons * count for count in counts]
    for mine, theirs in zip(found.parameters(), gradients, strict=True):
        torch.testing.assert_close(mine.grad, theirs)
    windows.step()
    assert all(torch.equal(found.windows()[name], window) for name, window in net.windows().items())
    for mine, theirs in zip(windows.history, alone.history, strict=True):
        for column in ("sgv", "tgc_before", "cv", "norm", "sparsity"):
            expected = theirs[column]
            assert mine[column] == (None if expected is None else pytest.approx(expected, rel=1e-9))


def test_without_lengths_padding_counts():
    """What the lengths are for: SGV sees how many elements there are."""
    x, y = batch(4)
    padded, lengths = a2sg.pad([x[:length, b] for b, length in enumerate(LENGTHS)])
    told = summed(Shared(Plan(), None), padded, y, lengths=lengths)
    net = Shared(Plan(), None)
    windows = AdaptiveWindows(net, **NOW, candidates=COUNT)
    net.loss(padded, y, lengths=lengths).backward()
    for name, table in tables(windows).items():
        assert torch.equal(table[..., Sums.DELTA :], told[name][..., Sums.DELTA :])
        assert (table[1:, :, Sums.COUNT] > told[name][1:, :, Sums.COUNT]).all()


def test_lengths_of_another_batch_are_refused():
    net = Shared(Plan(), None)
    windows = AdaptiveWindows(net, **NOW)
    windows.lengths = torch.tensor([4, 3, 2, 1])
    with pytest.raises(InputError, match="lengths has 4 sequences"):
        net.loss(*batch(4, size=5)).backward()
    windows.lengths = torch.tensor([4, 3, 2, 1] * 2)  # of which a layer has a multiple of elements
    with pytest.raises(InputError, match=r"lengths has 8 sequences, but a layer has 4 of them: set the"):
        net.loss(*batch(4, size=4)).backward()
    windows.lengths = None
    net.loss(*batch(4, size=5)).backward()


def test_no_sequences_have_no_lengths():
    neuron = a2sg.LIF(4)
    windows = AdaptiveWindows(neuron, **NOW)
    windows.lengths = torch.zeros(0, dtype=torch.int64)
    neuron(torch.randn(4, 0, 6).requires_grad_()).sum().backward()
    windows.step()
    assert windows.kept == {"no gradient": 4}


def test_biases_are_searched_with_groups():
    """The last group's best shape is the layer's, and its best window that under this shape."""
    steps, grid = 5, candidates(count=COUNT)
    net, (x, y) = Shared(Plan(steps=steps, window=0.8), 2), batch(steps)
    twin = Net(Plan(steps=steps, window=0.8))
    twin.load_state_dict(net.state_dict())
    found = Replica(twin, x, y).steps
    windows = AdaptiveWindows(net, **NOW, candidates=COUNT, biases=3)
    observe(net, windows, x, y)
    for (name, own), neuron in zip(found.items(), net.neurons, strict=True):
        scores = {}
        for bias in (0.5, 0.75, 1.0):
            for window in grid:
                parts = []
                for t in runs(steps, 2)[-1]:
                    x_ = own[t].u - 1
                    parts.append((own[t].up * (x_ / (2 * window) + bias) * (x_.abs() <= window)).flatten())
                scores[bias, window] = -sgv(torch.cat(parts))
        bias, window = max(scores, key=lambda pair: scores[pair])
        assert neuron.surrogate.bias == bias, name
        assert neuron.window[-1].item() == window, name


def test_gain_compares_with_the_layer_behind_where_its_groups_are_the_same():
    for groups, expected in ((2, True), (3, False)):
        net, (x, y) = Shared(Plan(steps=6), 2), batch(6)
        net.neurons[1] = a2sg.LIF(6, groups=groups, backend="reference").double()
        windows = AdaptiveWindows(net, **NOW, candidates=COUNT, spatial="gain", temporal="gain")
        observe(net, windows, x, y)
        rows = [row for row in windows.history if row["layer"] == "neurons.0"]
        assert [row["gain"] is not None for row in rows] == [expected, expected]


def test_the_inspection_shows_the_window_of_each_step():
    net, (x, y) = Shared(Plan(steps=5), 2), batch(5)
    for neuron in net.neurons:
        neuron.window.copy_(torch.tensor([0.4, 0.9]))
    for steps, expected in ((5, [0.4, 0.4, 0.4, 0.9, 0.9]), (3, [0.4, 0.4, 0.4])):
        found = a2sg.inspect(net, (x[:steps], y), nn.functional.cross_entropy)
        for layer in found.layers.values():
            assert [step.window for step in layer.steps] == pytest.approx(expected)


def test_adopted_sites_share_windows_too():
    class Loop(nn.Module):
        def __init__(self, groups):
            super().__init__()
            self.weights = nn.Linear(9, 4).double()
            self.site = a2sg.SpikeSite(5, groups=groups)

        def forward(self, x):
            u, spikes = 0.0, []
            for current in 3 * self.weights(x):
                u = 0.9 * u + current
                s = a2sg.spike(u - 1.0, self.site)
                u = u - s
                spikes.append(s)
            return torch.stack(spikes)

    found = []
    for groups in (None, 2):
        torch.manual_seed(0)
        net = Loop(groups)
        windows = a2sg.adapt(net, steps=5, every=1, start=0, candidates=COUNT)
        x, _ = batch(5)
        weights = torch.randn(5, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        (net(x) * weights).sum().backward()
        found.append(tables(windows)["site"])
        windows.step()
        assert len(net.site.window) == (groups or 5)
    expected = torch.stack([found[0][run].sum(0) for run in runs(5, 2)])
    torch.testing.assert_close(found[1], expected, rtol=1e-10, atol=1e-14)

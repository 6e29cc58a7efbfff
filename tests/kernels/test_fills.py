"""Sums of several steps at once: as one after the other, and each way where it belongs."""

import pytest
import torch

from a2sg.adopt.gates import Multiples, Stairs
from a2sg.adopt.sums import of_multiples
from a2sg.kernels import Gate, compiled_sums, fills, sums, triton_bins, triton_products, triton_sums
from a2sg.kernels.compilers import missing
from a2sg.kernels.fuse import FusionError
from a2sg.kernels.sums import Observation, Sums
from a2sg.kernels.triton_constants import available
from a2sg.kernels.watch import Steps
from a2sg.surrogate import Arctan, Asymmetric, Boxcar, Triangle
from reference import BY_NAME
from sums_by_hand import FEW, assert_same, brute_force, layer

LEVELS = (0.5, 1.5)
STEPS = 3
ALL = [
    sums.each,
    sums.blocked,
    sums.binned,
    pytest.param(
        compiled_sums.fill,
        id="compiled",
        marks=pytest.mark.skipif(bool(missing("cpu")), reason="no compiler"),
    ),
    pytest.param(
        triton_sums.fill,
        id="triton",
        marks=pytest.mark.skipif(not available("cpu"), reason="triton is not interpreted"),
    ),
    pytest.param(
        triton_bins.fill,
        id="triton by gap",
        marks=pytest.mark.skipif(not available("cpu"), reason="triton is not interpreted"),
    ),
    pytest.param(
        triton_products.fill,
        id="triton as a product",
        marks=pytest.mark.skipif(not available("cpu"), reason="triton is not interpreted"),
    ),
]
LINES = (sums.binned, triton_bins.fill, triton_products.fill)
"""For the spike path at one threshold."""


def shown(size, dtype=torch.float32, *, carried=False, known=STEPS - 1, thresholds=(1.0,), shape=None):
    """A pass of three steps: the first `known` have a step after."""
    steps = [layer(size, dtype=dtype, seed=seed) for seed in range(STEPS)]
    u, g, c, r = (torch.stack(part) for part in zip(*steps, strict=True))
    gate = Gate(shape or Asymmetric(), thresholds)
    return Observation(gate, u, g, c if carried else None, r[:known] if known else None)


def candidates(seed=0):
    """Other ones at every step, in no order: the last stands for the window in use."""
    generator = torch.Generator().manual_seed(seed)
    used = 0.1 + torch.rand(STEPS, 1, generator=generator).double()
    return torch.cat([FEW.expand(STEPS, -1), used.float().double()], 1)


def table(fill, seen, windows):
    found = windows.new_zeros((*windows.shape, len(Sums)))
    fill(seen, windows, found)
    return found


@pytest.mark.parametrize("known", [0, STEPS - 1, STEPS])
@pytest.mark.parametrize(("carried", "levels"), [(False, (1.0,)), (True, (1.0,)), (False, LEVELS)])
@pytest.mark.parametrize("fill", ALL)
def test_every_step_has_the_sums_of_brute_force(fill, carried, levels, known):
    if fill in LINES and (carried or (len(levels) > 1 and fill is not sums.binned)):
        pytest.skip("for the spike path, and on a GPU at one threshold")
    case = BY_NAME["asymmetric"]
    seen, windows = (
        shown(333, carried=carried, known=known, thresholds=levels, shape=case.shape),
        candidates(),
    )
    found = table(fill, seen, windows)
    for k in range(STEPS):
        c = seen.carry[k] if carried else None
        r = seen.later[k] if k < known else None
        expected = brute_force(case, levels, seen.potential[k], seen.upstream[k], c, r, windows[k])
        assert_same(found[k], expected, rel=2e-6)


@pytest.mark.parametrize("size", [1, 1000, 2048])
@pytest.mark.parametrize("fill", ALL)
def test_steps_at_once_are_steps_one_by_one_to_the_bit(fill, size):
    """But for what is added up in another order for more steps: by torch's product, and by GPU programs."""
    seen, windows = shown(size), candidates()
    rel = {sums.blocked: 1e-12, triton_bins.fill: 1e-5, triton_products.fill: 1e-5}.get(fill, 0)
    together = table(fill, seen, windows)
    for k in range(STEPS):
        alone = seen.steps(slice(k, k + 1))
        found = table(fill, alone, windows[k : k + 1])[0]
        torch.testing.assert_close(found, together[k], rtol=rel, atol=rel * 100)


@pytest.mark.parametrize("fill", ALL)
def test_sums_are_added_to_what_is_there_also_in_a_part_of_a_table(fill):
    seen, windows = shown(500), candidates()
    left, right = torch.ones(STEPS, 2 * windows.shape[1], len(Sums), dtype=torch.float64).chunk(2, 1)
    fill(seen, windows, right)
    assert (left == 1).all()
    torch.testing.assert_close(right - 1, table(fill, seen, windows), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("fill", ALL)
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_what_is_not_finite_stays_in_its_step(fill, value):
    seen, windows = shown(300), candidates()
    clean = table(fill, seen, windows)
    seen.potential[1, 7] = 50.0  # outside every window
    seen.upstream[1, 7] = value
    found = table(fill, seen, windows)
    assert not found[1, :, Sums.SQUARE].isfinite().any()
    assert torch.equal(found[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize("fill", ALL)
def test_no_gradient_at_all_and_one_element_that_is_zero(fill):
    seen, windows = shown(64), candidates()
    found = table(fill, seen._replace(upstream=torch.zeros_like(seen.upstream)), windows)
    assert (found[..., [Sums.DELTA, Sums.ABS, Sums.SQUARE, Sums.CROSS]] == 0).all()
    assert (found[..., Sums.COUNT] == 64).all()


def test_several_spikes_a_step_are_summed_step_by_step():
    seen, windows = shown(400, torch.float64), candidates()
    seen = seen._replace(gate=Multiples(Triangle(), (), 0.7), potential=2 * seen.potential)
    torch.testing.assert_close(table(of_multiples, seen, windows), table(sums.each, seen, windows))


def test_the_chunks_of_a_device_are_not_seen_in_the_sums(monkeypatch):
    seen, windows = shown(5000, shape=Arctan()), candidates()
    whole = table(sums.blocked, seen, windows)
    monkeypatch.setattr(sums, "BLOCK", 999)
    torch.testing.assert_close(table(sums.blocked, seen, windows), whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("way", [sums.binned, sums.blocked, sums.each])
def test_how_many_steps_are_taken_at_once_is_not_seen_in_the_sums(monkeypatch, way):
    seen, windows = shown(500), candidates()
    whole = table(way, seen, windows)
    for most in (1, 1000):  # one step at a time, and two
        monkeypatch.setattr(sums, "TOGETHER", most)
        torch.testing.assert_close(table(way, seen, windows), whole, rtol=1e-12, atol=1e-14)


def called(monkeypatch):
    """The names of the ways that are taken."""
    names = []
    for module, name in (
        (triton_sums, "fill"),
        (triton_bins, "fill"),
        (compiled_sums, "fill"),
        (fills, "blocked"),
        (fills, "binned"),
    ):
        word = f"{module.__name__.rpartition('.')[2]}.{name}"
        monkeypatch.setattr(module, name, lambda *_, word=word: names.append(word))
    return names


@pytest.mark.parametrize(
    ("way", "gate", "carried", "expected"),
    [
        (fills.uncompiled, Gate(Asymmetric(), (1.0,)), False, "fills.binned"),
        (fills.uncompiled, Gate(Asymmetric(), (1.0,)), True, "fills.blocked"),
        (fills.uncompiled, Gate(Boxcar(), LEVELS), False, "fills.binned"),
        (fills.uncompiled, Gate(Arctan(), (1.0,)), False, "fills.blocked"),
        (fills.kernel, Gate(Arctan(), (1.0,)), True, "compiled_sums.fill"),
        (fills.kernel, Multiples(Boxcar()), False, "fills.blocked"),
        (fills.plain, Stairs(Boxcar(), LEVELS, (0.5,) * len(LEVELS)), False, "fills.binned"),
        (fills.plain, Stairs(Boxcar(), LEVELS, (0.5,) * len(LEVELS)), True, "fills.blocked"),
    ],
)
def test_the_way_on_a_cpu(monkeypatch, way, gate, carried, expected):
    monkeypatch.setattr(fills, "available", lambda _: False)
    monkeypatch.setattr(fills, "missing", lambda _: "")
    names = called(monkeypatch)
    table(way, shown(10, carried=carried)._replace(gate=gate), candidates())
    assert names == [expected]


@pytest.mark.parametrize("gate", [Gate(Asymmetric(), (1.0,)), Gate(Boxcar(), LEVELS), Gate(Arctan(), (1.0,))])
@pytest.mark.parametrize("way", [fills.uncompiled, fills.kernel])
def test_the_way_on_a_gpu_is_a_kernel_for_every_neuron(monkeypatch, way, gate):
    monkeypatch.setattr(fills, "available", lambda device: device == "meta")
    monkeypatch.setattr(fills, "missing", lambda _: "")
    names = called(monkeypatch)
    seen, windows = shown(10, carried=True), candidates().to("meta")
    seen = Observation(gate, *(part.to("meta") for part in seen[1:]))
    table(way, seen, windows)
    monkeypatch.setattr(fills, "available", lambda _: False)
    table(way, seen, windows)
    monkeypatch.setattr(fills, "missing", lambda _: "no compiler")
    table(way, seen, windows)
    assert names == ["triton_sums.fill", "compiled_sums.fill", "fills.blocked"]


def test_on_a_gpu_many_windows_of_a_straight_line_are_summed_by_gap(monkeypatch):
    monkeypatch.setattr(fills, "available", lambda device: device == "meta")
    names = called(monkeypatch)
    seen, windows = shown(10), candidates().to("meta")
    seen = Observation(
        Gate(Asymmetric(), (1.0,)), *(None if part is None else part.to("meta") for part in seen[1:])
    )
    table(fills.kernel, seen, windows)
    table(fills.kernel, seen, windows[:, : fills.MANY - 1])
    table(fills.kernel, seen._replace(gate=Gate(Arctan(), (1.0,))), windows)
    assert names == ["triton_bins.fill", "triton_sums.fill", "triton_sums.fill"]


def test_a_kernel_that_cannot_be_compiled_is_told_once_and_the_next_one_taken(monkeypatch, caplog):
    tried = []

    def failing(name):
        def fill(*_):
            tried.append(name)
            raise FusionError(f"{name} fails\nfor a long reason")

        return fill

    for module in (triton_bins, triton_sums, compiled_sums):
        monkeypatch.setattr(module, "fill", failing(module.__name__.rpartition(".")[2]))
    monkeypatch.setattr(fills, "available", lambda _: True)
    monkeypatch.setattr(fills, "missing", lambda _: "")
    monkeypatch.setattr(fills, "_broken", set())
    seen, windows = shown(50), candidates()
    for _ in range(2):
        assert torch.equal(table(fills.kernel, seen, windows), table(sums.blocked, seen, windows))
    names = ["triton_bins", "triton_sums", "compiled_sums"]
    assert tried == names
    assert [record.message for record in caplog.records] == [
        f"sums of candidate windows run without a2sg.kernels.{name}: {name} fails" for name in names
    ]
    monkeypatch.setattr(compiled_sums, "fill", lambda *_: tried.append("mended"))
    fills._broken.discard((compiled_sums, "cpu"))
    table(fills.kernel, seen, windows)
    assert tried == [*names, "mended"]


def test_steps_are_gone_through_from_the_last():
    whole = Steps(2, *torch.arange(24.0).view(4, 3, 2).unbind(), torch.arange(3))
    parts = list(whole.each())
    assert [part.first for part in parts] == [4, 3, 2]
    assert whole.end == 5
    for k, part in zip((2, 1, 0), parts, strict=True):
        assert [len(tensor) for tensor in part[1:]] == [1] * 5
        assert all(
            torch.equal(tensor[0], all_of[k]) for tensor, all_of in zip(part[1:], whole[1:], strict=True)
        )
    assert next(whole._replace(carry=None).each()).carry is None

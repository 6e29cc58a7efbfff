"""The three ways to fill the table of sums, against one float64 evaluation per candidate."""

import pytest
import torch

from a2sg.kernels import Gate, fills, sums
from a2sg.kernels.sums import Observation, Sums
from a2sg.window.objectives import sgv_from_sums, tgc_from_sums
from reference import AFFINE, BY_NAME, CASES
from sums_by_hand import CANDIDATES, FEW, assert_same, brute_force, layer, table_of

AFFINE_NAMES = [case.name for case in AFFINE]
WAY = {"each": sums.each, "blocked": sums.blocked, "binned": sums.binned, "uncompiled": fills.uncompiled}
WAYS = [("binned", name) for name in AFFINE_NAMES] + [
    (way, case.name) for way in ("blocked", "uncompiled", "each") for case in CASES
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("way", "name"), WAYS)
def test_every_candidate_is_that_of_brute_force(way, name, dtype):
    case = BY_NAME[name]
    u, g, _, r = layer(501, dtype=dtype, seed=1)
    table = table_of(WAY[way], Observation(Gate(case.shape, (1.0,)), u, g, None, r), CANDIDATES)
    assert_same(table, brute_force(case, [1.0], u, g, None, r, CANDIDATES))


@pytest.mark.parametrize("scale", [1e-8, 1e8, 1e-20])
@pytest.mark.parametrize(
    ("way", "name"), [("binned", n) for n in AFFINE_NAMES] + [("blocked", c.name) for c in CASES]
)
def test_the_size_of_the_gradients_does_not_matter(way, name, scale):
    case = BY_NAME[name]
    u, g, _, r = layer(300, scale, torch.float32, seed=2)
    table = table_of(WAY[way], Observation(Gate(case.shape, (0.5,)), u, g, None, r), FEW)
    assert_same(table, brute_force(case, [0.5], u, g, None, r, FEW))


@pytest.mark.parametrize("size", [1, 2, 4095, 4096, 4097, 10_007])
@pytest.mark.parametrize("way", ["binned", "blocked", "uncompiled", "each"])
def test_any_number_of_elements(way, size):
    case = BY_NAME["asymmetric-0.8"]
    u, g, _, r = layer(size, dtype=torch.float32, seed=3)
    u[0] = 1.01  # some gradient at every candidate
    table = table_of(WAY[way], Observation(Gate(case.shape, (1.0,)), u, g, None, r), FEW)
    rows, sgv, tgc = brute_force(case, [1.0], u, g, None, r, FEW)
    if size == 1:  # the variance of one element: 0 up to rounding
        assert (sgv_from_sums(table) <= 1e-12 * g.abs().item()).all()
        sgv = sgv_from_sums(table).tolist()
    assert_same(table, (rows, sgv, tgc))


def test_blocks_are_not_seen_in_the_sums(monkeypatch):
    case = BY_NAME["sigmoid"]
    u, g, c, r = layer(1000, seed=4)
    gate = Gate(case.shape, (1.0,))
    seen = Observation(gate, u, g, c, r)
    whole = table_of(sums.blocked, seen, FEW)
    monkeypatch.setattr(sums, "BLOCK", 17)
    torch.testing.assert_close(table_of(sums.blocked, seen, FEW), whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", [*AFFINE_NAMES, "arctan", "dspike"])
@pytest.mark.parametrize("last", [False, True])
def test_full_gradient(name, last):
    case = BY_NAME[name]
    u, g, c, r = layer(301, dtype=torch.float32, seed=5)
    r = None if last else r
    gate = Gate(case.shape, (1.0,))
    expected = brute_force(case, [1.0], u, g, c, r, FEW)
    for way in (fills.uncompiled, sums.blocked, sums.each):
        assert_same(table_of(way, Observation(gate, u, g, c, r), FEW), expected)


@pytest.mark.parametrize("name", ["boxcar", "asymmetric", "triangle-unit", "fast", "dspike"])
@pytest.mark.parametrize("full", [False, True])
def test_integer_neuron(name, full):
    case = BY_NAME[name]
    u, g, c, r = layer(301, dtype=torch.float32, seed=6)
    thresholds = (0.5, 1.5, 2.5, 3.5)
    c = c if full else None
    expected = brute_force(case, thresholds, 2 * u, g, c, r, FEW)
    gate = Gate(case.shape, thresholds)
    for way in (fills.uncompiled, sums.blocked, sums.each):
        assert_same(table_of(way, Observation(gate, 2 * u, g, c, r), FEW), expected)


THRESHOLDS = {
    "levels": (0.5, 1.5, 2.5, 3.5),
    "two": (1.0, 1.25),
    "uneven": (-0.5, 0.3, 0.35, 1.0, 4.0),
}


@pytest.mark.parametrize("thresholds", THRESHOLDS.values(), ids=THRESHOLDS.keys())
@pytest.mark.parametrize("name", AFFINE_NAMES)
def test_windows_of_several_thresholds_may_hold_the_same_elements(name, thresholds):
    """Up to windows that hold all thresholds, in no order, and more elements than a block."""
    case = BY_NAME[name]
    candidates = torch.cat([3 * FEW, FEW])
    u, g, _, r = layer(501, dtype=torch.float32, seed=11)
    expected = brute_force(case, thresholds, 2 * u, g, None, r, candidates)
    seen = Observation(Gate(case.shape, thresholds), 2 * u, g, None, r)
    assert_same(table_of(sums.binned, seen, candidates), expected)


@pytest.mark.parametrize("name", AFFINE_NAMES)
def test_the_edge_between_two_windows_belongs_to_the_lower_one(name):
    """Potentials, thresholds and windows on eighths, which floats hold: the gate says what is inside."""
    gate = Gate(BY_NAME[name].shape, (0.5, 1.0, 1.5, 2.5))
    u = torch.arange(-8, 33) / 8
    _, g, _, r = layer(len(u), dtype=torch.float32, seed=12)
    seen = Observation(gate, u, g, None, r)
    candidates = torch.arange(1, 17, dtype=torch.float64) / 8
    torch.testing.assert_close(
        table_of(sums.binned, seen, candidates), table_of(sums.each, seen, candidates), rtol=1e-9, atol=1e-9
    )


def test_binned_sums_do_not_depend_on_blocks(monkeypatch):
    u, g, _, r = layer(1000, seed=13)
    for thresholds in ((1.0,), (0.5, 1.5, 2.5)):
        seen = Observation(Gate(BY_NAME["asymmetric"].shape, thresholds), u, g, None, r)
        monkeypatch.undo()
        whole = table_of(sums.binned, seen, FEW)
        monkeypatch.setattr(sums, "TOGETHER", 17)
        torch.testing.assert_close(table_of(sums.binned, seen, FEW), whole, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["triangle", "asymmetric", "pinned", "boxcar-unit", "sigmoid"])
@pytest.mark.parametrize("way", ["uncompiled", "each"])
def test_tables_add_up_over_parts_and_time_has_none_at_the_last_step(name, way):
    gate = Gate(BY_NAME[name].shape, (1.0,))
    fill = WAY[way]
    u, g, _, r = layer(200, seed=7)
    whole = table_of(fill, Observation(gate, u, g, None, r), FEW)
    first = Observation(gate, u[:77], g[:77], None, r[:77])
    rest = Observation(gate, u[77:], g[77:], None, r[77:])
    parts = table_of(fill, first, FEW) + table_of(fill, rest, FEW)
    torch.testing.assert_close(parts, whole, rtol=1e-11, atol=1e-12)
    last = table_of(fill, Observation(gate, u, g, None, None), FEW)
    assert (last[:, [Sums.CROSS, Sums.LATER]] == 0).all()
    torch.testing.assert_close(last[:, : Sums.CROSS], whole[:, : Sums.CROSS])


@pytest.mark.parametrize("layout", ["channels_last", "transposed"])
def test_layouts_that_differ_between_the_tensors(layout):
    case = BY_NAME["asymmetric"]
    u, g, c, r = (tensor.reshape(2, 3, 4, 5) for tensor in layer(120, seed=8))
    if layout == "channels_last":
        g = g.to(memory_format=torch.channels_last)
    else:
        u = u.transpose(0, 3).contiguous().transpose(0, 3)
    gate = Gate(case.shape, (1.0,))
    for way, carry in ((sums.binned, None), (sums.blocked, c), (sums.each, None)):
        expected = brute_force(case, [1.0], u, g, carry, r, FEW)
        assert_same(table_of(way, Observation(gate, u, g, carry, r), FEW), expected)


@pytest.mark.parametrize("name", AFFINE_NAMES)
@pytest.mark.parametrize("way", ["binned", "blocked"])
def test_elements_on_the_very_edge_of_a_candidate_are_inside(way, name):
    """Potentials at the candidates themselves: an arithmetic bin index would misplace some."""
    case = BY_NAME[name]
    u = 1 + torch.cat([FEW, -FEW, FEW[:1] / 2])
    _, g, _, r = layer(len(u), seed=9)
    # The edges themselves, as float64 rounds u - 1.
    edges = torch.cat([(u[: len(FEW)] - 1).abs(), (u[len(FEW) : -1] - 1).abs()]).unique()
    table = table_of(WAY[way], Observation(Gate(case.shape, (1.0,)), u, g, None, r), edges)
    assert_same(table, brute_force(case, [1.0], u, g, None, r, edges))


@pytest.mark.parametrize("name", AFFINE_NAMES)
def test_where_an_edge_is_all_there_is_the_scores_are_still_scores(name):
    """A layer whose few potentials lie on candidates, where a ramp is 0: rounding is no gradient."""
    case = BY_NAME[name]
    gate = Gate(case.shape, (1.0,))
    tenths = torch.linspace(0.1, 1.0, 10, dtype=torch.float64).float().double()
    generator = torch.Generator().manual_seed(10)
    for _ in range(100):
        u = 1 + torch.randint(-10, 11, (3,), generator=generator).float() / 10
        g = torch.randn(3, generator=generator)
        r = torch.randn(3, generator=generator)
        table = table_of(fills.uncompiled, Observation(gate, u, g, None, r), tenths)
        rows, _, tgc = brute_force(case, [1.0], u, g, None, r, tenths)
        some = rows[:, Sums.ABS] > 1e-12
        assert (table[:, Sums.ABS] >= 0).all()
        assert (table[:, Sums.SQUARE] >= 0).all()
        assert tgc_from_sums(table).isfinite().all()
        assert (tgc_from_sums(table).abs() <= 1 + 1e-6).all()
        torch.testing.assert_close(
            tgc_from_sums(table)[some], torch.tensor(tgc, dtype=torch.float64)[some], rtol=1e-6, atol=1e-6
        )
        torch.testing.assert_close(table[some][:, Sums.SQUARE], rows[some][:, Sums.SQUARE], rtol=1e-6, atol=0)

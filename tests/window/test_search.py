"""Searches over given scores: plain loops, and a Gaussian process written again in numpy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from a2sg.window.search import SEARCHES, Bayes, first_best

CANDIDATES = torch.linspace(0.1, 1.0, 100, dtype=torch.float64).float().double()


def bumps(windows, seed):
    """A smooth score with a few optima, over any windows."""
    rng = np.random.default_rng(seed)
    x = windows.numpy()
    total = np.zeros_like(x)
    for _ in range(4):
        total += rng.normal() * np.exp(-((x - rng.uniform(0.1, 1)) ** 2) / (2 * rng.uniform(0.02, 0.3) ** 2))
    return torch.from_numpy(total)


def expected_improvement(known, value, at):
    """Zero mean, RBF of length 0.05 and variance 1, noise 1e-2 on the diagonal, xi = 0 (method, 4)."""

    def kernel(a, b):
        return np.exp(-((a[:, None] - b[None, :]) ** 2) / (2 * 0.05**2))

    inverse = np.linalg.inv(kernel(known, known) + 1e-2 * np.eye(len(known)))
    mean = kernel(at, known) @ inverse @ value
    variance = 1 - np.einsum("ij,jk,ik->i", kernel(at, known), inverse, kernel(at, known))
    deviation = np.sqrt(np.maximum(variance, 1e-12))
    z = (mean - value.max()) / deviation
    cdf = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in z])
    pdf = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return (mean - value.max()) * cdf + deviation * pdf


@pytest.mark.parametrize("name", ["exact", "grid"])
@given(
    scores=st.lists(
        st.lists(st.sampled_from([-math.inf, -2.0, -1e-30, 0.0, 1e-30, 0.5, 3.0]), min_size=5, max_size=5),
        min_size=1,
        max_size=4,
    )
)
def test_the_first_of_the_best_is_taken(name, scores):
    chosen = SEARCHES[name](CANDIDATES[:5]).choose(torch.tensor(scores, dtype=torch.float64))
    assert chosen.tolist() == [row.index(max(row)) for row in scores]


def test_ties_go_to_the_smaller_window():
    scores = torch.tensor([[0.0, 2, 1, 2, 2], [1, 1, 1, 1, 1], [-math.inf, -3, -3, -math.inf, -4]])
    assert first_best(scores).tolist() == [1, 0, 1]


@pytest.mark.parametrize("name", ["exact", "grid"])
def test_the_lattice_is_the_candidates(name):
    assert torch.equal(SEARCHES[name](CANDIDATES).lattice, CANDIDATES)


@pytest.mark.parametrize("candidates", [CANDIDATES, CANDIDATES[::11].contiguous(), CANDIDATES[[0, 99]]])
def test_the_lattice_of_bayes_is_fine_holds_the_candidates_and_stays_between_them(candidates):
    lattice = Bayes(candidates).lattice
    assert lattice.dtype == torch.float64
    assert (lattice.diff() > 0).all()
    assert torch.isin(candidates, lattice).all()
    assert lattice[0] == candidates[0]
    assert lattice[-1] == candidates[-1]
    # At least as fine as 150 points over ±0.05.
    assert lattice.diff().max().item() <= 0.1 / 149 * (1 + 1e-4)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("count", [100, 10])
def test_bayes_takes_what_one_round_of_expected_improvement_finds(seed, count):
    candidates = torch.linspace(0.1, 1.0, count, dtype=torch.float64).float().double()
    search = Bayes(candidates)
    scores = bumps(search.lattice, seed)
    at = torch.isin(search.lattice, candidates)
    coarse = scores[at].numpy()
    best = search.lattice[at][scores[at].argmax()].item()
    near = (search.lattice - best).abs() <= 0.05 + 1e-12
    gains = expected_improvement(
        candidates.numpy(), (coarse - coarse.mean()) / coarse.std(), search.lattice[near].numpy()
    )
    proposal = search.lattice[near][int(gains.argmax())].item()
    score_of = dict(zip(search.lattice.tolist(), scores.tolist(), strict=True))
    expected = proposal if score_of[proposal] > score_of[best] else best
    found = search.lattice[search.choose(scores[None])[0]].item()
    assert found == pytest.approx(expected, abs=1e-12)


def test_bayes_is_never_worse_than_the_grid_often_better_and_stays_within_reach():
    search = Bayes(CANDIDATES)
    scores = torch.stack([bumps(search.lattice, seed) for seed in range(60)])
    at = torch.isin(search.lattice, CANDIDATES)
    grid = scores[:, at].amax(1)
    start = CANDIDATES[scores[:, at].argmax(1)]
    chosen = search.choose(scores)
    taken = scores.gather(1, chosen[:, None])[:, 0]
    assert (taken >= grid).all()
    assert (taken > grid).sum() >= 10, "the refinement is of use"
    assert ((search.lattice[chosen] - start).abs() <= 0.05 + 1e-12).all()
    assert (~torch.isin(search.lattice[chosen], CANDIDATES)).any(), "it leaves the grid"
    assert torch.equal(search.choose(scores), chosen), "and is deterministic"


@pytest.mark.parametrize("factor", [1e-6, 2.0**16, 1e-30])
@pytest.mark.parametrize("name", ["exact", "grid", "bayes"])
def test_the_scale_of_the_scores_does_not_matter(name, factor):
    search = SEARCHES[name](CANDIDATES)
    scores = torch.stack([bumps(search.lattice, seed) for seed in range(20)])
    assert torch.equal(search.choose(scores * factor), search.choose(scores))


def test_random_takes_every_possible_window_alike_and_the_same_for_the_same_scores():
    search = SEARCHES["random"](torch.linspace(0.1, 1.0, 10, dtype=torch.float64))
    scores = torch.randn(20_000, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores[:, 3] = -torch.inf
    taken = search.choose(scores)
    counts = torch.bincount(taken, minlength=10)
    assert counts[3] == 0
    expected = 20_000 / 9
    assert ((counts[[0, 1, 2, 4, 5, 6, 7, 8, 9]] - expected).abs() < 5 * expected**0.5).all()
    assert torch.equal(taken, search.choose(scores))
    assert not torch.equal(taken, search.choose(scores + 1))
    assert search.choose(torch.full((3, 10), -torch.inf, dtype=torch.float64)).shape == (3,)


@pytest.mark.parametrize("name", ["exact", "grid", "bayes"])
def test_windows_that_cannot_be_taken_are_not(name):
    search = SEARCHES[name](CANDIDATES)
    scores = torch.stack([bumps(search.lattice, seed) for seed in range(20)])
    scores[:, : len(search.lattice) // 2] = -math.inf
    scores[:, -20:] = -math.inf
    chosen = search.choose(scores)
    assert scores.gather(1, chosen[:, None]).isfinite().all()


def test_a_flat_score_or_a_single_known_one_stays_on_the_grid():
    search = Bayes(CANDIDATES)
    scores = torch.full((2, len(search.lattice)), 0.25, dtype=torch.float64)
    at = torch.isin(search.lattice, CANDIDATES).nonzero()[:, 0]
    scores[1] = -math.inf
    scores[1, at[40]] = 1.0
    assert search.choose(scores).tolist() == [0, at[40].item()]

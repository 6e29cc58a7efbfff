"""The ledger: verdicts follow from stored numbers, and the page in docs is what it makes of them."""

import re
from dataclasses import asdict
from itertools import chain

import pytest

import ledger
import store
from a2sg.errors import InputError
from a2sg.statistics import deviation, mean, paired_difference
from a2sg.training.arms import apply_arm, parse_arm
from a2sg.training.recipe import load_recipe
from claims import ENERGY, SCORE, Claim
from places import ROOT
from stored import Stored, best_windows, stored


def comparison(name, **arms):
    values = {("score", arm): dict(enumerate(scores)) for arm, scores in arms.items()}
    values |= {
        ("energy_nj_per_sample", arm): dict(enumerate([100.0 + s for s in scores]))
        for arm, scores in arms.items()
    }
    return Stored(name, values, [], "a2sg compare", "2026-01-01", "cpu")


def test_the_page_is_up_to_date():
    assert (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8") == ledger.page(), "run make evidence"


@pytest.mark.parametrize("page", ["README.md", "docs/depth.md", "docs/advice.md"])
def test_means_in_the_text_are_those_of_stored_runs(page):
    found = [
        (f"{100 * mean(runs):.1f}", f"{100 * deviation(runs):.1f}")
        for kept in stored()
        for (metric, _), by_seed in kept.values.items()
        if metric == "score" and len(runs := list(by_seed.values())) > 1
    ]
    said = re.findall(r"(\d+\.\d) ± (\d+\.\d)\b", (ROOT / page).read_text(encoding="utf-8"))
    assert said
    assert set(said) <= set(found)


def test_every_stored_run_is_of_a_claim_or_says_what_it_is_for():
    for kept in stored():
        asked = {claim.question for claims in ledger.SECTIONS.values() for claim in claims}
        assert kept.question in asked, f"no claim is about {kept.name}"


def test_claims_name_arms_as_comparisons_do():
    for claim in chain.from_iterable(ledger.SECTIONS.values()):
        for arm in (claim.arm, claim.baseline):
            if not arm.endswith(":window=best"):
                assert parse_arm(arm).label == arm


@pytest.mark.parametrize(
    ("a", "b", "score", "energy"),
    [
        ([0.8, 0.81, 0.82], [0.7, 0.72, 0.71], ledger.HOLDS, ledger.FAILS),
        ([0.7, 0.72, 0.71], [0.8, 0.81, 0.82], ledger.FAILS, ledger.HOLDS),
        ([0.7, 0.8], [0.8, 0.7], ledger.OPEN, ledger.OPEN),
    ],
)
def test_verdicts_are_on_the_side_that_the_metric_counts_as_good(a, b, score, energy):
    kept = comparison("x-arms", a=a, b=b)
    for metric, expected in ((SCORE, score), (ENERGY, energy)):
        claim = Claim("", "a", "b", metric)
        arm, base = ledger.pairs(kept, claim)
        assert ledger.judge(claim, paired_difference(arm, base)) == expected
        better = sum(x > y if metric is SCORE else x < y for x, y in zip(a, b, strict=True))
        assert ledger.won(claim, arm, base) == better


def test_only_seeds_of_both_arms_pair_and_only_comparisons_of_the_question():
    kept = comparison("x-arms", a=[0.1, 0.2, 0.3], b=[0.1, 0.2])
    assert ledger.pairs(kept, Claim("", "a", "b")) == ([0.1, 0.2], [0.1, 0.2])
    assert ledger.pairs(kept, Claim("", "a", "c")) == ([], [])
    assert ledger.pairs(kept, Claim("", "a", "b", question="t2")) == ([], [])


def test_the_best_window_of_a_seed_is_chosen_by_the_others():
    values = {
        ("score", "asy"): {0: 0.9, 1: 0.5, 2: 0.5},
        ("score", "asy:window=0.5"): {0: 0.1, 1: 0.6, 2: 0.6},
        ("score", "asy:window=2.0"): {0: 0.2, 1: 0.2, 2: 0.2},
        ("score", "asy:bias=0.8"): {0: 1.0, 1: 1.0, 2: 1.0},
        ("score", "asy:window=2.0:bias=0.8"): {0: 1.0, 1: 1.0, 2: 1.0},
        ("score", "fixed"): {0: 0.5, 1: 0.5, 2: 0.5},
    }
    assert best_windows(values) == {("score", "asy:window=best"): {0: 0.1, 1: 0.5, 2: 0.5}}


def test_summaries_count_data_sets():
    verdicts = [ledger.HOLDS, ledger.OPEN, ledger.FAILS, ledger.OPEN]
    assert ledger.summary(verdicts) == "holds on 1, does not hold on 1, not shown on 2 of 4"
    assert ledger.summary([]) == "not measured"


def test_arms_are_added_only_beside_runs_that_gave_the_same_numbers():
    old = [{"arm": "asy", "seed": "0", "loss": "1.5"}, {"arm": "asy", "seed": "1", "loss": "1.25"}]
    fresh = {"arm": "a2sg", "seed": "0", "loss": "9.0"}
    assert store.added(old, [old[0], fresh], ["loss"]) == [*old, fresh]
    with pytest.raises(InputError, match=r"asy, seed 0, has loss 1.6, but 1.5 is stored"):
        store.added(old, [{**old[0], "loss": "1.6"}, fresh], ["loss"])
    with pytest.raises(InputError, match="no run is in both"):
        store.added(old, [fresh], ["loss"])


def run_config(arm, seed=0, **overrides):
    named = {name.replace("__", "."): value for name, value in overrides.items()}
    return asdict(apply_arm(load_recipe("digits", named), parse_arm(arm))) | {"seed": seed}


def test_arms_of_another_learning_rate_have_a_command_of_their_own():
    dense = {"model__name": "mlp_small", "model__options": {"hidden": [8, 8]}}
    runs = [run_config("a2sg:high=6", seed, optimizer__lr=0.01, **dense) for seed in (1, 0)]
    begin = "a2sg compare digits --model.name mlp_small --model.options.hidden '[8, 8]'"
    fast = f"{begin} --optimizer.lr 0.01 --arms a2sg:high=6.0 --seeds 0,1"
    both = store.commands_of([*runs, run_config("asy", **dense)])
    assert both == [fast, f"{begin} --arms asy --seeds 0"]
    more = store.commands_of([run_config("fixed", 2, **dense)], both)
    assert more == [fast, f"{begin} --arms asy,fixed --seeds 0,2"]


def test_commands_import_the_networks_that_are_defined_beside_them():
    deep = run_config("asy", model__name="narrow_ms", model__options={"blocks": 3})
    assert store.commands_of([deep])[0].startswith(
        "a2sg compare digits --import deep_nets --model.name narrow_ms"
    )

"""Arms: what each name and option sets, and what is refused."""

from copy import deepcopy

import pytest

from a2sg.errors import InputError
from a2sg.surrogate import SURROGATES
from a2sg.training.arms import PRESETS, apply_arm, apply_arms, describe_arms, parse_arm
from a2sg.training.config import RunConfig, SurrogateConfig, WindowsConfig


def recipe():
    return RunConfig(
        surrogate=SurrogateConfig("asymmetric", 0.8, {"bias": 0.7}),
        windows=WindowsConfig(every=19, candidates=50, high=2.0),
    )


@pytest.mark.parametrize(
    ("name", "shape", "window", "spatial", "temporal"),
    [
        ("fixed", "boxcar", 0.5, False, False),
        ("asy", "asymmetric", 1.0, False, False),
        ("s-asg", "triangle", 1.0, True, False),
        ("t-asg", "triangle", 1.0, False, True),
        ("st-asg", "triangle", 1.0, True, True),
        ("a2sg", "asymmetric", 1.0, True, True),
        ("boxcar", "boxcar", 1.0, False, False),
        ("arctan", "arctan", 1.0, False, False),
        ("dspike", "dspike", 0.5, False, False),
        ("dspike-search", "dspike", 0.5, False, False),
        ("cpng", "triangle", 1.0, False, False),
        ("im", "boxcar", 0.5, False, False),
        ("rmp", "boxcar", 0.5, False, False),
    ],
)
def test_what_a_name_stands_for(name, shape, window, spatial, temporal):
    config = apply_arm(recipe(), parse_arm(name))
    assert config.arm == name
    assert (config.surrogate.name, config.surrogate.window) == (shape, window)
    assert (config.windows.spatial, config.windows.temporal) == (spatial, temporal)
    policy = {"cpng": "cpng", "dspike-search": "dspike"}.get(name, "a2sg")
    assert config.windows.policy == policy
    assert parse_arm(name).adaptive == (spatial or temporal or policy != "a2sg")
    # What the arm does not name stays the recipe's: it is watched like all others.
    assert (config.windows.every, config.windows.candidates, config.windows.high) == (19, 50, 2.0)
    assert config.windows.low == (0.5 if name == "cpng" else 0.1)
    kept = {"asymmetric": {"bias": 0.7}, "triangle": {"area": "unit"} if name == "cpng" else {}}
    assert config.surrogate.options == kept.get(shape, {})
    assert config.loss.regularizers == {"im": {"im": 1e-3}, "rmp": {"rmp": 5e-4}}.get(name, {})


def test_calibrated_searches_once_in_the_first_iteration():
    config = apply_arm(recipe(), parse_arm("calibrated"))
    assert config.surrogate == SurrogateConfig("asymmetric", 1.0, {"bias": 0.8})
    windows = config.windows
    assert (windows.spatial, windows.temporal, windows.high) == ("std", True, 6.0)
    assert (windows.every, windows.start) == (None, 0)
    arm = parse_arm("calibrated:adapt=temporal:every=7:high=4")
    windows = apply_arm(recipe(), arm).windows
    assert (windows.spatial, windows.temporal, windows.every, windows.high) == (False, True, 7, 4.0)
    assert parse_arm(arm.label) == arm


def test_every_surrogate_is_an_arm_and_every_arm_is_described():
    for name in SURROGATES:
        config = apply_arm(RunConfig(), parse_arm(name))
        window = PRESETS[name].window if name in PRESETS else 1.0  # dspike has a published one
        assert (config.surrogate.name, config.surrogate.window) == (name, window)
    assert PRESETS.keys() <= describe_arms().keys()
    assert all(describe_arms().values())


@pytest.mark.parametrize(
    ("text", "surrogate", "windows"),
    [
        ("a2sg:bias=0.8", SurrogateConfig("asymmetric", 1.0, {"bias": 0.8}), {}),
        ("boxcar:window=0.7", SurrogateConfig("boxcar", 0.7), {}),
        ("arctan:area=unit", SurrogateConfig("arctan", 1.0, {"area": "unit"}), {}),
        ("pinned:floor=0", SurrogateConfig("pinned", 1.0, {"floor": 0.0}), {}),
        ("dspike:temperature=5", SurrogateConfig("dspike", 0.5, {"temperature": 5.0}), {}),
        ("st-asg:search=bayes:every=50", SurrogateConfig("triangle"), {"search": "bayes", "every": 50}),
        ("triangle:adapt=both", SurrogateConfig("triangle"), {"spatial": True, "temporal": True}),
        ("st-asg:adapt=spatial", SurrogateConfig("triangle"), {"spatial": True, "temporal": False}),
        ("a2sg:temporal=false", SurrogateConfig("asymmetric", 1.0, {"bias": 0.7}), {"temporal": False}),
        ("st-asg:shape=boxcar:high=0.5", SurrogateConfig("boxcar"), {"high": 0.5, "spatial": True}),
        (
            "a2sg:start=none:gradient=full",
            SurrogateConfig("asymmetric", 1.0, {"bias": 0.7}),
            {"start": None, "gradient": "full"},
        ),
        ("a2sg:start=0", SurrogateConfig("asymmetric", 1.0, {"bias": 0.7}), {"start": 0}),
        (
            "cpng:share=0.4:high=3",
            SurrogateConfig("triangle", 1.0, {"area": "unit"}),
            {"policy": "cpng", "options": {"share": 0.4}, "low": 0.5, "high": 3.0},
        ),
        ("cpng:shape=boxcar:area=free", SurrogateConfig("boxcar", 1.0, {"area": "free"}), {"options": {}}),
        (
            "dspike-search:weights=64:epsilon=0.1:start=3:temperature=2",
            SurrogateConfig("dspike", 0.5, {"temperature": 2.0}),
            {"policy": "dspike", "options": {"weights": 64, "epsilon": 0.1}, "start": 3},
        ),
    ],
)
def test_options_arrive(text, surrogate, windows):
    config = apply_arm(recipe(), parse_arm(text))
    assert config.surrogate == surrogate
    for name, value in windows.items():
        assert getattr(config.windows, name) == value
        assert type(getattr(config.windows, name)) is type(value)


@pytest.mark.parametrize(
    "text",
    ["a2sg", "a2sg:search=bayes:bias=0.80", "fixed:start=none", " s-asg:spatial=FALSE ", "a2sg:every=none"],
)
def test_a_label_is_the_arm_again(text):
    arm = parse_arm(text)
    assert parse_arm(arm.label) == arm


def test_the_order_and_spelling_of_options_do_not_matter():
    assert parse_arm("a2sg:bias=0.8:every=50").label == parse_arm("a2sg:every=50:bias=0.80").label


def test_the_config_given_is_left_alone():
    config = recipe()
    before = deepcopy(config)
    changed = apply_arm(config, parse_arm("asy:every=3"))
    changed.surrogate.options["bias"] = 9.0
    changed.data.options["x"] = 1
    assert config == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a3sg", "unknown arm 'a3sg'.*did you mean 'a2sg'"),
        ("", "unknown arm ''"),
        ("boxcat", "did you mean 'boxcar'"),
        ("a2sg:bios=0.8", "did you mean 'bias'"),
        ("boxcar:bias=0.8", r"option of arm 'boxcar' \(shape boxcar\) 'bias'"),
        ("a2sg:bias=0.8:shape=boxcar", r"\(shape boxcar\) 'bias'"),
        ("boxcar:shape=triangle", "'shape'"),
        ("a2sg:symmetric=true", "'symmetric'"),
        ("a2sg:shape=triangl", "unknown shape 'triangl'.*did you mean 'triangle'"),
        ("a2sg:bias", "write options as key=value, not 'bias'"),
        ("a2sg:", "write options as key=value, not ''"),
        ("a2sg:bias=0.6:bias=0.8", "sets 'bias' twice"),
        ("a2sg:bias=0.3", "bias must be at least 0.5, not 0.3"),
        ("a2sg:bias=high", "bias must be a number, not 'high'"),
        ("a2sg:window=0", "window must be a number above 0, not 0"),
        ("a2sg:window=nan", "window must be a number, not 'nan'"),
        ("a2sg:window=.nan", "window must be a finite number, not nan"),
        ("a2sg:every=1.5", "every must be a whole number or null, not 1.5"),
        ("a2sg:search=bays", "did you mean 'bayes'"),
        ("a2sg:adapt=all", "unknown adapt 'all'"),
        ("a2sg:share=0.5", "option of arm 'a2sg'.*'share'"),
        ("cpng:adapt=both", "option of arm 'cpng'.*'adapt'"),
        ("cpng:search=bayes", "option of arm 'cpng'.*'search'"),
        ("dspike-search:low=0.5", "option of arm 'dspike-search'.*'low'"),
        ("dspike-search:epsilo=0.5", "did you mean 'epsilon'"),
        ("cpng:share=half", "share must be a number or null, not 'half'"),
        ("a2sg:im=-1", "weight of a regularizer must be a number of at least 0, not -1"),
    ],
)
def test_a_wrong_arm_is_told(text, message):
    with pytest.raises(InputError, match=message):
        parse_arm(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a2sg:low=3", r"arm 'a2sg:low=3\.0': low must be below high, not low=3\.0 and high=2\.0"),
        ("fixed:every=0", "every must be a whole number of at least 1"),
        ("t-asg:candidates=1", "candidates must be a whole number of at least 2"),
        ("cpng:share=1.5", "arm 'cpng:share=1.5': share must be above 0 and below 1"),
        ("cpng:low=2", r"low must be below high, not low=2\.0 and high=2\.0"),
        ("dspike-search:change=0", "change must be a number above 0"),
        ("dspike-search:shape=boxcar", "DspikeSearch is for a2sg's neurons with surrogate Dspike"),
    ],
)
def test_what_does_not_go_with_the_recipe_is_told_before_training(text, message):
    arm = parse_arm(text)
    with pytest.raises(InputError, match=message):
        apply_arm(recipe(), arm)


@pytest.mark.parametrize(
    ("text", "regularizers"),
    [
        ("a2sg:im=0.01", {"im": 0.01}),
        ("im:im=0.01", {"im": 0.01}),
        ("im:rmp=0.0005", {"im": 1e-3, "rmp": 5e-4}),
        ("cpng:im=0.001:rmp=0.0005", {"im": 1e-3, "rmp": 5e-4}),
        ("boxcar", {}),
    ],
)
def test_terms_of_the_loss_go_with_any_arm(text, regularizers):
    assert apply_arm(recipe(), parse_arm(text)).loss.regularizers == regularizers
    config = recipe()
    config.loss.regularizers = {"rmp": 0.1}
    assert apply_arm(config, parse_arm(text)).loss.regularizers == {"rmp": 0.1} | regularizers
    assert config.loss.regularizers == {"rmp": 0.1}


def test_options_of_the_recipes_own_policy_stay_with_that_policy():
    config = recipe()
    config.windows.policy, config.windows.options = "cpng", {"share": 0.3}
    assert apply_arm(config, parse_arm("cpng")).windows.options == {"share": 0.3}
    assert apply_arm(config, parse_arm("cpng:share=0.4")).windows.options == {"share": 0.4}
    for name in ("a2sg", "dspike-search"):
        assert apply_arm(config, parse_arm(name)).windows.options == {}


@pytest.mark.parametrize("second", ["a2sg", "asymmetric:adapt=both", "a2sg:bias=0.7"])
def test_two_arms_that_train_the_same_way_are_refused(second):
    arms = [parse_arm("a2sg"), parse_arm("fixed"), parse_arm(second)]
    with pytest.raises(InputError, match="trains the same way as arm 'a2sg'"):
        apply_arms(recipe(), arms)
    assert len(apply_arms(recipe(), [*arms[:2], parse_arm("a2sg:bias=0.8")])) == 3

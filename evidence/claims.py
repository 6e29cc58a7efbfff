"""What the paper claims and what its readers ask, each as a paired comparison of two arms."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A number of a run, and how differences of it are told.

    Attributes:
        name: a column of runs.csv or flatness.csv, `score` (accuracy or mIoU), or `tgc` or `sgv` of
            variation.csv.
        text: in the table.
        higher: whether a claim says "more of it".
        relative: whether differences are of logarithms, told in percent.
        scale: factor of a plain difference.
        unit: of a plain difference.
    """

    name: str
    text: str
    higher: bool = True
    relative: bool = False
    scale: float = 1.0
    unit: str = ""


SCORE = Metric("score", "accuracy or mIoU", scale=100, unit=" points")
SPIKES = Metric("spikes_per_sample", "spikes per sample", higher=False, relative=True)
ENERGY = Metric("energy_nj_per_sample", "energy estimate", higher=False, relative=True)
TGC = Metric("tgc", "TGC, mean over training", scale=1, unit="")
LAMBDA = Metric("gauss_newton", "λmax of the Gauss-Newton matrix", higher=False, relative=True)
SHARPNESS = Metric("sharpness", "worst-case sharpness", higher=False, relative=True)
SGV = Metric("sgv", "SGV, geometric mean over training", higher=False, relative=True)


@dataclass(frozen=True)
class Claim:
    """`arm` has more (or less) of `metric` than `baseline`, in pairs of the same seed.

    Attributes:
        text: the claim.
        arm: label of an arm.
        baseline: label of the arm it is measured against.
        metric: of the runs.
        question: which comparisons it is about, by the end of their names; `arms` are the main ones.
        note: what a reader has to know beside the numbers.
    """

    text: str
    arm: str
    baseline: str
    metric: Metric = SCORE
    note: str = ""
    question: str = "arms"


SCALES = "SGV scales with the gradient and with the height of the shape, so this is no fair comparison."
COMMON = "After training, on 128 training samples, all arms under one surrogate that none was trained with."
BALL = "Rise of the hard-spike network's loss that gradient ascent finds, filters moved by 0.3 of their norm."
SOUGHT = (
    "A search maximises it on its own batch. Measured is the batch of the next search, before new windows "
    "are set: so this also says whether windows found on one batch suit the next."
)

BEST = (
    "The best of all widths that were trained, chosen for every seed by the mean of the other seeds: a "
    "search of its own, and no seed has a say in what it is judged by."
)
OTHERS = {
    "t2": "T = 2",
    "t5": "T = 5",
    "t8": "T = 8",
    "t25": "T = 25",
    "plif": "PLIF neurons",
}
"""Comparisons that differ from the main one of their data in one thing."""

BOX = "s-asg:{}shape=boxcar{}:window=0.5"

SECTIONS: dict[str, list[Claim]] = {
    "What the paper claims": [
        Claim("A2SG is more accurate than the usual surrogate (boxcar, window 0.5)", "a2sg", "fixed"),
        Claim("A2SG is more accurate than adaptation with a symmetric shape (ST-ASG)", "a2sg", "st-asg"),
        Claim("Spatial adaptation helps (S-ASG against the same shape fixed)", "s-asg", "triangle"),
        Claim("Temporal adaptation helps (T-ASG against the same shape fixed)", "t-asg", "triangle"),
        Claim("Both together help (ST-ASG against the same shape fixed)", "st-asg", "triangle"),
        Claim(
            "A2SG lowers the gradients' spatial variation, against the boxcar", "a2sg", "fixed", SGV, SCALES
        ),
        Claim("A2SG lowers it against the same shape fixed", "a2sg", "asy", SGV),
        Claim("A2SG makes gradients more consistent over time", "a2sg", "fixed", TGC, SOUGHT),
        Claim("The same against the same shape fixed", "a2sg", "asy", TGC, SOUGHT),
        Claim("A2SG ends in a flatter minimum", "a2sg", "fixed", LAMBDA, COMMON),
        Claim("The same by the loss in a ball around the weights", "a2sg", "fixed", SHARPNESS, BALL),
        Claim("A2SG needs less energy", "a2sg", "fixed", ENERGY),
    ],
    "What its readers ask": [
        Claim("Adaptation helps over a good fixed window of the same shape (h 0.5)", "a2sg", "asy"),
        Claim("The same with h 0.8", "a2sg:bias=0.8", "asy:bias=0.8"),
        Claim(
            "Adaptation helps over the best fixed window of the same shape",
            "a2sg",
            "asy:window=best",
            SCORE,
            BEST,
        ),
        Claim("A2SG beats the best boxcar", "a2sg", "fixed:window=best", SCORE, BEST),
        Claim(
            "The best asymmetric window beats the best boxcar",
            "asy:window=best",
            "fixed:window=best",
            SCORE,
            BEST,
        ),
        Claim("Too narrow a fixed window hurts (0.25 against 1)", "asy", "asy:window=0.25"),
        Claim("So does half of it (0.5 against 1)", "asy", "asy:window=0.5"),
        Claim("A wider one helps (1.5 against 1)", "asy:window=1.5", "asy"),
        Claim("Twice as wide helps (2 against 1)", "asy:window=2.0", "asy"),
        Claim(
            "Adaptation makes good for too narrow a window at the start",
            "a2sg:window=0.25",
            "asy:window=0.25",
        ),
        Claim("Where A2SG starts matters (window 1 against 0.25)", "a2sg", "a2sg:window=0.25"),
        Claim("The asymmetric shape alone helps, against the boxcar", "asy", "fixed"),
        Claim("The asymmetric shape alone helps, against the triangle", "asy", "triangle"),
        Claim("A larger bias helps the fixed shape (h 0.8 against 0.5)", "asy:bias=0.8", "asy"),
        Claim("A larger bias helps A2SG (h 0.6 against 0.5)", "a2sg:bias=0.6", "a2sg"),
        Claim("A larger bias helps A2SG (h 0.8 against 0.5)", "a2sg:bias=0.8", "a2sg"),
        Claim("A2SG with h 0.8 beats the boxcar", "a2sg:bias=0.8", "fixed"),
        Claim("The asymmetric shape alone ends in a flatter minimum", "asy", "fixed", LAMBDA, COMMON),
        Claim("Adaptation alone ends in a flatter minimum", "a2sg", "asy", LAMBDA, COMMON),
        Claim("The fixed asymmetric shape fires less than the boxcar", "asy", "fixed", SPIKES),
        Claim("A2SG fires less than the same shape fixed", "a2sg", "asy", SPIKES),
        Claim(
            "On integer neurons S-ASG helps (boxcar from 0.5 on)", "s-asg:shape=boxcar:window=0.5", "fixed"
        ),
    ],
    "A2SG against baselines of others": [
        Claim("A2SG is more accurate than CPNG", "a2sg", "cpng"),
        Claim("A2SG is more accurate than Dspike (fixed temperature)", "a2sg", "dspike"),
        Claim("A2SG is more accurate than the boxcar with the IM loss", "a2sg", "im"),
        Claim("A2SG is more accurate than the boxcar with the RMP loss", "a2sg", "rmp"),
    ],
    "Sensitivity": [
        Claim("Averaging a search over 8 batches helps", "a2sg:batches=8", "a2sg"),
        Claim("Averaging a search over 10 batches helps", "a2sg:batches=10", "a2sg"),
        Claim(
            "Averaged over 10 batches, adaptation helps over the same shape fixed", "a2sg:batches=10", "asy"
        ),
        Claim(
            "Averaged over 10 batches, TGC is higher than with the same shape fixed",
            "a2sg:batches=10",
            "asy",
            TGC,
        ),
        Claim("Averaged over 10 batches, windows up to 2 help", "a2sg:batches=10:high=2.0", "a2sg"),
        Claim("The same against the same shape fixed at 1", "a2sg:batches=10:high=2.0", "asy"),
        Claim(
            "The same against the best fixed window",
            "a2sg:batches=10:high=2.0",
            "asy:window=best",
            SCORE,
            BEST,
        ),
        Claim("The deviation in place of the variance helps", "a2sg:spread=std", "a2sg"),
        Claim("The same against the same shape fixed", "a2sg:spread=std", "asy"),
        Claim(
            "With the deviation, TGC is higher than with the same shape fixed", "a2sg:spread=std", "asy", TGC
        ),
        Claim("With the deviation, windows up to 2 help", "a2sg:high=2.0:spread=std", "a2sg:spread=std"),
        Claim("The same against the same shape fixed at 1", "a2sg:high=2.0:spread=std", "asy"),
        Claim("Searching h with the window helps (least SGV)", "a2sg:biases=3", "a2sg"),
        Claim(
            "Searching h with the window helps (least deviation)",
            "a2sg:biases=3:spread=std",
            "a2sg:spread=std",
        ),
        Claim(
            "Searching h with the window helps over the best of fixed h (1)",
            "a2sg:biases=3:spread=std",
            "asy:bias=1.0",
        ),
        Claim(
            "Searching h with the window helps over the asymmetric shape fixed at 1",
            "a2sg:biases=3:spread=std",
            "asy",
        ),
        Claim(
            "With h searched, TGC is higher than with the same shape fixed",
            "a2sg:biases=3:spread=std",
            "asy",
            TGC,
        ),
        Claim("Searched windows are better than windows drawn at random", "a2sg", "a2sg:search=random"),
        Claim("The fixed window is better than windows drawn at random", "asy", "a2sg:search=random"),
        Claim("SGV at the first step instead of the last helps", "a2sg:spatial_steps=first", "a2sg"),
        Claim("SGV at every step instead of TGC helps", "a2sg:spatial_steps=all", "a2sg"),
        Claim("Smoothed windows help (three quarters of the old)", "a2sg:smoothing=0.75", "a2sg"),
        Claim(
            "A search in every tenth iteration helps, against the recipe's period", "a2sg:every=10", "a2sg"
        ),
        Claim("A search in every iteration helps, against the recipe's period", "a2sg:every=1", "a2sg"),
        Claim("A finer grid helps (400 candidates against 100)", "a2sg:candidates=400", "a2sg"),
        Claim("A coarse grid hurts (10 candidates against 100)", "a2sg", "a2sg:candidates=10"),
        Claim("A wider range helps (up to 2 against 1)", "a2sg:high=2.0", "a2sg"),
        Claim("A range without narrow windows helps (from 0.5 against 0.1)", "a2sg:low=0.5", "a2sg"),
        Claim("Shapes of area 1 help A2SG", "a2sg:area=unit", "a2sg"),
        Claim("Shapes of area 1 help the fixed window", "asy:area=unit", "asy"),
        Claim("With area 1, adaptation helps over the same shape fixed", "a2sg:area=unit", "asy:area=unit"),
        Claim("The Bayesian search helps, against the exact one", "a2sg:search=bayes", "a2sg"),
        Claim("The full gradient helps, against the spike path", "a2sg:gradient=full", "a2sg"),
    ],
    "Integer neurons (T = 1, four levels)": [
        Claim(text, arm, baseline, SCORE, "", "int4")
        for text, arm, baseline in (
            (
                "S-ASG helps over the straight-through estimator (boxcar, windows up to 0.5)",
                BOX.format("high=0.5:", ""),
                "fixed",
            ),
            ("S-ASG with windows from 0.5 to 1 helps over it", BOX.format("low=0.5:", ""), "fixed"),
            ("S-ASG by the deviation helps over it", BOX.format("", ":spread=std"), "fixed"),
            (
                "S-ASG by the deviation is better than by SGV",
                BOX.format("", ":spread=std"),
                BOX.format("high=0.5:", ""),
            ),
            ("The asymmetric shape at window 0.5 is better than it", "asy:window=0.5", "fixed"),
            ("The asymmetric shape at window 1 is better than it", "asy", "fixed"),
            ("A2SG is better than it", "a2sg", "fixed"),
            ("Adaptation helps over the same shape fixed", "a2sg", "asy"),
            ("A2SG by the deviation is better than by SGV", "a2sg:spread=std", "a2sg"),
        )
    ],
    **{
        f"With {text}": [
            Claim(f"Adaptation helps over the same shape fixed ({text})", "a2sg", "asy", SCORE, "", question),
            Claim(
                f"The asymmetric shape helps, against the boxcar ({text})",
                "asy",
                "fixed",
                SCORE,
                "",
                question,
            ),
            Claim(f"A2SG is more accurate than the boxcar ({text})", "a2sg", "fixed", SCORE, "", question),
        ]
        for question, text in OTHERS.items()
    },
}

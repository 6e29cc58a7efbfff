"""What the paper claims and what its readers ask, each as a paired comparison of two arms."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A number of a run, and how its differences are reported.

    Attributes:
        name: a column of runs.csv or flatness.csv, `score` (accuracy or mIoU), or `tgc` or `sgv` of
            variation.csv.
        text: its name in the table.
        higher: whether a claim says that the arm has more of it.
        relative: whether the difference is taken between logarithms and reported in percent.
        scale: factor on a plain difference.
        unit: unit of a plain difference.
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
        baseline: label of the arm that it is compared with.
        metric: what is compared.
        question: the end of the names of the comparisons that the claim is about; `arms` are the main ones.
        note: what a reader needs to know in addition to the numbers.
    """

    text: str
    arm: str
    baseline: str
    metric: Metric = SCORE
    note: str = ""
    question: str = "arms"


SCALES = (
    "SGV scales with the gradient and with the height of the shape, so this comparison is not a fair one."
)
COMMON = (
    "Measured after training, on 128 training samples. All arms use one common surrogate, with which none of "
    "them was trained."
)
BALL = (
    "How much gradient ascent raises the loss of the hard-spike network within a ball of 0.3 of each "
    "filter's norm."
)
SOUGHT = (
    "A search maximises TGC on its own batch. Here TGC is measured on the batch of the next search, before "
    "new windows are set, so this also shows whether windows found on one batch suit the next."
)

BEST = (
    "The best window is chosen for each seed from all trained widths, by the mean of the other seeds. So the "
    "choice is itself a search, and a seed has no influence on the window that it is judged by."
)
OTHERS = {
    "t2": "T = 2",
    "t5": "T = 5",
    "t8": "T = 8",
    "t25": "T = 25",
    "plif": "PLIF neurons",
}
"""Comparisons that differ in one thing from the main comparison on the same data."""

BOX = "s-asg:{}shape=boxcar{}:window=0.5"

SECTIONS: dict[str, list[Claim]] = {
    "What the paper claims": [
        Claim("A2SG is more accurate than the usual surrogate (boxcar, window 0.5)", "a2sg", "fixed"),
        Claim("A2SG is more accurate than adaptation with a symmetric shape (ST-ASG)", "a2sg", "st-asg"),
        Claim("Spatial adaptation helps (S-ASG against the same shape fixed)", "s-asg", "triangle"),
        Claim("Temporal adaptation helps (T-ASG against the same shape fixed)", "t-asg", "triangle"),
        Claim("Both together help (ST-ASG against the same shape fixed)", "st-asg", "triangle"),
        Claim(
            "A2SG lowers the spatial variation of gradients compared with the boxcar",
            "a2sg",
            "fixed",
            SGV,
            SCALES,
        ),
        Claim("A2SG lowers it compared with the same shape fixed", "a2sg", "asy", SGV),
        Claim("A2SG makes gradients more consistent over time than the boxcar", "a2sg", "fixed", TGC, SOUGHT),
        Claim(
            "A2SG makes gradients more consistent over time than the same shape fixed",
            "a2sg",
            "asy",
            TGC,
            SOUGHT,
        ),
        Claim("A2SG ends in a flatter minimum", "a2sg", "fixed", LAMBDA, COMMON),
        Claim("The same, judged by the loss in a ball around the weights", "a2sg", "fixed", SHARPNESS, BALL),
        Claim("A2SG needs less energy", "a2sg", "fixed", ENERGY),
    ],
    "Questions from readers": [
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
        Claim("So does half the width (0.5 against 1)", "asy", "asy:window=0.5"),
        Claim("A wider fixed window helps (1.5 against 1)", "asy:window=1.5", "asy"),
        Claim("A fixed window twice as wide helps (2 against 1)", "asy:window=2.0", "asy"),
        Claim(
            "Adaptation recovers from a starting window that is too narrow",
            "a2sg:window=0.25",
            "asy:window=0.25",
        ),
        Claim("The window at which A2SG starts matters (1 against 0.25)", "a2sg", "a2sg:window=0.25"),
        Claim("The asymmetric shape by itself beats the boxcar", "asy", "fixed"),
        Claim("The asymmetric shape by itself beats the triangle", "asy", "triangle"),
        Claim("A larger bias helps the fixed shape (h 0.8 against 0.5)", "asy:bias=0.8", "asy"),
        Claim("A larger bias helps A2SG (h 0.6 against 0.5)", "a2sg:bias=0.6", "a2sg"),
        Claim("A larger bias helps A2SG (h 0.8 against 0.5)", "a2sg:bias=0.8", "a2sg"),
        Claim("A2SG with h 0.8 beats the boxcar", "a2sg:bias=0.8", "fixed"),
        Claim("The asymmetric shape by itself ends in a flatter minimum", "asy", "fixed", LAMBDA, COMMON),
        Claim("Adaptation by itself ends in a flatter minimum", "a2sg", "asy", LAMBDA, COMMON),
        Claim("The fixed asymmetric shape fires less than the boxcar", "asy", "fixed", SPIKES),
        Claim("A2SG fires less than the same shape fixed", "a2sg", "asy", SPIKES),
        Claim(
            "With integer neurons S-ASG helps (boxcar, starting at 0.5)",
            "s-asg:shape=boxcar:window=0.5",
            "fixed",
        ),
    ],
    "A2SG compared with methods of other papers": [
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
        Claim(
            "With 10 batches and windows up to 2, adaptation helps over the same shape fixed at 1",
            "a2sg:batches=10:high=2.0",
            "asy",
        ),
        Claim(
            "With 10 batches and windows up to 2, adaptation helps over the best fixed window",
            "a2sg:batches=10:high=2.0",
            "asy:window=best",
            SCORE,
            BEST,
        ),
        Claim("Using the standard deviation in place of the variance helps", "a2sg:spatial=std", "a2sg"),
        Claim(
            "With the standard deviation, adaptation helps over the same shape fixed",
            "a2sg:spatial=std",
            "asy",
        ),
        Claim(
            "With the standard deviation, TGC is higher than with the same shape fixed",
            "a2sg:spatial=std",
            "asy",
            TGC,
        ),
        Claim("Searching h with the window helps (least SGV)", "a2sg:biases=3", "a2sg"),
        Claim(
            "Searching h with the window helps (least standard deviation)",
            "a2sg:biases=3:spatial=std",
            "a2sg:spatial=std",
        ),
        Claim(
            "Searching h with the window helps over the best fixed h (1)",
            "a2sg:biases=3:spatial=std",
            "asy:bias=1.0",
        ),
        Claim(
            "Searching h with the window helps over the asymmetric shape fixed at 1",
            "a2sg:biases=3:spatial=std",
            "asy",
        ),
        Claim(
            "With h searched, TGC is higher than with the same shape fixed",
            "a2sg:biases=3:spatial=std",
            "asy",
            TGC,
        ),
        Claim("Searched windows are better than windows drawn at random", "a2sg", "a2sg:search=random"),
        Claim("The fixed window is better than windows drawn at random", "asy", "a2sg:search=random"),
        Claim("Using SGV at the first step instead of the last helps", "a2sg:spatial_steps=first", "a2sg"),
        Claim("Using SGV at every step instead of TGC helps", "a2sg:spatial_steps=all", "a2sg"),
        Claim("Smoothing windows helps (three quarters of the old window)", "a2sg:smoothing=0.75", "a2sg"),
        Claim("Searching in every tenth iteration helps over the recipe's period", "a2sg:every=10", "a2sg"),
        Claim("Searching in every iteration helps over the recipe's period", "a2sg:every=1", "a2sg"),
        Claim("A finer grid helps (400 candidates against 100)", "a2sg:candidates=400", "a2sg"),
        Claim("A coarse grid hurts (10 candidates against 100)", "a2sg", "a2sg:candidates=10"),
        Claim("A wider range helps (up to 2, against up to 1)", "a2sg:high=2.0", "a2sg"),
        Claim("A range without narrow windows helps (from 0.5, against from 0.1)", "a2sg:low=0.5", "a2sg"),
        Claim("Shapes of area 1 help A2SG", "a2sg:area=unit", "a2sg"),
        Claim("Shapes of area 1 help the fixed window", "asy:area=unit", "asy"),
        Claim("With area 1, adaptation helps over the same shape fixed", "a2sg:area=unit", "asy:area=unit"),
        Claim("The Bayesian search helps over the exact one", "a2sg:search=bayes", "a2sg"),
        Claim("The full gradient helps over the spike path", "a2sg:gradient=full", "a2sg"),
    ],
    "Integer neurons (T = 1, four levels)": [
        Claim(text, arm, baseline, SCORE, "", "int4")
        for text, arm, baseline in (
            (
                "S-ASG helps over the straight-through estimator (boxcar, windows up to 0.5)",
                BOX.format("high=0.5:", ""),
                "fixed",
            ),
            (
                "S-ASG with windows from 0.5 to 1 helps over the straight-through estimator",
                BOX.format("low=0.5:", ""),
                "fixed",
            ),
            (
                "S-ASG with the standard deviation helps over the straight-through estimator",
                BOX.format("", ":spatial=std"),
                "fixed",
            ),
            (
                "S-ASG with the standard deviation is better than with SGV",
                BOX.format("", ":spatial=std"),
                BOX.format("high=0.5:", ""),
            ),
            (
                "The asymmetric shape with a window of 0.5 is better than the straight-through estimator",
                "asy:window=0.5",
                "fixed",
            ),
            (
                "The asymmetric shape with a window of 1 is better than the straight-through estimator",
                "asy",
                "fixed",
            ),
            ("A2SG is better than the straight-through estimator", "a2sg", "fixed"),
            ("Adaptation helps over the same shape fixed (integer neurons)", "a2sg", "asy"),
            ("A2SG with the standard deviation is better than with SGV", "a2sg:spatial=std", "a2sg"),
        )
    ],
    **{
        f"With {text}": [
            Claim(f"Adaptation helps over the same shape fixed ({text})", "a2sg", "asy", SCORE, "", question),
            Claim(
                f"The asymmetric shape beats the boxcar ({text})",
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

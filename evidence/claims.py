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
        note: what a reader has to know beside the numbers.
    """

    text: str
    arm: str
    baseline: str
    metric: Metric = SCORE
    note: str = ""


SCALES = "SGV scales with the gradient and with the height of the shape, so this is no fair comparison."
COMMON = "After training, on 128 training samples, all arms under one surrogate that none was trained with."
BALL = "Rise of the hard-spike network's loss that gradient ascent finds, filters moved by 0.3 of their norm."
SOUGHT = (
    "A search maximises it on its own batch. Measured is the batch of the next search, before new windows "
    "are set: so this also says whether windows found on one batch suit the next."
)

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
        Claim(
            "A search in every tenth iteration helps, against the recipe's period", "a2sg:every=10", "a2sg"
        ),
        Claim("A finer grid helps (400 candidates against 100)", "a2sg:candidates=400", "a2sg"),
        Claim("A wider range helps (up to 2 against 1)", "a2sg:high=2.0", "a2sg"),
        Claim("The Bayesian search helps, against the exact one", "a2sg:search=bayes", "a2sg"),
        Claim("The full gradient helps, against the spike path", "a2sg:gradient=full", "a2sg"),
    ],
}

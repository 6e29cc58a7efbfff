"""Claims on deep networks, where the surrogate decides: see docs/depth.md."""

from __future__ import annotations

from claims import BALL, BOX, COMMON, ENERGY, LAMBDA, SCORE, SHARPNESS, Claim

WIDE = "asy:bias=0.8:window=4.0"
SEARCHED = "a2sg:bias=0.8:high=6.0:spatial=std"
ONCE = "calibrated"
LAST = "a2sg:adapt=spatial:bias=0.8:high=6.0:spatial=std:window=2.0"
DRAWN = "a2sg:bias=0.8:high=6.0:search=random"
EVEN = "a2sg:high=6.0:spatial=gain:temporal=gain"
FAR = "a2sg:high=6.0:spatial=std"
GAIN = "a2sg:spatial=gain:temporal=gain"
GAIN_BOX = BOX.format("", ":spatial=gain")

RATES = "Each arm has the best of {} learning rates, chosen on another seed."

DEEP = {
    "dense6": ("6 dense layers", ""),
    "dense10": ("10 dense layers", ""),
    "conv18": ("18 convolutions", RATES.format("two")),
    "conv34": ("34 convolutions", "All arms have a learning rate of 0.012."),
    "ms19": ("19 layers, membrane shortcuts", RATES.format("two")),
    "sgd10": ("10 dense layers, SGD", RATES.format("three")),
    "sgd20": ("20 dense layers, SGD", RATES.format("three")),
}
"""What differs from the 20 dense layers trained with AdamW, and a note."""
LONG = {
    f"conv18t{steps}": (
        f"18 convolutions, T = {steps}",
        "Each arm has the learning rate that was best at T = 4.",
    )
    for steps in (8, 16)
}
"""With more steps, where the paper's setting was not trained."""

SECTIONS: dict[str, list[Claim]] = {
    "Deep networks (20 dense layers)": [
        Claim(text, arm, baseline, SCORE, "", "dense20")
        for text, arm, baseline in (
            ("A window of 4 and h 0.8 help over a window of 1 and h 0.5", WIDE, "asy"),
            ("A2SG helps over the same shape fixed (20 dense layers)", "a2sg", "asy"),
            ("A window of 4 and h 0.8, fixed, are better than A2SG", WIDE, "a2sg"),
            ("A window of 4 helps over one of 2 (h 0.8)", WIDE, "asy:bias=0.8:window=2.0"),
            (
                "Of a window of 2, h 0.8 is better than the boxcar",
                "asy:bias=0.8:window=2.0",
                "fixed:window=2.0",
            ),
            (
                "Searching windows up to 6 by the standard deviation helps over a fixed window of 4",
                SEARCHED,
                WIDE,
            ),
            ("Searching them once, before training, helps over a fixed window of 4", ONCE, WIDE),
            ("Searching them throughout training helps over searching once", SEARCHED, ONCE),
            ("Searching the last step alone helps over a fixed window of 4", LAST, WIDE),
            ("Windows up to 6 are better searched than drawn at random", SEARCHED, DRAWN),
        )
    ],
    "Deep networks (18 convolutions): width, height and gain": [
        Claim(f"{text} (18 convolutions)", arm, baseline, SCORE, RATES.format("two"), "conv18")
        for text, arm, baseline in (
            ("A window of 4 helps over one of 1, h 0.8", WIDE, "asy:bias=0.8"),
            ("A window of 4 helps over one of 2, h 0.8", WIDE, "asy:bias=0.8:window=2.0"),
            ("A window of 6 helps over one of 4, h 0.8", "asy:bias=0.8:window=6.0", WIDE),
            ("Windows searched once help over a fixed window of 2", ONCE, "asy:bias=0.8:window=2.0"),
            ("h 0.8 helps over h 0.5, window 4", WIDE, "asy:window=4.0"),
            ("Of a window of 4, h 0.8 is better than the boxcar", WIDE, "fixed:window=4.0"),
            ("A gain of 1 helps the boxcar, window 4", "fixed:scale=0.366:window=4.0", "fixed:window=4.0"),
            ("A gain of 1 helps h 0.8, window 1", "asy:bias=0.8:scale=0.748", "asy:bias=0.8"),
            ("A gain of 1 helps h 0.8, window 4", "asy:bias=0.8:scale=0.532:window=4.0", WIDE),
            ("Windows searched for an even gain help over a window of 1, h 0.5", EVEN, "asy"),
            (
                "The standard deviation is a better objective than an even gain, h 0.5",
                FAR,
                EVEN,
            ),
            ("Searching by the standard deviation throughout helps over a fixed window of 4", SEARCHED, WIDE),
            ("Searching throughout training helps over searching once", SEARCHED, ONCE),
            ("Windows searched once are better than windows drawn at random", ONCE, DRAWN),
        )
    ],
    "Deep networks (18 convolutions): energy and flatness": [
        Claim(f"{text} (18 convolutions)", arm, baseline, metric, note, "conv18")
        for text, arm, baseline, metric, note in (
            ("Windows searched once need less energy than a window of 1 and h 0.5", ONCE, "asy", ENERGY, ""),
            (
                "Windows searched once end in a flatter minimum than a window of 1 and h 0.5",
                ONCE,
                "asy",
                LAMBDA,
                COMMON,
            ),
            ("The same, judged by the loss in a ball around the weights", ONCE, "asy", SHARPNESS, BALL),
            ("A2SG ends in a flatter minimum than the same shape fixed", "a2sg", "asy", LAMBDA, COMMON),
        )
    ],
    "Deep networks (20 dense layers, three times the learning rate)": [
        Claim(f"{text} (faster)", arm, baseline, SCORE, "", "fast20")
        for text, arm, baseline in (
            ("A window of 4 and h 0.8 help over a window of 1 and h 0.5", WIDE, "asy"),
            ("Searching windows once, before training, helps over a fixed window of 4", ONCE, WIDE),
        )
    ],
    **{
        f"Deep networks ({text})": [
            Claim(f"{claim} ({text})", arm, baseline, SCORE, note, question)
            for claim, arm, baseline in (
                ("A window of 4 and h 0.8 help over a window of 1 and h 0.5", WIDE, "asy"),
                ("A2SG helps over the same shape fixed", "a2sg", "asy"),
                ("Searching windows once, before training, helps over a fixed window of 4", ONCE, WIDE),
                ("Windows searched once, with h 0.8, help over a window of 1 and h 0.5", ONCE, "asy"),
            )
            if not (question in LONG and arm == "a2sg")
        ]
        for question, (text, note) in (DEEP | LONG).items()
    },
    "Gain as the objective, with SGD": [
        Claim(f"{claim} ({layers}, SGD)", EVEN, baseline, SCORE, RATES.format("two or three"), question)
        for layers, question in (
            ("10 dense layers", "sgd10"),
            ("20 dense layers", "sgd20"),
            ("18 convolutions", "conv18sgd"),
        )
        for claim, baseline in (
            ("Windows searched for an even gain help over a window of 1, h 0.5", "asy"),
            ("Windows searched for an even gain help over a window of 4, h 0.8", WIDE),
            ("Windows searched for an even gain help over windows searched once, h 0.8", ONCE),
            ("An even gain is a better objective than SGV and TGC", "a2sg"),
        )
    ],
    "What could be the default": [
        *(
            Claim(f"{text} (2 to 5 layers)", arm, baseline, SCORE, "", "default")
            for text, arm, baseline in (
                (
                    "Windows up to 6 by the standard deviation are better than the paper's setting",
                    FAR,
                    "a2sg",
                ),
                ("They are better than the same shape fixed", FAR, "asy"),
                ("Searching once, with h 0.8, is better than the paper's setting", ONCE, "a2sg"),
                ("Searching once, with h 0.8, is better than a window of 1 and h 0.5", ONCE, "asy"),
                ("A window of 4 and h 0.8 are better than a window of 1 and h 0.5", WIDE, "asy"),
            )
        ),
        Claim(
            "Windows up to 6 by the standard deviation are better than the paper's setting (20 dense layers)",
            FAR,
            "a2sg",
            SCORE,
            "",
            "far20",
        ),
    ],
    "Gain as the objective, where SGV fails": [
        *(
            Claim(f"{text} (integer neurons)", arm, baseline, SCORE, "", "gain4")
            for text, arm, baseline in (
                ("An even gain is a better objective than SGV", "a2sg:spatial=gain", "a2sg"),
                (
                    "An even gain is a better objective than the standard deviation",
                    "a2sg:spatial=gain",
                    "a2sg:spatial=std",
                ),
                (
                    "Windows searched for an even gain help over the same shape fixed",
                    "a2sg:spatial=gain",
                    "asy",
                ),
                ("S-ASG with an even gain helps over the straight-through estimator", GAIN_BOX, "fixed"),
                ("Searching once, with h 0.8, helps over a window of 1 and h 0.5", ONCE, "asy"),
            )
        ),
        *(
            Claim(f"{text} (Spikformer)", arm, baseline, SCORE, "", "former")
            for text, arm, baseline in (
                ("An even gain is a better objective than SGV and TGC", GAIN, "a2sg"),
                ("Windows searched for an even gain help over the same shape fixed", GAIN, "asy"),
                ("A2SG helps over the same shape fixed", "a2sg", "asy"),
                ("Searching once, with h 0.8, helps over a window of 1 and h 0.5", ONCE, "asy"),
            )
        ),
    ],
}

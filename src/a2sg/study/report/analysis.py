"""`analyze`: the links of the paper's chain of claims, measured on trained runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from a2sg.columns import aligned
from a2sg.devices import find_device
from a2sg.errors import one_line, require
from a2sg.registry import require_known
from a2sg.study.files import made
from a2sg.study.measure.noise import LIMIT
from a2sg.study.report.cases import Options, open_study
from a2sg.study.report.panel import AnalysisData
from a2sg.study.report.parts import PARTS


@dataclass(frozen=True)
class Analysis(AnalysisData):
    """The results of `a2sg.analyze`.

    Attributes:
        facts: runs, data, network, options, device, date, versions, and what was skipped.
        sections: by the name of the part.
    """

    def __str__(self) -> str:
        """The glance as a table, and what was skipped."""
        lines = [[*map(one_line, line)] for line in (["", *self.labels], *self.glance_lines())]
        notes = [note for section in self.sections.values() for note in section.notes]
        return "\n".join([*aligned(lines), "", *map(one_line, [*self.facts["left_out"], *notes])]).rstrip()

    def save(self, folder: str | Path) -> list[Path]:
        """Write `analysis.html`, `analysis.json`, and for every panel NAME.svg, NAME.png and NAME.csv.

        The page opens from the disk and needs nothing else. No file is written before all are ready. An
        earlier analysis in `folder` is replaced.

        Returns:
            The files written.

        Raises:
            InputError: if the folder holds something else, or cannot be written.
        """
        from a2sg.study.report.files import save

        return save(self, Path(folder))


def analyze(
    runs: str | Path | Sequence[str | Path],
    *,
    only: Sequence[str] | None = None,
    samples: int = 64,
    batch_size: int = 32,
    seed: int = 0,
    noise: float | None = None,
    budget: float = 60.0,
    device: str = "auto",
    show_progress: bool | None = None,
) -> Analysis:
    """Measure every link of the paper's chain of claims on trained runs.

        found = a2sg.analyze(["runs/fixed-s0", "runs/a2sg-s0"])
        found.save("report")

    All runs are measured on the same samples and along the same directions, so they must share the data set,
    the network and the loss. Training samples are used without augmentation, as in an evaluation.

    Args:
        runs: run folders. The folder of a comparison stands for a finished run of each of its arms, that of
            the smallest seed that all arms have.
        only: parts: variation, curvature, landscape, theory, fidelity, energy; None is all.
        samples: training samples for all parts but variation.
        batch_size: of the 8 batches for variation.
        seed: of samples, directions and random vectors.
        noise: σ of noise on the potentials: compares surrogate gradients with finite differences of the
            expected loss, too. For small networks; takes long. None skips it.
        budget: seconds; a measurement that is expected to take longer per run is skipped, and the page says
            so.
        device: "auto", "cpu", "cuda" or "mps".
        show_progress: whether there is a bar for each part; None shows them on a terminal.

    Raises:
        InputError: for a folder that is not a finished run, runs that cannot be compared, or an option out of
            range.
        ModuleNotFoundError: without the packages of the extra `train`.
    """
    names = list(PARTS) if only is None else list(only)
    require(len(names) > 0, f"only names no part: choose from {', '.join(PARTS)}")
    for name in names:
        require_known("part", name, PARTS)
    options = Options(samples, batch_size, seed, noise, budget)
    folders = [runs] if isinstance(runs, str | Path) else list(runs)
    study = open_study(folders, options, find_device(device), show_progress)
    first = study.cases[0]
    if noise is not None and "fidelity" in names:
        count = sum(parameter.numel() for parameter in first.objective.parameters)
        said = (
            f"noise is for networks of at most {LIMIT:,} parameters, and this one has {count:,}: leave it out"
        )
        require(count <= LIMIT, said)
    sections = {name: part(study) for name, part in PARTS.items() if name in names}
    config = first.run.config
    facts = {
        "runs": [
            {
                "label": case.label,
                "folder": str(case.run.folder),
                **{name: getattr(case.run.config, name) for name in ("arm", "seed", "epochs")},
            }
            for case in study.cases
        ],
        "model": config.model.name,
        "steps": config.model.steps,
        "data": config.data.name,
        "options": asdict(options),
        "left_out": list(study.left_out),
        "device": str(first.objective.labels.device),
    }
    return Analysis(facts | made(), sections)

"""The results of an inspection as plain data: all that drawing, printing and writing them need."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from a2sg.study.inspect.verdict import Verdict, answer
from a2sg.study.measure.diagnosis import LayerDiagnosis
from a2sg.study.measure.gain import Gains


@dataclass(frozen=True)
class InspectionData:
    """The data of an `Inspection`, which describes them."""

    layers: dict[str, LayerDiagnosis]
    gains: Gains
    verdicts: dict[str, list[Verdict]]
    windows: list[float]
    edges: list[float]
    facts: dict[str, Any]

    @property
    def answer(self) -> str:
        """Is the network all right, and what should be changed first?"""
        return answer(self.verdicts, self.gains, self.facts.get("optimizer"))

    def to_dict(self) -> dict[str, Any]:
        """All numbers as plain data, as in `inspection.json`."""
        return {
            **self.facts,
            "answer": self.answer,
            "windows": self.windows,
            "edges": self.edges,
            "layers": [
                {**asdict(layer), "verdicts": [asdict(verdict) for verdict in self.verdicts[layer.name]]}
                for layer in self.layers.values()
            ],
            "gains": {**asdict(self.gains), "sentence": self.gains.sentence},
            "unreached": [name for name in self.verdicts if name not in self.layers],
        }

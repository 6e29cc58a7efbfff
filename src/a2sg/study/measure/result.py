"""Results of measurements: plain numbers, frozen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """A record of plain numbers and words."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain data."""
        return asdict(self)

"""Storage for the rows of a history: the latest in memory, or all of them in a file."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from a2sg.errors import require, require_count
from a2sg.files import GrowingTable, read_rows

Row = dict[str, Any]

RECENT = 1000
"""Searches whose rows are kept in memory without a file."""


class Records:
    """The rows of the searches so far.

    Args:
        columns: keys of a row.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = columns
        self._recent: deque[list[Row]] = deque(maxlen=RECENT)
        self._file: GrowingTable | None = None
        self._elsewhere: int | None = None

    @property
    def filed(self) -> int:
        """How many rows are in a file: that of `record`, or that of a loaded state, not yet opened."""
        return self._elsewhere or 0 if self._file is None else self._file.rows

    def add(self, rows: list[Row]) -> None:
        """Add the rows of a search."""
        if self._file is None:
            self._recent.append(rows)
        else:
            self._file.append(rows)

    def rows(self) -> list[Row]:
        """All rows that are kept, the oldest first."""
        if self._file is not None:
            return read_rows(self._file.path)
        return list(chain.from_iterable(self._recent))

    def record(self, path: Path, *, anew: bool) -> None:
        """See `a2sg.window.policy.WindowPolicy.record`."""
        require(
            anew or self._elsewhere is not None or not path.exists(),
            f"{path} exists already: to continue it, load the state that was saved with it "
            "(load_state_dict) before record; otherwise move it away, or pass anew=True",
        )
        file = GrowingTable(path, self.columns)
        file.resume(self._elsewhere)
        file.append(self.rows())
        self._file = file
        self._forget()

    def state(self) -> list[Row] | int:
        """The rows themselves; or only their number if they are in a file, then safely on disk."""
        if self._file is not None:
            return self._file.sync()
        if self._elsewhere is not None and not self._recent:
            return self._elsewhere
        return [dict(row) for row in self.rows()]

    def __getstate__(self) -> dict[str, Any]:
        """A copy leaves the file to the original, and may continue it, as from a loaded state."""
        return {
            **self.__dict__,
            "_file": None,
            "_elsewhere": self._elsewhere if self._file is None else self.filed,
        }

    def load(self, state: list[Row] | int) -> None:
        """Continue from a state. Rows that its file has beyond the state are cut off."""
        self._forget()
        if isinstance(state, int):
            require_count("the number of rows of the saved history", state, least=0)
        if self._file is not None:
            self._file.resume(state)
        elif isinstance(state, int):
            self._elsewhere = state
        else:
            searches = groupby(state, lambda row: row["iteration"])
            self._recent.extend([dict(row) for row in rows] for _, rows in searches)

    def _forget(self) -> None:
        self._recent.clear()
        self._elsewhere = None

"""A NIR graph from a file, which need not be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from a2sg.errors import told

if TYPE_CHECKING:
    import nir


def read_graph(path: Path) -> nir.NIRGraph:
    """What `nir.read` gives for a file.

    Raises:
        InputError: if the file is damaged, holds no graph, names other files, or is too large.
    """
    import nir

    from a2sg.data.hdf5 import copied

    copy = copied(path, "nir", "read")
    with told(f"{path} cannot be read"):
        return nir.read(copy)

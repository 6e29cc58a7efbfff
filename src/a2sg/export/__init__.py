"""Networks for other libraries and for hardware: NIR, the neuromorphic intermediate representation."""

from a2sg.export.conventions import READERS, Convention
from a2sg.export.from_graph import from_nir
from a2sg.export.nir_graph import to_nir, write_nir

__all__ = ["READERS", "Convention", "from_nir", "to_nir", "write_nir"]

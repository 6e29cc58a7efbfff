"""What a parquet file holds, counted; `a2sg.data.apart` runs this in a separate process."""

from __future__ import annotations

import numpy as np


def parquet_size(path: str, most_rows: int, most_bytes: int) -> np.ndarray:
    """The rows and unpacked bytes of a parquet file, all columns together: `[2]`, int64.

    What its metadata says, if that is already too much. Otherwise, since the metadata may be wrong, the file
    is unpacked and counted until it is too much.

    Args:
        path: of the file.
        most_rows: more rows are too much.
        most_bytes: more bytes are too much.
    """
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        said = file.metadata
        rows = said.num_rows
        size = sum(said.row_group(at).total_byte_size for at in range(said.num_row_groups))
        if rows <= most_rows and size <= most_bytes:
            rows = size = 0
            for batch in file.iter_batches(batch_size=64):
                rows += batch.num_rows
                size += batch.nbytes
                if rows > most_rows or size > most_bytes:
                    break
    return np.array([rows, size])

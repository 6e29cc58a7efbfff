"""Numbers from a model and batches: nothing here draws, writes a file, or knows a run."""

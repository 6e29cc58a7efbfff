"""`a2sg bench`: a2sg's speed and memory, next to those of other libraries in the same run."""

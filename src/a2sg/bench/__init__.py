"""`a2sg bench`: a2sg's speed and memory, beside other libraries' in the same run."""

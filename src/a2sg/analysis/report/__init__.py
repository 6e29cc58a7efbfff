"""`a2sg analyze`: every link of the paper's chain of claims measured on trained runs, and shown on one page.

`cases` finds the runs, a module per part measures and draws, `parts` lists them, `analysis` runs them.
"""

"""`a2sg analyze`: every link of the paper's chain of claims measured on trained runs, and shown on one page.

`runs` finds the runs and `cases` opens them, one module per part measures and draws, `parts` lists these,
`analysis` runs them, `page` and `files` write the results.
"""

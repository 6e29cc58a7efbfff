"""The colours of all pictures."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, distinguishable with any colour vision."""
GREY = "#707070"

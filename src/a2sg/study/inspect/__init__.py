"""`a2sg inspect`: which layers get a gradient in one batch, which window would fit, and a page about it."""

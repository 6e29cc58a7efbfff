"""`a2sg inspect`: who gets a gradient in one batch, which window would fit, and a page that shows it."""

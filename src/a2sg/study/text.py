"""Formats of numbers in tables."""

from __future__ import annotations


def share(value: float | None) -> str:
    """In percent."""
    return "" if value is None else f"{100 * value:.1f}%"


def number(value: float | None) -> str:
    """To three digits."""
    if value is None:
        return ""
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 or abs(value) >= 1e4 else f"{value:.3g}"


def with_error(value: float | None, error: float | None) -> str:
    """A number and its standard error, if it has one that is not 0."""
    return number(value) + (f" ± {number(error)}" if error else "")

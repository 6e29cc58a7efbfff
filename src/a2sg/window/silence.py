"""Why a rule has not set any window yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set

from a2sg.errors import many

HINTS = {
    "no gradient": "no backward pass reached the neurons while they were observed: unless all layers before "
    "them are frozen, call step() once per iteration, after backward(), on the rule made for this model",
    "all zero": "no potential was within a window of its threshold: normalise before the neurons, or widen "
    "the windows",
    "not finite": "gradients were NaN or infinite: unless a GradScaler is still looking for its scale, lower "
    "the learning rate, clip gradients, or look for broken samples",
}
"""What to do about each reason for keeping a window."""


def hint(kept: Counter[str]) -> str:
    """What to do about kept windows, going by the most common reason."""
    ((reason, _),) = kept.most_common(1)
    return HINTS.get(reason, "look at the layers with a2sg.inspect")


def silence(searches: int, kept: Counter[str], wanted: int, first: int, done: int, disarmed: Set[str]) -> str:
    """A sentence; "" if windows have been set, or none are meant to be.

    Args:
        searches: how many there were.
        kept: how often a window was kept in them, by reason.
        wanted: how many windows each search is to set.
        first: the iteration in which the first search ends.
        done: iterations so far.
        disarmed: layers whose observer was replaced.
    """
    if not wanted or kept.total() < searches * wanted:
        return ""
    if not searches:
        if not done:
            return "no search has run: step() was never called; call it after each backward pass"
        return (
            f"no search has run: the first needs {many(first + 1, 'iteration')}, and {done:,} have been "
            "done, counted by step(): lower start or every, or train for longer"
        )
    if disarmed:
        return (
            f"{many(searches, 'search', 'es')} found nothing, since something else replaced the observers of "
            f"{many(len(disarmed), 'layer')} ({min(disarmed)!r} among them): is there another rule for this "
            "model's windows? Use one, and detach() the other"
        )
    told = ", ".join(f"{reason}: {times}" for reason, times in kept.most_common())
    return f"{many(searches, 'search', 'es')} found nothing ({told}): {hint(kept)}"

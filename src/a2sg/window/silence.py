"""Why a rule has not set any window yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set


def silence(searches: int, kept: Counter[str], wanted: int, first: int, done: int, disarmed: Set[str]) -> str:
    """A sentence; "" if windows have been set, or none are meant to be.

    Args:
        searches: how many there were.
        kept: how often a window was kept in them, by reason.
        wanted: how many windows each search is to set.
        first: the iteration with which the first search ends.
        done: iterations so far.
        disarmed: layers whose observer something else replaced.
    """
    if not wanted or kept.total() < searches * wanted:
        return ""
    if not searches:
        return (
            f"no search has run: the first ends with iteration {first}, and {done} iterations "
            "have been done, counted by step(): lower start or every, or train for longer"
        )
    if disarmed:
        return (
            f"{searches} searches found nothing, since something else took the place of the observers of "
            f"{len(disarmed)} layers ({min(disarmed)!r} among them): is there another rule "
            "for this model's windows? Use one, and detach() the other"
        )
    reasons = kept.most_common()
    told = ", ".join(f"{reason}: {times}" for reason, times in reasons)
    hint = (
        "no backward pass came to the neurons while they were observed: is step() called after "
        "backward(), on the rule that was made for this very model?"
        if reasons[0][0] == "no gradient"
        else "look at the layers with a2sg.inspect"
    )
    return f"{searches} searches found nothing ({told}): {hint}"

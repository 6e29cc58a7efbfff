"""Why a rule has not set any window yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from typing import Any


def silence(rows: Sequence[dict[str, Any]], wanted: int, first: int, done: int, disarmed: Set[str]) -> str:
    """A sentence; "" if windows have been set, or none are meant to be.

    Args:
        rows: the history.
        wanted: how many windows each search is to set.
        first: the iteration with which the first search ends.
        done: iterations so far.
        disarmed: layers whose observer something else replaced.
    """
    kept = Counter(row["iteration"] for row in rows if row["kept"])
    searches = {row["iteration"] for row in rows}
    if not wanted or any(kept[iteration] < wanted for iteration in searches):
        return ""
    if not rows:
        return (
            f"no search has run: the first ends with iteration {first}, and {done} iterations "
            "have been done, counted by step(): lower start or every, or train for longer"
        )
    count = len(searches)
    if disarmed:
        return (
            f"{count} searches found nothing, since something else took the place of the observers of "
            f"{len(disarmed)} layers ({min(disarmed)!r} among them): is there another rule "
            "for this model's windows? Use one, and detach() the other"
        )
    reasons = Counter(row["kept"] for row in rows if row["kept"]).most_common()
    told = ", ".join(f"{reason}: {times}" for reason, times in reasons)
    hint = (
        "no backward pass came to the neurons while they were observed: is step() called after "
        "backward(), on the rule that was made for this very model?"
        if reasons[0][0] == "no gradient"
        else "look at the layers with a2sg.inspect"
    )
    return f"{count} searches found nothing ({told}): {hint}"

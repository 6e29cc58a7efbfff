"""Children that are not there: what looks like `a2sg.children.Child`, and ends as a test says."""

from __future__ import annotations


class ScriptedChild:
    """What all of them share; they say themselves what their `status` is.

    Attributes:
        left: how often somebody may still look before it has ended.
        repeated: whether what it said was repeated.
    """

    left: int
    repeated = False

    def __enter__(self) -> ScriptedChild:
        return self

    def __exit__(self, *_: object) -> None: ...

    def repeat(self) -> None:
        self.repeated = True

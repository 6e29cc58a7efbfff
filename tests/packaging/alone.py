"""Runs a script where only a2sg, torch, numpy, what these need, and the standard library can be imported."""

import re
import runpy
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires


def plain(name):
    """A distribution's name as the standard spells it."""
    return re.sub("[-_.]+", "-", name).lower()


def needed(names):
    """Distributions and what they require, extras apart."""
    found, open_ = set(), {plain(name) for name in names}
    while open_:
        found.add(name := open_.pop())
        with suppress(PackageNotFoundError):  # what another platform needs
            lines = [line for line in requires(name) or () if "extra ==" not in line]
            open_ |= {plain(re.match(r"[\w.-]+", line).group()) for line in lines} - found
    return found


class Without:
    """Finds what `finders` find, apart from the modules of other distributions than `allowed`."""

    def __init__(self, finders, allowed):
        self.finders, self.allowed = finders, allowed
        owners = packages_distributions()
        self.hidden = {name for name in owners if not allowed.intersection(map(plain, owners[name]))}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.hidden:
            return None
        return next(filter(None, (finder.find_spec(name, path, target) for finder in self.finders)), None)

    def find_distributions(self, *context):
        for finder in self.finders:
            for found in getattr(finder, "find_distributions", lambda *_: ())(*context):
                if plain(found.name) in self.allowed:
                    yield found


if __name__ == "__main__":
    sys.meta_path[:] = [Without(list(sys.meta_path), needed(["torch", "numpy", "a2sg"]))]
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")

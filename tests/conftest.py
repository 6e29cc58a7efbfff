"""Settings of the whole suite."""

import pytest
import torch
from hypothesis import settings

from a2sg.imports import imported

# The tensors of tests are small: a second thread costs more than it gives, most of all on busy cores.
torch.set_num_threads(1)

# No deadline: no test asserts a time. Derandomized and without a database: every run is the same run.
settings.register_profile("a2sg", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("a2sg")


@pytest.fixture(autouse=True, scope="session")
def _pages_as_they_are():
    """The command line, called in this process, leaves its C library alone: other tests measure memory.

    Of the whole session, as fixtures of modules call it, too.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("a2sg.memory.pages.keep_pages", lambda: False)
        yield


@pytest.fixture(autouse=True)
def _no_modules_of_other_tests():
    """What one test imports by `--import` is passed on to no process that another one starts."""
    before = list(imported)
    yield
    imported[:] = before

"""Observed steps, which the user's `torch.compile` leaves alone.

A module of its own: the decorator imports the compiler, which takes as long as torch itself.
"""

import torch

from a2sg.adopt.site import SpikeSite

fire_observed = torch.compiler.disable(SpikeSite._fire_observed)

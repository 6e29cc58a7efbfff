"""Other published rules that set surrogates during training, to compare A2SG with (method, section 9)."""

from a2sg.baselines.cpng import CPNG
from a2sg.baselines.dspike import DspikeSearch

__all__ = ["CPNG", "DspikeSearch"]

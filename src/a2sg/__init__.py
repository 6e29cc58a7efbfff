"""a2sg: train deep spiking neural networks with adaptive and asymmetric surrogate gradients."""

from typing import TYPE_CHECKING

from a2sg import surrogate
from a2sg._version import __version__
from a2sg.adopt import SpikeSite, adapt, spike
from a2sg.errors import InputError
from a2sg.guard import StepGuard
from a2sg.neuron import IF, LI, LIF, PLIF, IntegerLIF, Recurrent, mean_over_steps, pad, pad_batch, recording
from a2sg.window import AdaptiveWindows, sgv, tgc

if TYPE_CHECKING:
    from a2sg import analysis as analysis
    from a2sg import baselines, export, memory
    from a2sg import models as models
    from a2sg.analysis import Analysis, Inspection, analyze, inspect
    from a2sg.export import from_nir
    from a2sg.models import create_model, list_models
else:
    # Not needed by a training loop, so imported on first use: the name, and the module it comes from.
    _LATER = {
        **dict.fromkeys(("analysis", "Analysis", "Inspection", "analyze", "inspect"), "analysis"),
        **dict.fromkeys(("models", "create_model", "list_models"), "models"),
        **dict.fromkeys(("export", "from_nir"), "export"),
        **{name: name for name in ("baselines", "memory")},
    }

    def __getattr__(name):
        from importlib import import_module

        if name not in _LATER:
            # With what Python needs to suggest the nearest name.
            this = import_module(__name__)
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=this)

        module = import_module(f"{__name__}.{_LATER[name]}")
        found = globals()[name] = module if name == _LATER[name] else getattr(module, name)
        return found

    def __dir__():
        return sorted({*globals(), *_LATER})


__all__ = [
    "IF",
    "LI",
    "LIF",
    "PLIF",
    "AdaptiveWindows",
    "Analysis",
    "InputError",
    "Inspection",
    "IntegerLIF",
    "Recurrent",
    "SpikeSite",
    "StepGuard",
    "__version__",
    "adapt",
    "analyze",
    "baselines",
    "create_model",
    "export",
    "from_nir",
    "inspect",
    "list_models",
    "mean_over_steps",
    "memory",
    "pad",
    "pad_batch",
    "recording",
    "sgv",
    "spike",
    "surrogate",
    "tgc",
]

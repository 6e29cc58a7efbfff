"""What there is to choose from, by topic, with a line on each."""

from __future__ import annotations

TOPICS = ("models", "recipes", "surrogates", "neurons", "data", "arms")


def entries(topic: str) -> dict[str, str]:
    """Names and one-line descriptions of what a topic offers."""
    if topic == "surrogates":
        from a2sg.surrogate import SURROGATES

        return {name: _first_line(cls) for name, cls in SURROGATES.items()}
    if topic == "neurons":
        from a2sg.neuron import NEURONS

        return {name: _first_line(cls) for name, cls in NEURONS.items()}
    if topic == "models":
        from a2sg.models import describe_models

        return describe_models()
    if topic == "data":
        from a2sg.data import describe_data

        return describe_data()
    if topic == "arms":
        from a2sg.training.arms import describe_arms

        return describe_arms()
    from a2sg.training.recipe import recipes

    return {name: path.read_text().partition("\n")[0].lstrip("# ") for name, path in recipes().items()}


def _first_line(thing: object) -> str:
    return (thing.__doc__ or "").partition("\n")[0]

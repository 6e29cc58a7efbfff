"""E-SpikeFormer, one formula at a time."""

from transformer_networks import ByHand, Steps, added, attention, integer


def separable(hand: ByHand, x: Steps, name: str) -> Steps:
    y = hand.current(integer(x), f"{name}.widen")
    y = hand.current(integer(y), f"{name}.depthwise", groups=y[0].shape[1])
    return hand.current(integer(y), f"{name}.narrow")


def widening(hand: ByHand, x: Steps, name: str) -> Steps:
    return hand.current(integer(hand.current(integer(x), f"{name}.widen")), f"{name}.narrow")


def conv_block(hand: ByHand, x: Steps, name: str) -> Steps:
    x = added(x, separable(hand, x, f"{name}.separable"))
    return added(x, widening(hand, x, f"{name}.convolutions"))


def transformer_block(hand: ByHand, x: Steps, name: str, heads: int, channels: int) -> Steps:
    x = added(x, separable(hand, x, f"{name}.separable"))
    spikes = integer(x)
    q, k, v = (
        integer(hand.current(spikes, f"{name}.attention.attention.{part}"))
        for part in ("query", "key", "value")
    )
    scale = 2 / (channels / heads) ** 0.5
    mixed = [attention(*step, heads=heads, scale=scale) for step in zip(q, k, v, strict=True)]
    x = added(x, hand.current(integer(mixed), f"{name}.attention.attention.projection"))
    return added(x, widening(hand, x, f"{name}.mlp"))


def down(hand: ByHand, x: Steps, name: str, stride: int = 2) -> Steps:
    return hand.current(integer(x), f"{name}.output", stride)


def by_hand(hand: ByHand, frames: Steps) -> list[Steps]:
    """The currents of all four stages, for two heads and one transformer block of each width."""
    x = conv_block(hand, hand.current(frames, "backbone.stages.0.0", 2), "backbone.stages.0.1")
    levels = [x]
    x = conv_block(hand, down(hand, x, "backbone.stages.1.0"), "backbone.stages.1.1")
    levels.append(x)
    x = conv_block(hand, down(hand, x, "backbone.stages.2.0"), "backbone.stages.2.1")
    x = conv_block(hand, x, "backbone.stages.2.2")
    levels.append(x)
    x = transformer_block(hand, down(hand, x, "backbone.stages.3.0"), "backbone.stages.3.1", 2, 16)
    x = down(hand, x, "backbone.stages.3.2", 1)
    levels.append(transformer_block(hand, x, "backbone.stages.3.3", 2, 24))
    return levels

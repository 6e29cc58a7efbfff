"""Tensors in memory order and back: the same values, also where sizes of 1 leave strides open."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from a2sg.kernels.layout import layout_of

sizes = st.integers(1, 3)


@st.composite
def currents(draw):
    """`[T, B, C, H, W]`, contiguous, channels-last or neither, as views that leave strides of size 1 open."""
    steps, batch = draw(st.sampled_from([3, 1])), draw(st.sampled_from([1, 2, 3]))
    channels, height, width = draw(sizes), draw(sizes), draw(sizes)
    x = torch.arange(float(steps * batch * channels * height * width))
    order = draw(st.sampled_from([(0, 1, 2, 3, 4), (0, 1, 4, 2, 3), (1, 0, 2, 3, 4), (0, 3, 1, 2, 4)]))
    shape = (steps, batch, channels, height, width)
    stored = x.view([shape[at] for at in order])
    x = stored.permute([order.index(at) for at in range(5)])
    open_strides = [
        draw(st.integers(1, 7)) if size == 1 else stride
        for size, stride in zip(shape, x.stride(), strict=True)
    ]
    return x.as_strided(shape, open_strides)


@given(currents(), st.booleans())
def test_flat_and_back(x, channels):
    layout = layout_of(x, channels=channels)
    flat = layout.flatten(x)
    assert flat.is_contiguous()
    torch.testing.assert_close(layout.restore(flat), x)
    if channels:
        assert torch.equal(layout.joined(len(x)).restore(flat), x.flatten(0, 1))
        assert torch.equal(layout.joined(len(x)).dense(x.flatten(0, 1)), x.flatten(0, 1))
        rows = flat.view(len(x), len(x[0]), -1)
        split = (-1, x.shape[2]) if layout.channels_last else (x.shape[2], -1)
        by_channel = (
            rows.unflatten(2, split).transpose(2, 3) if layout.channels_last else rows.unflatten(2, split)
        )
        assert torch.equal(by_channel, x.flatten(3))

"""Segmentation: logits for every pixel, the pyramid against its formula, images that are not square."""

import pytest
import torch
import torch.nn.functional as F

import transformer_networks as transformers
from a2sg.errors import InputError
from a2sg.models import create_model
from a2sg.models.fpn import Pyramid, SemanticHead, resized
from a2sg.models.layers import Frames, TdBatchNorm
from a2sg.models.setting import Setting, neuron_factory
from a2sg.neuron import recording
from espikeformer_by_hand import by_hand
from transformer_networks import TINY, ByHand, added, images, integer, stirred, tiny

NAMES = tuple(f"espikeformer_{size}_fpn" for size in "tsml")


@pytest.mark.parametrize("duty", transformers.DUTIES)
def test_it_does_what_every_network_must(duty):
    torch.manual_seed(0)
    duty(lambda **options: tiny("espikeformer_t_fpn", **options), TINY["espikeformer_t_fpn"])


@pytest.mark.parametrize(("name", "millions"), [*zip(NAMES, (4.25, 6.60, 11.48, 20.35), strict=True)])
def test_parameter_counts(name, millions):  # none is published
    model = create_model(name, num_classes=150, image_size=512, steps=1)
    assert round(transformers.parameters(model) / 1e6, 2) == millions


@pytest.mark.parametrize("size", [(48, 32), (45, 35), 16, (17, 16)])
def test_every_pixel_has_logits(size):
    options = {"image_size": size}
    frames = images(options, 2)
    logits = tiny("espikeformer_t_fpn", **options)(frames)
    assert logits.shape == (2, 2, 3, *frames.shape[-2:])


def test_a_network_of_published_size_takes_camvid():
    model = create_model("espikeformer_t_fpn", num_classes=11, steps=1, image_size=(360, 480))
    with torch.no_grad():
        assert model(torch.randn(1, 3, 360, 480)).shape == (1, 1, 11, 360, 480)


def nearest(x, size):
    """Every pixel takes the coarse pixel it lies in."""
    rows = [row * x.shape[-2] // size[0] for row in range(size[0])]
    columns = [column * x.shape[-1] // size[1] for column in range(size[1])]
    return x[..., rows, :][..., columns]


def bilinear(x, size):
    """Between the four pixels around, coordinates at pixel centres, nothing beyond the border."""

    def weights(coarse, fine):
        matrix = torch.zeros(fine, coarse, dtype=x.dtype)
        for i in range(fine):
            at = min(max((i + 0.5) * coarse / fine - 0.5, 0), coarse - 1)
            low = int(at)
            matrix[i, low] += 1 - (at - low)
            if at > low:
                matrix[i, low + 1] += at - low
        return matrix

    return weights(x.shape[-2], size[0]) @ x @ weights(x.shape[-1], size[1]).T


@pytest.mark.parametrize("size", [(32, 32), (37, 21)])
def test_it_is_what_its_parts_say(size):
    torch.manual_seed(0)
    model = stirred(tiny("espikeformer_t_fpn", image_size=size))
    frames = torch.stack([images({"image_size": size}, 2) for _ in range(2)]).double()
    with recording(model) as records:
        logits = model(frames)

    hand = ByHand(model)
    levels = by_hand(hand, list(frames))
    sums = [hand.current(integer(x), f"pyramid.laterals.{i}.output") for i, x in enumerate(levels)]
    sizes = [x[0].shape[-2:] for x in sums]
    for i in (2, 1, 0):
        sums[i] = added(sums[i], [nearest(step, sizes[i]) for step in sums[i + 1]])
    maps = [hand.current(integer(x), f"pyramid.smooth.{i}.output") for i, x in enumerate(sums)]
    total = hand.current(integer(maps[0]), "head.rises.0.0.output")
    for i in (1, 2, 3):
        x = maps[i]
        for rise in range(i):
            x = hand.current(integer(x), f"head.rises.{i}.{rise}.output")
            x = [bilinear(step, sizes[i - rise - 1]) for step in x]
        total = added(total, x)
    weight, bias = (hand.weights[f"head.classify.layer.{part}"] for part in ("weight", "bias"))
    expected = [bilinear(F.conv2d(step, weight, bias), size) for step in integer(total)]

    torch.testing.assert_close(logits, torch.stack(expected))
    assert all(record.spikes.any() for (record,) in records.values())


def test_the_pyramid_has_as_many_levels_as_it_is_given():
    setting = Setting(5, 1, 1, (8, 8), neuron_factory("lif", 1, None, None, None))
    levels = [torch.randn(1, 2, 3, 9, 7), torch.randn(1, 2, 6, 5, 4)]
    maps = Pyramid(setting, (3, 6), 4)(levels)
    assert [tuple(x.shape) for x in maps] == [(1, 2, 4, 9, 7), (1, 2, 4, 5, 4)]
    assert SemanticHead(setting, 2, 4)(maps).shape == (1, 2, 5, 9, 7)


def test_a_map_of_the_right_size_is_left_alone():
    x = torch.randn(1, 2, 3, 4, 5)
    assert resized(x, (4, 5), "bilinear") is x


def test_frames_take_height_and_width():
    frames = Frames(3, 1, (5, 7))
    assert frames(torch.zeros(2, 1, 5, 7)).shape == (3, 2, 1, 5, 7)
    with pytest.raises(InputError, match=r"image_size=\(5, 7\), but the images are 7x5"):
        frames(torch.zeros(2, 1, 7, 5))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vgg_small", {"image_size": (8, 12, 3)}, r"a number or a pair \(height, width\), not \(8, 12, 3\)"),
        ("vgg_small", {"image_size": "32"}, r"a number or a pair \(height, width\), not '32'"),
        ("espikeformer_t_fpn", {"image_size": (32, 0)}, "image_size must be a whole number .* not 0"),
        ("espikeformer_t_fpn", {"width": 0}, "width must be a whole number of at least 1, not 0"),
    ],
)
def test_what_cannot_work_is_told_in_a_line(name, options, message):
    with pytest.raises(InputError, match=message) as told:
        create_model(name, **{"num_classes": 3, **options})
    assert "\n" not in str(told.value)


def test_a_pair_of_equal_numbers_is_a_square():
    assert create_model("vgg_small", image_size=(8, 8), width=0.1).frames.size == (8, 8)


def test_norms_start_at_the_threshold_of_the_neuron_they_serve():
    model = tiny("espikeformer_t_fpn", neuron_options={"threshold": 2.0})
    for name, module in model.named_modules():
        if isinstance(module, TdBatchNorm):
            ends_a_branch = ".narrow." in name or ".projection." in name
            assert (module.bn.weight == (0 if ends_a_branch else 2)).all(), name


@pytest.mark.slow
def test_it_compiles():
    torch.manual_seed(0)
    options = TINY["espikeformer_t_fpn"]
    model = transformers.settled(stirred(tiny("espikeformer_t_fpn", steps=1)), images(options, 16).double())
    x = images(options).double()
    with torch.no_grad():  # the backward pass as well would compile for minutes
        torch.testing.assert_close(torch.compile(model)(x), model(x))

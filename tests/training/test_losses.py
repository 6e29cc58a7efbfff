"""Readouts, losses and regularizers against sums written out by hand."""

import math

import pytest
import torch
from torch import nn

import a2sg
from a2sg.data.sets import IGNORE
from a2sg.errors import InputError
from a2sg.neuron import Record
from a2sg.training.losses import LOSSES, Loss, create_loss, mean_readout, membrane_readout, require_outputs
from a2sg.training.regularizers import REGULARIZERS, create_regularizers


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return torch.randn(3, 4, 5, dtype=torch.float64) * 2


LABELS = torch.tensor([1, 0, 4, 2])
OF_CLASSES = sorted(name for name, loss in LOSSES.items() if issubclass(loss, Loss))


def cross_entropy(rows, labels, smoothing):
    """Mean over rows of -Σ target · log softmax, in plain Python."""
    total = 0.0
    for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
        norm = math.log(sum(math.exp(x) for x in row))
        for k, x in enumerate(row):
            target = smoothing / len(row) + (1 - smoothing) * (k == label)
            total -= target * (x - norm)
    return total / len(rows)


def potential_at_the_end(logits, decay):
    steps = len(logits)
    return sum(decay ** (steps - 1 - t) * logits[t] for t in range(steps))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_losses_are_their_formulas(logits, smoothing):
    mean = sum(logits[t] for t in range(3)) / 3
    assert create_loss("mean", smoothing)(logits, LABELS).item() == pytest.approx(
        cross_entropy(mean, LABELS, smoothing)
    )
    for decay in (0.9, 0.5, 0.0, 1.0):
        expected = cross_entropy(potential_at_the_end(logits, decay), LABELS, smoothing)
        assert create_loss("membrane", smoothing, decay=decay)(logits, LABELS).item() == pytest.approx(
            expected
        )
    default = cross_entropy(potential_at_the_end(logits, 0.9), LABELS, smoothing)
    assert create_loss("membrane", smoothing)(logits, LABELS).item() == pytest.approx(default)
    steps = sum(cross_entropy(logits[t], LABELS, smoothing) for t in range(3)) / 3
    for weight, target in ((0.05, 1.0), (0.0, 1.0), (0.3, 0.5), (1.0, 2.0)):
        square = sum((x - target) ** 2 for x in logits.flatten().tolist()) / logits.numel()
        expected = (1 - weight) * steps + weight * square
        found = create_loss("tet", smoothing, weight=weight, target=target)(logits, LABELS)
        assert found.item() == pytest.approx(expected)
    assert create_loss("tet", smoothing)(logits, LABELS) == create_loss("tet", smoothing, weight=0.05)(
        logits, LABELS
    )


WEIGHTS = (0.5, 2.0, 1.0, 3.0, 0.25)


@pytest.mark.parametrize("name", OF_CLASSES)
def test_class_weights_are_those_of_repeated_samples(name):
    """A class of weight 3 counts as if each of its samples were there three times."""
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 6, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 0, 1])
    weights = (1.0, 3.0, 2.0)
    times = torch.tensor(weights).long()[labels]
    options = {"weight": 0.0} if name == "tet" else {}  # tet's second term is of outputs alone
    repeated = create_loss(name, **options)(
        logits.repeat_interleave(times, 1), labels.repeat_interleave(times)
    )
    for scale in (1.0, 0.1):
        scaled = tuple(scale * weight for weight in weights)
        found = create_loss(name, **options, class_weights=scaled)(logits, labels)
        assert found.item() == pytest.approx(repeated.item())


def test_class_weights_of_pixels_and_of_probabilities(logits):
    torch.manual_seed(0)
    maps, labels = torch.randn(3, 2, 5, 4, 6, dtype=torch.float64), torch.randint(-1, 5, (2, 4, 6))
    labels[labels < 0] = IGNORE
    loss = create_loss("mean", class_weights=WEIGHTS)
    seen = labels >= 0
    flat = maps.permute(0, 1, 3, 4, 2)[:, seen]
    assert loss(maps, labels).item() == pytest.approx(loss(flat, labels[seen]).item())
    assert loss(maps, torch.full_like(labels, IGNORE)).item() == 0

    certain = torch.nn.functional.one_hot(LABELS, 5).double()
    each = [create_loss("mean")(logits[:, [at]], LABELS[[at]]).item() for at in range(4)]
    expected = sum(WEIGHTS[label] * one for label, one in zip(LABELS.tolist(), each, strict=True)) / 4
    assert loss(logits, certain).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((1.0, 2.0), "class_weights must have a number for each of the 5 classes, not 2"),
        ((1.0, 1.0, 1.0, 1.0, 0.0), "each of class_weights must be a number above 0, not 0.0"),
        ((1.0, 1.0, 1.0, 1.0, math.nan), "each of class_weights must be a number above 0, not nan"),
    ],
)
def test_class_weights_that_cannot_work_are_told(logits, weights, message):
    with pytest.raises(InputError, match=message):
        create_loss("mean", class_weights=weights)(logits, LABELS)


@pytest.mark.parametrize("name", ["mean", "membrane"])
@pytest.mark.parametrize("weights", [(), (1.0, 9.0, 2.0, 1.0, 0.5)])
@pytest.mark.parametrize("pixels", [False, True])
def test_losses_of_parts_add_up_by_what_they_count(name, weights, pixels):
    """However the samples are divided: into batches, or among ranks."""
    torch.manual_seed(0)
    size = (3, 4) if pixels else ()
    logits = torch.randn(2, 6, 5, *size, dtype=torch.float64)
    labels = torch.randint(0, 5, (6, *size))
    if pixels:
        labels[0], labels[1:3, 1:] = IGNORE, IGNORE
    loss = create_loss(name, class_weights=weights)
    parts = [slice(0, 1), slice(1, 4), slice(4, 6)]
    counts = [float(loss.counted(labels[part])) for part in parts]
    total = sum(n * loss(logits[:, part], labels[part]) for n, part in zip(counts, parts, strict=True))
    torch.testing.assert_close(total / sum(counts), loss(logits, labels))
    assert float(loss.counted(labels)) == pytest.approx(sum(counts))


@pytest.mark.parametrize("name", OF_CLASSES)
def test_probabilities_work_as_labels(logits, name):
    loss = create_loss(name, 0.1)
    certain = torch.nn.functional.one_hot(LABELS, 5).double()
    assert loss(logits, certain).item() == pytest.approx(loss(logits, LABELS).item())


@pytest.mark.parametrize("name", OF_CLASSES)
def test_maps_of_logits_work_pixel_by_pixel(name):
    torch.manual_seed(0)
    maps, labels = torch.randn(3, 2, 5, 4, 6, dtype=torch.float64), torch.randint(5, (2, 4, 6))
    loss = create_loss(name)
    flat, flat_labels = maps.permute(0, 1, 3, 4, 2).reshape(3, -1, 5), labels.flatten()
    assert loss(maps, labels).item() == pytest.approx(loss(flat, flat_labels).item())
    assert torch.equal(loss.predict(maps).flatten(), loss.predict(flat))


def test_predictions_follow_the_readout_of_the_loss():
    # Class 0 leads on the time mean; class 1 comes late, which a leaky potential weighs more.
    logits = torch.tensor([[[3.0, 0.0]], [[0.0, 0.0]], [[0.0, 2.5]]])
    assert create_loss("mean").predict(logits).tolist() == [0]
    assert create_loss("tet").predict(logits).tolist() == [0]
    assert create_loss("membrane", decay=0.9).predict(logits).tolist() == [1]
    assert create_loss("membrane", decay=1.0).predict(logits).tolist() == [0]


@pytest.mark.parametrize("name", OF_CLASSES)
def test_gradients_reach_every_step(logits, name):
    logits = logits.requires_grad_()
    create_loss(name)(logits, LABELS).backward()
    assert (logits.grad.abs().sum((1, 2)) > 0).all()


def test_low_precision_logits_are_read_out_in_float32():
    logits = torch.full((300, 1, 2), 0.01, dtype=torch.bfloat16)
    exact = logits.double()
    for readout in (mean_readout, membrane_readout):
        assert readout(logits).dtype == torch.float32
        torch.testing.assert_close(readout(logits).double(), readout(exact), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ted", {}, "unknown loss 'ted' .*'tet'"),
        ("mean", {"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1, not 1.0"),
        ("tet", {"label_smoothing": -0.1}, "label_smoothing"),
        ("mean", {"decay": 0.5}, "loss 'mean' takes label_smoothing, class_weights, not 'decay'"),
        ("membrane", {"decay": 1.5}, "decay must be between 0 and 1, not 1.5"),
        ("tet", {"weight": 2}, "weight must be between 0 and 1, not 2"),
        ("tet", {"target": 0}, "target"),
    ],
)
def test_losses_that_cannot_work_are_told(name, options, message):
    with pytest.raises(InputError, match=message):
        create_loss(name, **options)


def test_logits_without_time_are_told():
    with pytest.raises(InputError, match=r"must be \[T, B, K\], not of shape \(4, 5\)"):
        create_loss("mean")(torch.zeros(4, 5), LABELS)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            torch.tensor([1, 2, 3]),
            "must be from 0 to 2, as the network has 3 outputs, not 3: are they numbered",
        ),
        (
            torch.tensor([0.0, 1.0, 2.0]),
            r"do not fit labels \(3,\): class numbers are whole, so convert torch.float32",
        ),
        (torch.tensor([0, 1]), r"do not fit labels \(2,\): 3 samples went in, but there are 2 labels"),
        (torch.zeros(3, 1, dtype=torch.int64), r"do not fit labels \(3, 1\): a class per pixel needs"),
    ],
)
def test_labels_that_do_not_fit_say_why(labels, message):
    with pytest.raises(InputError, match=message):
        create_loss("mean")(torch.zeros(2, 3, 3), labels)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_labels_of_any_whole_type(dtype):
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 4, 3), torch.tensor([0, 2, 1, 1])
    expected = nn.functional.cross_entropy(logits.mean(0), labels)
    torch.testing.assert_close(create_loss("mean")(logits, labels.to(dtype)), expected)


def test_a_network_with_another_number_of_outputs():
    require_outputs(torch.zeros(2, 5, 3), 3)
    with pytest.raises(InputError, match=r"logits \(2, 5, 3\) .* has 10 classes: .* num_classes outputs"):
        require_outputs(torch.zeros(2, 5, 3), 10)


def records():
    torch.manual_seed(1)
    return {
        "a": [Record(torch.randn(2, 3, 4, dtype=torch.float64), torch.randint(2, (2, 3, 4)).double(), 1.0)],
        "b": [Record(torch.randn(2, 3, dtype=torch.float64), torch.randint(2, (2, 3)).double(), 0.5)],
    }


def test_im_loss_is_its_formula_at_any_progress():
    (term,) = create_regularizers({"im": 1e-3})
    expected = 0.0
    for (record,) in records().values():
        values = record.potential.flatten().tolist()
        expected += 1e-3 * (sum(values) / len(values) - record.threshold) ** 2
    for progress in (0.0, 0.3, 1.0):
        assert term(records(), progress).item() == pytest.approx(expected)


def test_im_loss_takes_the_mean_of_thresholds_by_channel():
    (term,) = create_regularizers({"im": 1.0})
    potential = torch.arange(12.0).reshape(2, 3, 2)
    record = Record(potential, torch.zeros_like(potential), torch.tensor([1.0, 4.0]))
    assert term({"a": [record]}, 0.5).item() == pytest.approx((5.5 - 2.5) ** 2)


@pytest.mark.parametrize(
    ("progress", "share"), [(0, 0), (0.1, 0.2), (0.25, 0.5), (0.5, 1), (0.75, 0.5), (1, 0), (1.01, 0)]
)
def test_rmp_loss_rises_to_half_the_training_and_falls(progress, share):
    (term,) = create_regularizers({"rmp": 5e-4})
    expected = 0.0
    for (record,) in records().values():
        pairs = list(zip(record.potential.flatten().tolist(), record.spikes.flatten().tolist(), strict=True))
        expected += 5e-4 * share * sum((u - s) ** 2 for u, s in pairs) / len(pairs)
    assert term(records(), progress).item() == pytest.approx(expected, abs=1e-12)


def test_regularizers_compose_with_a_loss_over_a_recording():
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 4)
    model = torch.nn.Sequential(layer, a2sg.LIF(2))
    x = torch.randn(2, 5, 3)
    gradients = []
    for weights in ({}, {"im": 0.1}, {"rmp": 0.1}, {"im": 0.1, "rmp": 0.1}):
        terms = create_regularizers(weights)
        with a2sg.recording(model) as recorded:
            loss = create_loss("mean")(model(x), LABELS[:1].repeat(5))
        loss = loss + sum(term(recorded, 0.5) for term in terms)
        gradients.append(torch.autograd.grad(loss, layer.weight)[0])
    plain, im, rmp, both = gradients
    assert not torch.allclose(plain, im)
    assert not torch.allclose(plain, rmp)
    torch.testing.assert_close(both - plain, (im - plain) + (rmp - plain))


def test_im_loss_drives_the_mean_potential_to_the_threshold():
    torch.manual_seed(0)
    neuron = a2sg.LIF(2)
    bias = torch.zeros(4, requires_grad=True)
    optimizer = torch.optim.SGD([bias], lr=2.0)
    (term,) = create_regularizers({"im": 1.0})
    x = torch.randn(2, 64, 4) * 0.3
    for _ in range(60):
        with a2sg.recording(neuron) as recorded:
            neuron(x + bias)
        optimizer.zero_grad()
        term(recorded, 0.5).backward()
        optimizer.step()
    assert recorded[""][0].potential.mean().item() == pytest.approx(1.0, abs=0.05)


def test_regularizers_that_cannot_work_are_told():
    with pytest.raises(InputError, match=r"unknown regularizer 'imm' .*'im'"):
        create_regularizers({"imm": 1e-3})
    for weight in (-1.0, math.nan, math.inf, "much"):
        with pytest.raises(InputError, match="weight of a regularizer must be a number of at least 0"):
            create_regularizers({"rmp": weight})
    for name in REGULARIZERS:
        (term,) = create_regularizers({name: 1.0})
        with pytest.raises(InputError, match="recording"):
            term({}, 0.5)
    assert create_regularizers({}) == []


LENGTHS = torch.tensor([3, 1, 2, 3])


@pytest.mark.parametrize("weights", [(), (1.0, 2.0, 0.5, 3.0, 1.5)])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("name", ["mean", "membrane", "tet"])
def test_padded_sequences_have_the_losses_of_the_sequences_alone(logits, name, smoothing, weights):
    """Weighted by the classes' weights, as for sequences of one length."""
    loss = create_loss(name, smoothing, class_weights=weights)
    logits[1:, 1] = math.nan  # what comes after the end is anything
    logits[2:, 2] = math.inf
    logits.requires_grad_()
    alone = [logits[:length, b : b + 1] for b, length in enumerate(LENGTHS.tolist())]
    of_each = torch.stack([loss(one, LABELS[b : b + 1]) for b, one in enumerate(alone)])
    found = loss(logits, LABELS, LENGTHS)
    if name == "tet" and weights:  # its second term has no weights
        of_each = torch.stack(
            [create_loss(name, smoothing)(one, LABELS[b : b + 1]) for b, one in enumerate(alone)]
        )
        found = create_loss(name, smoothing)(logits, LABELS, LENGTHS)
    elif weights:
        of_each = of_each * torch.tensor(weights)[LABELS] * 4 / torch.tensor(weights)[LABELS].sum()
    assert found.item() == pytest.approx(of_each.mean().item())
    torch.testing.assert_close(loss.predict(logits, LENGTHS), torch.cat([loss.predict(one) for one in alone]))
    (gradient,) = torch.autograd.grad(found, logits)
    for b, length in enumerate(LENGTHS.tolist()):
        assert (gradient[length:, b] == 0).all()
        assert gradient[:length, b].abs().sum() > 0


def test_tet_of_padded_sequences_weighs_classes(logits):
    weights = (1.0, 2.0, 0.5, 3.0, 1.5)
    loss = create_loss("tet", weight=0.0, class_weights=weights)
    each = torch.stack(
        [
            create_loss("tet", weight=0.0)(logits[:length, b : b + 1], LABELS[b : b + 1])
            for b, length in enumerate(LENGTHS.tolist())
        ]
    )
    own = torch.tensor(weights, dtype=torch.float64)[LABELS]
    assert loss(logits, LABELS, LENGTHS).item() == pytest.approx(((own * each).sum() / own.sum()).item())


@pytest.mark.parametrize("name", OF_CLASSES)
def test_lengths_of_t_change_nothing(logits, name):
    loss = create_loss(name)
    full = torch.full((4,), 3)
    torch.testing.assert_close(loss(logits, LABELS, full), loss(logits, LABELS))


@pytest.mark.parametrize("name", OF_CLASSES)
@pytest.mark.parametrize("lengths", [[3, 2], [3, 2, 1, 0], [3, 2, 1, 4], [3.0, 2.0, 1.0, 1.0]])
def test_lengths_that_do_not_fit_are_refused(logits, name, lengths):
    with pytest.raises(InputError, match="lengths must be"):
        create_loss(name)(logits, LABELS, torch.tensor(lengths))

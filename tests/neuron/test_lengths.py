"""Padding, and what leaves it out again."""

import pytest
import torch
from torch.utils.data import DataLoader

import a2sg
from a2sg import InputError
from a2sg.neuron.lengths import last_of, within

SEQUENCES = [torch.full((length, 2), float(length)) for length in (3, 1, 2)]


def test_sequences_are_padded_at_their_ends():
    x, lengths = a2sg.pad(SEQUENCES)
    assert lengths.tolist() == [3, 1, 2]
    assert x[:, :, 0].tolist() == [[3, 1, 2], [3, 0, 2], [3, 0, 0]]
    assert within(lengths, 3).tolist() == [[True, True, True], [True, False, True], [True, False, False]]


def test_means_and_ends_are_those_of_each_sequence():
    x, lengths = a2sg.pad([torch.arange(1.0, length + 1)[:, None] for length in (3, 1, 2)])
    x[1:, 1] = torch.nan
    assert a2sg.mean_over_steps(x, lengths)[:, 0].tolist() == [2.0, 1.0, 1.5]
    assert last_of(x, lengths)[:, 0].tolist() == [3.0, 1.0, 2.0]
    assert torch.equal(a2sg.mean_over_steps(x[:, ::2]), x[:, ::2].mean(0))
    maps = torch.rand(3, 2, 4, 5, 6)
    found = a2sg.mean_over_steps(maps, torch.tensor([2, 3]))
    torch.testing.assert_close(found, torch.stack([maps[:2, 0].mean(0), maps[:, 1].mean(0)]))


def test_a_loader_pads_its_batches():
    loader = DataLoader(list(zip(SEQUENCES, [4, 5, 6], strict=True)), batch_size=2, collate_fn=a2sg.pad_batch)
    (x, labels, lengths), (last, *_) = loader
    assert x.shape == (3, 2, 2)
    assert (labels.tolist(), lengths.tolist()) == ([4, 5], [3, 1])
    assert last.shape == (2, 1, 2)


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([], "at least one"),
        ([torch.zeros(2, 3), torch.zeros(2, 4)], "differ only in T"),
        ([torch.zeros(0, 3)], "T"),
    ],
)
def test_what_cannot_be_padded_is_refused(sequences, message):
    with pytest.raises(InputError, match=message):
        a2sg.pad(sequences)

"""Numbers on their way: delivered in their order, once they are there."""

import pytest
import torch

from a2sg.window import later
from a2sg.window.later import Later, Mail


@pytest.fixture
def slow(monkeypatch):
    """A device whose numbers are there when the test says so, by their value."""
    there = set()
    monkeypatch.setattr(Later, "there", property(lambda self: self.read().item() in there))
    return there


def sent(count):
    mail, got = Mail(), []
    for number in range(count):
        mail.send(torch.tensor(number), lambda value: got.append(value.item()))
    return mail, got


def test_on_the_cpu_numbers_are_there_at_once():
    mail, got = sent(3)
    assert got == []
    mail.deliver()
    assert got == [0, 1, 2]
    mail.deliver()
    assert got == [0, 1, 2], "each once"


def test_what_is_there_waits_for_what_was_sent_before(slow):
    mail, got = sent(4)
    slow |= {1, 2}
    mail.deliver()
    assert got == []
    slow |= {0}
    mail.deliver()
    assert got == [0, 1, 2]
    mail.deliver(wait=True)
    assert got == [0, 1, 2, 3]


def test_of_too_many_the_first_are_waited_for(slow, monkeypatch):
    monkeypatch.setattr(later, "WAITING", 2)
    mail, got = sent(5)
    mail.deliver()
    assert got == [0, 1, 2]


def test_what_was_dropped_does_not_arrive():
    mail, got = sent(2)
    mail.drop()
    mail.deliver(wait=True)
    assert got == []

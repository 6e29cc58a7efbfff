"""Numbers on their way: delivered in their order, once they are there; a clock's among them."""

import pytest
import torch

from a2sg.window import later
from a2sg.window.later import Later, Mail
from a2sg.window.observer import Clock


@pytest.fixture
def slow(monkeypatch):
    """A device whose numbers are there when the test says so, by their value."""
    there = set()
    monkeypatch.setattr(Later, "there", property(lambda self: self.read().item() in there))
    return there


def sent(count):
    mail, got = Mail(), []
    for number in range(count):
        mail.send(Later(torch.tensor(number)), lambda value: got.append(value.item()))
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


class Event:
    """A moment on a device, in milliseconds; one that has come, or comes as soon as somebody waits for it."""

    def __init__(self, moment, come=True):
        self.moment, self.come = moment, come

    def query(self):
        return self.come

    def synchronize(self):
        self.come = True

    def elapsed_time(self, last):
        assert last.come, "asked too early"
        return last.moment - self.moment


def test_a_clock_adds_what_a_device_took_and_waits_when_it_is_read(monkeypatch):
    events = [Event(0), Event(500), Event(1000), Event(1250, come=False), Event(2000), Event(2125)]
    recorded = iter(events)
    for event in events:
        event.record = lambda stream: None
    monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: next(recorded))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    clock = Clock(1.0)
    for _ in range(3):
        with clock.running(torch.device("cuda")):
            pass
    assert not events[3].come, "nobody waited"
    assert clock.seconds == 1.0 + 0.5 + 0.25 + 0.125
    assert clock.seconds == 1.875, "each once"


def test_a_clock_stands_still_while_a_graph_is_recorded(monkeypatch):
    """No event can be timed, or asked whether it has come, on a stream that is being captured."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    monkeypatch.setattr(torch.cuda, "Event", lambda **_: pytest.fail("made an event"))
    clock = Clock(1.0)
    with clock.running(torch.device("cuda")):
        pass
    assert clock.seconds == 1.0


def test_a_clock_holds_no_more_events_than_may_be_on_their_way(monkeypatch):
    monkeypatch.setattr(later, "WAITING", 2)
    made = []

    def event(enable_timing):
        made.append(Event(len(made), come=False))
        made[-1].record = lambda stream: None
        return made[-1]

    monkeypatch.setattr(torch.cuda, "Event", event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    clock = Clock()
    for _ in range(10):
        with clock.running(torch.device("cuda")):
            pass
    assert [last.come for last in made[1::2]] == [True] * 8 + [False] * 2


class Events:
    """In place of CUDA's events: the streams on which they were recorded; a bare `record` is on device 0."""

    def __init__(self, monkeypatch):
        self.streams = []
        events = self

        class Event:
            def __init__(self, enable_timing=False):
                pass

            def record(self, stream="of device 0"):
                events.streams.append(stream)

            def query(self):
                return False

        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"of device {device.index}")
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)


class Elsewhere:
    """A tensor on a card that is not there."""

    device = torch.device("cuda", 1)
    shape, dtype = (), torch.float32


def test_what_is_waited_for_runs_on_the_device_of_the_numbers(monkeypatch):
    """Which need not be the current one: the first one's stream has nothing to do, so it is done at once."""
    events, empty = Events(monkeypatch), torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, pin_memory, **k: empty(*a, **k))
    monkeypatch.setattr(torch.Tensor, "copy_", lambda self, *_, **__: self)
    Later(Elsewhere())
    assert events.streams == ["of device 1"]


def test_a_clock_runs_on_the_device_of_the_work(monkeypatch):
    events = Events(monkeypatch)
    with Clock().running(Elsewhere.device):
        pass
    assert events.streams == ["of device 1"] * 2

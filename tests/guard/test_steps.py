"""A broken step is as if its batch had never come: weights, moments, statistics, windows, to the bit."""

import logging
from contextlib import suppress

import pytest
import torch
from torch import nn

import a2sg
from a2sg.errors import InputError
from a2sg.guard import buffers, steps, tally
from a2sg.models import SpikingLayer
from a2sg.models.layers import TdBatchNorm
from ranks import needs_distributed, run_ranks

NAN = float("nan")
BATCHES = 7
SGD = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
OPTIMIZERS = {
    "adamw": lambda parameters, fused: torch.optim.AdamW(parameters, lr=0.01, fused=fused),
    "sgd": lambda parameters, fused: torch.optim.SGD(parameters, fused=fused, **SGD),
}


@pytest.fixture
def queue(monkeypatch):
    """A device that works through a queue: nobody may look at a value, and only what is fused can skip."""
    for module in (buffers, steps, tally):
        monkeypatch.setattr(module, "answers_at_once", lambda device: False)


@pytest.fixture(params=["cpu", "queue"])
def fused(request):
    if request.param == "queue":
        request.getfixturevalue("queue")
    return request.param == "queue"


class Net(nn.Module):
    """A batch norm that is merged into its neuron, one that is not, and a mask of -infinity."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = SpikingLayer(nn.Linear(6, 12), a2sg.LIF(3), norm=TdBatchNorm)
        self.norm = nn.BatchNorm1d(12)
        self.second = a2sg.LIF(3)
        self.head = nn.Linear(12, 3)
        self.register_buffer("mask", torch.tensor([0.0, 0.0, -torch.inf]))

    def forward(self, x):
        spikes = self.first(x)
        spikes = self.second(self.norm(spikes.flatten(0, 1)).unflatten(0, spikes.shape[:2]))
        return self.head(spikes).mean(0) + self.mask.clamp(min=-1)


class Training:
    """A network, its optimizer, windows and guard."""

    def __init__(self, optimizer="adamw", fused=False, **options):
        self.net = Net()
        self.optimizer = OPTIMIZERS[optimizer](self.net.parameters(), fused)
        self.windows = a2sg.AdaptiveWindows(self.net, every=3, start=1)
        self.guard = a2sg.StepGuard(self.net, self.windows, **options)

    def step(self, *micro):
        """An iteration on images, or pairs of images and a function of their loss."""
        losses = []
        self.optimizer.zero_grad()
        for part in micro:
            x, change = part if isinstance(part, tuple) else (part, lambda loss: loss)
            with self.guard:
                loss = change(nn.functional.cross_entropy(self.net(x), torch.arange(len(x[0])) % 3))
            loss.backward()
            losses.append(loss.detach())
        self.guard.check(self.optimizer, *losses)
        self.optimizer.step()
        self.windows.step()

    def state(self):
        """All that training goes on from."""
        moments = [value for state in self.optimizer.state.values() for value in state.values()]
        return [*self.net.state_dict().values(), *map(torch.as_tensor, moments)]


def batch(number, value=None, at=(1, 2, 3)):
    x = torch.randn(3, 8, 6, generator=torch.Generator().manual_seed(number))
    if value is not None:
        x[at] = value
    return x


BROKEN = {
    "NaN in the input": lambda number: [batch(number, NAN)],
    "infinity in the input": lambda number: [batch(number, -torch.inf)],
    "a variance overflows, and neither loss nor gradients tell": lambda number: [batch(number, 1e30)],
    "the loss alone": lambda number: [(batch(number), lambda loss: loss + torch.inf)],
    "gradients alone": lambda number: [(batch(number), lambda loss: (0 * loss).sqrt())],
    "one of two micro-batches": lambda number: [batch(number, NAN), batch(number + 50)],
    "the last time step": lambda number: [batch(number, NAN, at=(2, 0, 0))],
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("at", [{0}, {1, 2, 5}], ids=str)
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_step_never_was(optimizer, at, kind, fused):
    found, plain = Training(optimizer, fused), Training(optimizer, fused)
    for number in range(BATCHES):
        if number in at:
            found.step(*BROKEN[kind](number))
            plain.windows.step()
        else:
            found.step(batch(number))
            plain.step(batch(number))
    assert found.guard.skipped == len(at)
    assert plain.guard.skipped == 0
    for mine, theirs in zip(found.state(), plain.state(), strict=True):
        assert torch.equal(mine, theirs)
    observed = {1, 4} & at
    rows = [row for row in found.windows.history if row["kept"] == "not finite"]
    assert {row["iteration"] for row in rows} == observed
    assert found.windows.kept["not finite"] == 6 * len(observed)


def test_without_a_guard_it_is_spoilt():
    """What is guarded against: statistics that have taken NaN or infinity have it for ever."""
    for value in (NAN, 1e30):
        net = Net()
        with suppress(InputError):  # raised by the neuron, and too late
            net(batch(0, value))
        assert not net.first.norm.bn.running_var.isfinite().all()


def test_too_many_in_a_row_are_an_error(fused):
    training = Training(fused=fused, most=2)
    for _ in range(2):
        training.step(batch(0, NAN))
    training.step(batch(1))
    assert training.guard.skipped == 2
    for _ in range(2):
        training.step(batch(0, NAN))
    assert training.guard.skipped == 4
    with pytest.raises(InputError, match="3 steps in a row were skipped"):
        training.step(batch(0, NAN)), training.guard.skipped


def test_none_may_be_skipped():
    with pytest.raises(InputError, match="1 steps in a row"):
        Training(most=0).step(batch(0, NAN))


def test_a_queue_is_looked_at_now_and_then(queue, monkeypatch, caplog):
    monkeypatch.setattr(tally, "LOOK", 3)
    training = Training(fused=True, most=10)
    seen = []
    with caplog.at_level(logging.WARNING, "a2sg"):
        for _ in range(7):
            training.step(batch(0, NAN))
            seen.append(len([line for line in caplog.messages if "skipped" in line]))
    assert seen == [0, 0, 0, 1, 1, 1, 2]


def test_an_optimizer_that_cannot_skip_is_skipped(queue):
    """What is not fused on a device with a queue is waited for."""
    training = Training("sgd", fused=False)
    training.step(batch(0))
    before = [value.clone() for value in training.state()]
    training.step(batch(0, NAN))
    assert all(map(torch.equal, before, training.state()))


def test_the_optimizer_is_left_as_it_was(queue):
    training = Training(fused=True)
    training.step(batch(0, NAN))
    before = training.net.head.weight.clone()
    training.net(batch(0)).sum().backward()
    training.optimizer.step()  # without the guard: it does step
    assert not torch.equal(before, training.net.head.weight)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_with_a_gradient_scaler(optimizer, fused):
    """float16 of too large a scale: steps that the scaler skips are counted and leave nothing behind."""
    training = Training(optimizer, fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    kept = [value.clone() for value in training.net.state_dict().values()]
    scales = []
    for number in range(3):
        training.optimizer.zero_grad()
        with training.guard:
            loss = nn.functional.cross_entropy(training.net(batch(number)), torch.arange(8) % 3) * 64
        scaler.scale(loss).backward()
        if not fused:
            scaler.unscale_(training.optimizer)
        training.guard.check(training.optimizer, loss.detach())
        scaler.step(training.optimizer)
        scales.append(scaler.get_scale())
        scaler.update()
        if number == 0:
            assert all(map(torch.equal, kept, training.net.state_dict().values()))
    assert training.guard.skipped >= 1
    assert scaler.get_scale() < 2.0**127


def test_data_are_refused_by_name():
    guard = Training().guard
    guard.require_finite(batch(0), "the photographs")
    with pytest.raises(InputError, match="the photographs hold NaN or infinity"):
        guard.require_finite(batch(0, torch.inf), "the photographs")


def test_data_on_a_queue_are_refused_at_the_next_look(queue):
    guard = Training().guard
    guard.require_finite(batch(0, NAN), "the photographs")
    guard.require_finite(batch(1), "the photographs")
    with pytest.raises(InputError, match="the photographs hold NaN or infinity"):
        _ = guard.skipped


def test_counting_goes_on_from_a_state():
    training = Training()
    training.step(batch(0, NAN))
    other = Training(most=1).guard
    other.load_state_dict(training.guard.state_dict())
    assert other.skipped == 1
    other.load_state_dict({})
    assert other.skipped == 0


def test_a_number_that_is_none_is_told():
    with pytest.raises(InputError, match="most must be a whole number of at least 0"):
        a2sg.StepGuard(Net(), most=-1)


def on_rank(rank):
    """The second rank's samples are broken in the first step."""
    training = Training()
    before = [value.clone() for value in training.net.state_dict().values()]
    with training.guard:
        loss = training.net(batch(0, NAN if rank else None)).square().mean()
    loss.backward()  # (not averaged over ranks, so that the first has finite ones)
    training.guard.check(training.optimizer, loss.detach())
    training.optimizer.step()
    same = all(map(torch.equal, before, training.net.state_dict().values()))
    return training.guard.skipped, same


@needs_distributed
def test_a_broken_rank_skips_the_step_of_all(tmp_path):
    assert run_ranks(on_rank, tmp_path, 2) == [(1, True), (1, True)]

"""A broken step is as if its batch had never come: weights, moments, statistics, windows, to the bit."""

import copy
import logging
import pickle
from contextlib import suppress

import pytest
import torch
from torch import nn

import a2sg
from a2sg.errors import InputError
from a2sg.guard import buffers, skip, tally
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
    for module in (buffers, skip, tally):
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


@pytest.mark.parametrize("fused_optimizer", [False, True])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_scaler_and_the_guard_skip_together(kind, fused_optimizer, fused):
    """The scaler lowers its scale only for gradients that are not finite."""
    training = Training(fused=fused_optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)

    def step(*micro):
        losses = []
        training.optimizer.zero_grad()
        for part in micro:
            x, change = part if isinstance(part, tuple) else (part, lambda loss: loss)
            with training.guard:
                loss = change(nn.functional.cross_entropy(training.net(x), torch.arange(8) % 3))
            scaler.scale(loss).backward()
            losses.append(loss.detach())
        seen = all(p.grad.isfinite().all() for p in training.net.parameters())
        scaler.unscale_(training.optimizer)
        training.guard.check(training.optimizer, *losses)
        scaler.step(training.optimizer)
        scaler.update()
        return seen

    step(batch(0))
    before = [value.clone() for value in training.state()]
    finite = step(*BROKEN[kind](1))
    assert all(map(torch.equal, before, training.state()))
    assert scaler.get_scale() == (4 if finite else 2)
    weight = training.net.head.weight.detach().clone()
    step(batch(2))
    assert not torch.equal(weight, training.net.head.weight)
    assert training.guard.skipped == 1


def test_a_step_that_checks_in_its_closure(fused):
    """As Lightning does it: the step has begun when the guard first sees the optimizer."""
    training = Training(fused=fused)

    def closure(x):
        training.optimizer.zero_grad()
        with training.guard:
            loss = training.net(x).square().mean()
        loss.backward()
        training.guard.check(training.optimizer, loss.detach())
        return loss

    kept = [value.clone() for value in training.net.state_dict().values()]
    for _ in range(2):
        training.optimizer.step(lambda: closure(batch(0, NAN)))
        assert all(map(torch.equal, kept, training.net.state_dict().values()))
    training.optimizer.step(lambda: closure(batch(1)))
    assert not torch.equal(kept[0], training.net.state_dict()["first.synapse.weight"])
    assert training.guard.skipped == 2


def test_an_optimizer_in_name_only():
    """A wrapper that takes no hooks, such as Accelerate's."""

    class Wrapper(torch.optim.Optimizer):
        def __init__(self, optimizer):
            self.optimizer, self.param_groups = optimizer, optimizer.param_groups
            self.zero_grad, self.step, self.state = optimizer.zero_grad, optimizer.step, optimizer.state

    training = Training()
    training.optimizer = Wrapper(training.optimizer)
    training.step(batch(0))
    before = [value.clone() for value in training.state()]
    training.step(batch(1, NAN))
    assert all(map(torch.equal, before, training.state()))


class Halves(Training):
    """The same, with one optimizer for the first layers and one for the last."""

    def __init__(self, fused):
        super().__init__()
        parts = (*self.net.first.parameters(), *self.net.norm.parameters()), self.net.head.parameters()
        self.optimizers = [OPTIMIZERS["adamw"](list(part), fused) for part in parts]

    def step(self, x, change=lambda loss: loss, at_once=False):
        """An iteration, in which each optimizer may step before the next is checked."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        with self.guard:
            loss = change(nn.functional.cross_entropy(self.net(x), torch.arange(8) % 3))
        loss.backward()
        for optimizer in self.optimizers:
            self.guard.check(optimizer)  # without the loss: its gradients and the statistics alone
            if at_once:
                optimizer.step()
        if not at_once:
            for optimizer in self.optimizers:
                optimizer.step()
        self.windows.step()


def spoil(layer):
    """Gradients of one layer's weights become NaN."""
    return layer.weight.register_hook(lambda gradient: gradient * NAN)


@pytest.mark.parametrize("kind", ["statistics", "the first", "the last"])
def test_two_optimizers_step_both_or_none(kind, fused):
    training = Halves(fused)
    training.step(batch(0))
    kept = [value.clone() for value in training.net.state_dict().values()]
    weights = training.net.first.synapse.weight, training.net.head.weight
    before = [weight.detach().clone() for weight in weights]
    layer = {"the first": training.net.first.synapse, "the last": training.net.head}.get(kind)
    hook = None if layer is None else spoil(layer)
    for number in (1, 2):
        training.step(batch(number, None if hook else 1e30))
    assert all(map(torch.equal, kept, training.net.state_dict().values()))
    assert training.guard.skipped == 2
    if hook:
        hook.remove()
    training.step(batch(3))
    assert not any(map(torch.equal, before, weights))
    assert training.guard.skipped == 2


def test_two_optimizers_in_turn(fused):
    """One that has stepped before the other is found broken steps in the next iteration, too."""
    training, plain = Halves(fused), Halves(fused)
    hook = spoil(training.net.head)
    training.step(batch(0), at_once=True)
    hook.remove()
    weights = training.net.first.synapse.weight, plain.net.first.synapse.weight
    plain.step(batch(0), at_once=True)
    assert torch.equal(*weights)
    first = weights[0].clone()
    training.step(batch(1), at_once=True)
    assert not torch.equal(first, weights[0])
    assert training.guard.skipped == 1


def test_two_broken_optimizers_are_one_step_of_a_row(fused):
    training = Halves(fused)
    training.guard.most = 2
    for number in range(2):
        training.step(batch(number, NAN))
    training.step(batch(2))
    assert training.guard.skipped == 2
    assert training.guard.state_dict() == {"skipped": (2, 0, 2)}


def test_without_a_context_each_check_is_a_step():
    training = Training()
    guard, weight = training.guard, training.net.head.weight
    for value, skipped in ((NAN, 1), (1.0, 1), (NAN, 2)):
        before = weight.detach().clone()
        weight.grad = torch.full_like(weight, value)
        guard.check(training.optimizer)
        training.optimizer.step()
        assert torch.equal(weight, before) == (value != 1)
        assert guard.skipped == skipped


def test_after_an_error_buffers_are_those_that_the_caller_left(fused):
    training = Training(fused=fused)
    with suppress(KeyError), training.guard:
        training.net(batch(0))
        raise KeyError
    mean = training.net.norm.running_mean.fill_(7.0)
    training.step(batch(1, NAN))
    assert (mean == 7).all()


def test_what_is_empty_is_finite(fused):
    training = Training(fused=fused)
    training.net.register_buffer("empty", torch.empty(0))
    training.guard = a2sg.StepGuard(training.net)
    none = nn.Parameter(torch.empty(0, 3))
    training.optimizer.add_param_group({"params": [none]})
    none.grad = torch.empty(0, 3)
    training.guard.check(training.optimizer, torch.ones(()))
    training.guard.require_finite(torch.empty(0), "the photographs")
    assert training.guard.skipped == 0
    training.guard.check(training.optimizer, torch.tensor(NAN))
    assert training.guard.skipped == 1


def test_sparse_gradients():
    table = nn.Embedding(10, 4, sparse=True)
    guard, optimizer = a2sg.StepGuard(table), torch.optim.SGD(table.parameters(), lr=1.0)
    for factor, skipped in ((1.0, 0), (NAN, 1), (1.0, 1)):
        before = table.weight.detach().clone()
        optimizer.zero_grad()
        with guard:
            rows = table(torch.tensor([1, 1, 3]))
        (rows.sum() * factor).backward()
        guard.check(optimizer)
        optimizer.step()
        assert guard.skipped == skipped
        assert torch.equal(before, table.weight) == (factor != 1)
    optimizer.zero_grad()
    table(torch.empty(0, dtype=torch.long)).sum().backward()
    guard.check(optimizer)
    assert guard.skipped == 1


@pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
def test_a_copy_guards_its_own_training(copied, fused):
    training = Training(fused=fused)
    training.step(batch(0))
    training.step(batch(1, NAN))
    other = copied(training)
    kept = [value.clone() for value in training.state()]
    for number in (2, 3):
        other.step(batch(number, NAN))
    assert all(map(torch.equal, kept, other.state()))
    other.step(batch(4))
    assert not torch.equal(other.net.head.weight, training.net.head.weight)
    assert getattr(other.optimizer, "found_inf", None) is None
    assert all(map(torch.equal, kept, training.state()))
    assert (other.guard.skipped, training.guard.skipped) == (3, 1)


def test_a_loss_that_is_no_tensor_is_told():
    training = Training()
    with pytest.raises(InputError, match="a loss must be a tensor, not float: pass the loss itself"):
        training.guard.check(training.optimizer, 1.0)


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


def test_a_model_may_lie_on_several_devices():
    """The second one is that of tensors without data."""
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3))
    held = buffers.Buffers(model)
    model[1].to("meta")
    held.remember()
    before = model[0].running_mean.clone()
    model[0](torch.randn(4, 3) + 9)
    assert not torch.equal(model[0].running_mean, before)
    held.restore(torch.tensor(True))
    assert torch.equal(model[0].running_mean, before)
    assert [buffer.device.type for buffer in model.buffers()] == ["cpu"] * 3 + ["meta"] * 3

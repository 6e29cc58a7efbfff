"""Which step a layer is at: loops inside and outside of the model, and what happens when T does not fit."""

import itertools

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import a2sg
from a2sg.adopt.count import BROKEN_OFF, StepCount
from a2sg.errors import InputError
from a2sg.surrogate import Triangle
from lookalikes import Looped, Sited, Stepped, Stepwise, draw, gradients
from networks import NOW

T = 4
WINDOWS = [0.3, 0.5, 0.8, 1.1]


def model(neuron=Sited, steps=T, **options):
    torch.manual_seed(0)
    net = Stepwise(neuron).double()
    functions = {Stepped: "act"} if issubclass(neuron, Stepped) else None
    options = {"window": WINDOWS if steps == T else 1.0, **options}
    return net, a2sg.adapt(net, steps=steps, functions=functions, **options)


def rest(net):
    for module in net.modules():
        if isinstance(module, Stepped):
            module.rest()


def sequence(net, x):
    """The caller's loop: the network is called once a step."""
    rest(net)
    return sum(net(frame) for frame in x) / len(x)


def loss_of(net, seed=0, steps=T):
    x, y = draw(Stepwise, steps, seed=seed)
    return nn.functional.cross_entropy(sequence(net, x), y)


class Inside(nn.Module):
    """The loop over steps in the forward of the model."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return sequence(self.net, x)


def reference(seed=0, windows=WINDOWS):
    """Gradients of the same network with this package's LIF, all steps in one call."""
    torch.manual_seed(0)
    net = Stepwise(lambda: a2sg.LIF(T, window=windows)).double()
    x, y = draw(Stepwise, T, seed=seed)
    return gradients(net, nn.functional.cross_entropy(net(x).mean(0), y))


def check(found, expected):
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def test_the_callers_loop():
    net, windows = model(Stepped)
    for seed in range(3):
        check(gradients(net, loss_of(net, seed)), reference(seed))
        windows.step()


def test_the_loop_in_the_model():
    torch.manual_seed(0)
    net = Inside(Stepwise(Stepped).double())
    windows = a2sg.adapt(net, steps=T, window=WINDOWS, functions={Stepped: "act"})
    x, y = draw(Stepwise, T)
    for _ in range(3):
        check(gradients(net, nn.functional.cross_entropy(net(x), y)), reference())
        windows.step()


def test_both_loops_find_the_same_windows():
    found = []
    for wrapped in (True, False):
        torch.manual_seed(0)
        net = Stepwise(Stepped).double()
        adapted = Inside(net) if wrapped else net
        windows = a2sg.adapt(adapted, steps=T, functions={Stepped: "act"}, **NOW)
        for seed in range(3):
            x, y = draw(Stepwise, T, seed=seed)
            nn.functional.cross_entropy(adapted(x) if wrapped else sequence(net, x), y).backward()
            windows.step()
        found.append([row["window"] for row in windows.history])
    assert found[0] == found[1]
    assert len(set(found[0])) > 5


def test_micro_batches_add_up():
    """Two sequences before the backward passes, and one backward pass after each."""
    found = []
    for together in (True, False):
        net, windows = model(Stepped, **NOW)
        losses = []
        for seed in range(2):
            losses.append(loss_of(net, seed))
            if not together:
                losses[-1].backward()
        if together:
            sum(losses).backward()
        windows.step()
        found.append(windows.history)
    assert [row["window"] for row in found[0]] == [row["window"] for row in found[1]]
    for mine, theirs in zip(*found, strict=True):
        assert (mine["sgv"] or 0) == pytest.approx(theirs["sgv"] or 0, rel=1e-9)
        assert (mine["tgc"] or 0) == pytest.approx(theirs["tgc"] or 0, rel=1e-9)


def test_sequences_without_gradients_do_not_count():
    net, windows = model(Stepped)
    for steps in (1, 7):
        with torch.no_grad():
            loss_of(net, steps=steps)
        with torch.inference_mode():
            loss_of(net, steps=steps)
        check(gradients(net, loss_of(net)), reference())
    windows.step()


@pytest.mark.parametrize("steps", [1, 3, 5, 6])
def test_another_t_in_the_callers_loop_is_told_at_the_end(steps):
    net, windows = model(Stepped)
    loss_of(net, steps=steps).backward()
    with pytest.raises(
        InputError, match=f"layer 'neurons.0' saw {steps % T} steps? of a sequence, but steps=4"
    ):
        windows.step()
    assert windows.iteration == 0
    check(gradients(net, loss_of(net)), reference())
    windows.step()
    assert windows.iteration == 1


@pytest.mark.parametrize(("steps", "message"), [(5, "was called for step 5"), (8, "was called for step 5")])
def test_too_many_steps_in_the_model_are_told_at_once(steps, message):
    torch.manual_seed(0)
    net = Inside(Stepwise(Stepped).double())
    windows = a2sg.adapt(net, steps=T, functions={Stepped: "act"})
    x, _ = draw(Stepwise, steps)
    with pytest.raises(InputError, match=message):
        net(x)
    net(x[:T]).sum().backward()
    windows.step()


def test_too_few_steps_in_the_model_are_told_at_the_next_sequence():
    torch.manual_seed(0)
    net = Inside(Stepwise(Stepped).double())
    windows = a2sg.adapt(net, steps=T, functions={Stepped: "act"})
    x, _ = draw(Stepwise, T)
    net(x[:3])
    with pytest.raises(InputError, match=r"saw 3 steps of a sequence, but steps=4: .*torch\.no_grad\(\)"):
        net(x)
    net(x).sum().backward()
    windows.step()


def test_one_step_for_each_forward():
    """With T = 1 every forward is a sequence."""
    net, windows = model(Stepped, steps=1, window=0.6, **NOW)
    for _ in range(3):
        loss_of(net, steps=1).backward()
        windows.step()
    assert {row["step"] for row in windows.history} == {1}
    assert all(row["tgc"] is None for row in windows.history)


def test_begin_says_where_a_sequence_begins():
    site = a2sg.SpikeSite(3, surrogate=Triangle(), window=[0.5, 1.0, 2.0])
    x = torch.zeros(1, requires_grad=True)
    for _ in range(2):
        a2sg.spike(x, site)
    with pytest.raises(InputError, match="a layer saw 2 steps of a sequence, but steps=3"):
        site.begin()
    assert site.count.done == 0
    for _ in range(3):
        a2sg.spike(x, site)
    site.begin()
    assert site.count.done == 0


def test_without_anyone_to_tell_a_sequence_ends_after_t():
    site = a2sg.SpikeSite(2, surrogate=Triangle(), window=[0.5, 1.0])
    x = torch.tensor([0.25], requires_grad=True)
    found = [torch.autograd.grad(a2sg.spike(x, site), x)[0].item() for _ in range(5)]
    assert found == [0.5, 0.75, 0.5, 0.75, 0.5]


def test_one_site_for_two_layers_is_told():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.fire = Looped()

        def forward(self, x):
            return self.fire(self.fire(x))

    net = Shared()
    a2sg.adapt(net, steps=T, functions={Looped: "act"})
    with pytest.raises(
        InputError, match=r"'fire' was called for step 5 .*; if it is, one neuron serves several"
    ):
        net(torch.ones(T, 2, 3, requires_grad=True))
    a2sg.adopt.revert(net)
    x = torch.ones(T, 2, 3, requires_grad=True)
    assert len(a2sg.adapt(net, steps=T, example=x).sites) == 2, "as the message says"
    net(x)


def count_of(forwards, told):
    """What counts these forwards of so many steps each, and then the begin of another sequence."""
    count = StepCount(T, told)
    for steps in forwards:
        count.enter()
        for _ in range(steps):
            count.next()
            count.live = True
    count.begin()


SHARED = "if it is, one neuron serves several layers"
UNRESET = "if it is, the state was not reset after the last backward pass"
ONLINE = "if it is, the state is detached after every step, as in online training"


@pytest.mark.parametrize(
    ("told", "forwards", "what", "cause"),
    [
        (True, [5], "was called for step 5", SHARED),
        (True, [4, 1], "was called for step 5", UNRESET),
        (True, [1, 1, 1, 1, 1], "was called for step 5", UNRESET),
        (
            False,
            [5],
            "was called for step 5",
            f"{SHARED}: give each its own, or pass example=, which tells their calls apart",
        ),
        (True, [1], "saw 1 step", SHARED),
        (True, [1, 0], "saw 1 step", ONLINE),
        (True, [3, 0], "saw 3 steps", f"if it is, {BROKEN_OFF}"),
        (False, [3], "saw 3 steps", f"if it is, {BROKEN_OFF}"),
    ],
)
def test_a_sequence_of_another_t_names_the_likely_cause(told, forwards, what, cause):
    with pytest.raises(InputError, match=f"{what} of a sequence, but steps=4: steps must be the T") as error:
        count_of(forwards, told)
    assert str(error.value).rpartition("; ")[2].startswith(cause)
    assert bool(cause) == (";" in str(error.value))


def test_a_layer_that_is_left_out_now_and_then():
    class Sometimes(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = Sited(T), Sited(T)

        def forward(self, x, both):
            x = self.first(x)
            return self.second(x) if both else x

    net = Sometimes()
    windows = a2sg.adapt(net, steps=T, **NOW)
    for both in (True, False, False, True):
        net(torch.randn(T, 2, 3, requires_grad=True), both).sum().backward()
        windows.step()
    assert windows.kept["no gradient"] == 2 * T


def test_frozen_layers_neither_count_nor_hinder():
    net, windows = model(Stepped, **NOW)
    for parameter in net.first.parameters():
        parameter.requires_grad_(False)
    loss_of(net, steps=T).backward()
    windows.step()
    kept = {row["layer"]: row["kept"] for row in windows.history}
    assert kept["neurons.0"] == "no gradient"
    assert kept["neurons.1"] == ""
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    loss_of(net, steps=3)
    windows.step()


@pytest.mark.parametrize("observed", [True, False])
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_find_the_step_again(observed, reentrant):
    """The first layer, loop and all, runs again in the backward pass."""

    class Checkpointed(nn.Module):
        def __init__(self, again):
            super().__init__()
            torch.manual_seed(0)
            self.again = again
            self.first, self.fire, self.second = nn.Linear(9, 8), Sited(T), nn.Linear(8, 4)
            self.last = Sited(T)

        def part(self, x):
            return self.fire(self.first(x))

        def forward(self, x):
            hidden = checkpoint(self.part, x, use_reentrant=reentrant) if self.again else self.part(x)
            return self.last(self.second(hidden)).mean(0)

    x = draw(Stepwise, T)[0].requires_grad_()
    results = []
    for again in (True, False):
        net = Checkpointed(again).double()
        windows = a2sg.adapt(net, steps=T, window=WINDOWS, **(NOW if observed else {}))
        found = []
        for _ in range(2):
            found += gradients(net, (net(x) ** 2).sum())
            windows.step()
        results.append((found, [row["window"] for row in windows.history]))
    check(*(found for found, _ in results))
    assert results[0][1] == results[1][1]
    assert len(results[0][1]) == (4 * T if observed else 0)


def test_steps_that_get_no_gradient_leave_nothing_behind():
    """First the loss reads two steps alone, then all: step 3 has no use for δ of the pass before."""
    x, _ = draw(Stepwise, T)
    histories = []
    for before in (True, False):
        net, windows = model(Stepped, **NOW)
        for read in (2, T) if before else (T,):
            rest(net)
            sum([net(frame) for frame in x][:read]).square().sum().backward()
            windows.step()
            for site in windows.sites.values() if read == 2 else ():
                site.window.copy_(torch.tensor(WINDOWS))
        histories.append([(row["window"], row["tgc"]) for row in windows.history[-2 * T :]])
    assert histories[0] == histories[1]


def test_passes_that_end_early_do_not_mix():
    """Step 1 needs no gradient, so its pass ends at step 2; another sequence, read to step 2, comes next."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 3, 20, generator=generator).double()
    histories = []
    for mixed in (True, False):
        net = nn.ModuleList([a2sg.SpikeSite(3)])
        windows = a2sg.adapt(net, steps=3, **NOW)
        losses = []
        for x, read in zip(inputs, (2, 3), strict=True):
            spikes = [a2sg.spike(x[t].clone().requires_grad_(t > 0), net[0]) for t in range(3)]
            losses.append((torch.stack(spikes[:read]) * x[:read].sin()).sum())
            if not mixed:
                losses[-1].backward()
        for loss in reversed(losses) if mixed else ():
            loss.backward()
        windows.step()
        histories.append([(row["window"], row["sgv"] or 0.0, row["tgc"] or 0.0) for row in windows.history])
    for mine, theirs in zip(*histories, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("read", [1, 3])
def test_steps_after_the_last_one_read_get_no_window(read):
    net, windows = model(Stepped, **NOW)
    x, _ = draw(Stepwise, T)
    rest(net)
    outs = [net(frame) for frame in x]
    sum(outs[:read]).square().sum().backward()
    windows.step()
    for row in windows.history:
        assert (row["kept"] == "no gradient") == (row["step"] > read)
        assert (row["kept"] == "all zero") == (row["step"] == read), "its next step has no gradient"


def test_compiled_whole_and_in_the_callers_loop():
    found = []
    for compiled in (False, True):
        torch._dynamo.reset()
        torch.manual_seed(0)
        net = Inside(Stepwise(Stepped).double())
        windows = a2sg.adapt(net, steps=T, functions={Stepped: "act"}, every=2)
        run = torch.compile(net, backend="aot_eager") if compiled else net
        results = []
        for seed in range(5):
            x, y = draw(Stepwise, T, seed=seed)
            results += gradients(net, nn.functional.cross_entropy(run(x), y))
            windows.step()
        found.append((results, [row["window"] for row in windows.history]))
    check(*(results for results, _ in found))
    assert found[0][1] == found[1][1]
    assert len(found[0][1]) == 2 * 2 * T


def test_compiled_code_has_no_breaks():
    torch._dynamo.reset()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(9, 8), Sited(T), nn.Linear(8, 4), Looped()).double()
    windows = a2sg.adapt(net, steps=T, functions={Looped: "act"})
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    run = torch.compile(net, backend=counter, fullgraph=True)
    for seed in range(4):
        x, _ = draw(Stepwise, T, seed=seed)
        windows.sites["1.site"].window.fill_(0.5 + seed / 10)  # does not compile again
        found = gradients(net, run(x).square().sum())
        windows.step()
        check(found, gradients(net, net(x).square().sum()))
    assert counter.frame_count <= 2


def test_every_way_a_sequence_may_fail_is_left_behind():
    """Whatever goes wrong in one iteration, the next one is as if nothing had been."""
    for steps, finish in itertools.product((1, 2, 3), (True, False)):
        net, windows = model(Stepped)
        loss_of(net, steps=steps)
        if finish:
            with pytest.raises(InputError):
                windows.step()
        else:
            for module in net.modules():
                if isinstance(module, Stepped):
                    module.rest()
            windows.revert()
            a2sg.adapt(net, steps=T, window=WINDOWS, functions={Stepped: "act"})
        check(gradients(net, loss_of(net)), reference())


def test_steps_without_gradients_leave_no_count_behind():
    """A caller's loop makes one step of each forward; some of it looks on before training begins."""
    count = StepCount(4)
    for _ in range(3):
        count.enter()
        assert count.next() == 0
    for step in (0, 1, 2, 3, 0, 1):
        count.enter()
        assert count.next() == step
        count.live = True


def stepped(count, live=True, begin=True):
    """A sequence of T steps and the end of the iteration; whether somebody says where it begins."""
    if begin:
        count.begin()
    for _ in range(T):
        count.next()
        count.live = live
    assert not count.finish()


def test_a_state_that_is_left_from_the_last_iteration_is_told_as_a_reset_that_is_missing():
    count = StepCount(T, told=True)
    stepped(count)
    with pytest.raises(InputError, match="begins a sequence, but the state was not reset after the last"):
        stepped(count, begin=False)
    stepped(count)  # after a reset all is well again
    with pytest.raises(InputError, match="was not reset"):
        count.next()


def test_a_first_state_that_is_trained_is_no_reset_that_is_missing():
    count = StepCount(T, told=True)
    for _ in range(3):
        stepped(count, begin=False)


def test_sequences_without_a_backward_pass_need_no_reset():
    count = StepCount(T, told=True)
    stepped(count, live=False)
    stepped(count, begin=False)

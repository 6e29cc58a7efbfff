"""Packing what autograd keeps: the same gradients to the bit, less memory, nothing taken for another."""

import copy
import gc
import os
import re
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.autograd.graph import save_on_cpu
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.functional import avg_pool2d, conv2d, cross_entropy, max_pool2d
from torch.utils.checkpoint import checkpoint

import a2sg
from a2sg import LIF, AdaptiveWindows, InputError, IntegerLIF
from a2sg.kernels import made
from a2sg.kernels.fuse import FusionError
from a2sg.memory import codes, pack_spikes
from a2sg.memory import packing as packing_module
from a2sg.memory.codes import BITS, BYTES, from_bits, from_bits_on_device, to_bits, to_bits_on_device

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def random_spikes(*shape, dtype=torch.float32, rate=0.2, seed=0):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).to(dtype)


def same_bits(a, b):
    """Whether two tensors are the same in memory: values to the bit, dtype, shape, strides."""
    size = {8: torch.int64, 4: torch.int32, 2: torch.int16}[a.element_size()]
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and a.stride() == b.stride()
        and torch.equal(a.view(size), b.view(size))
    )


class Save(torch.autograd.Function):
    """Saves its input, and its gradient is what was saved."""

    @staticmethod
    def forward(ctx, leaf, saved):
        ctx.save_for_backward(saved)
        return leaf.clone()

    @staticmethod
    def backward(ctx, _):
        (saved,) = ctx.saved_tensors
        Save.seen = saved
        return torch.zeros(()), None


def through(tensor, least=1):
    """What comes back of a saved tensor, and the context it went through."""
    with pack_spikes(least=least) as packing:
        out = Save.apply(torch.zeros((), requires_grad=True), tensor)
    out.backward()
    return Save.seen, packing


# What comes back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [1, 7, 8, 9, 255, 4096, 4099, (1 << 18) + 13])
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_spikes_come_back_from_one_bit_each(size, dtype, rate):
    spikes = random_spikes(size, dtype=dtype, rate=rate)
    back, packing = through(spikes)
    assert same_bits(back, spikes)
    assert packing.dense == size * spikes.element_size()
    assert packing.packed == -(-size // 8)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_sixteenth_a_byte_holds_comes_back(dtype):
    values = torch.arange(256, dtype=dtype) / 16
    back, packing = through(values)
    assert same_bits(back, values)
    assert packing.packed == 256


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "odd", [-0.0, -1.0, 0.1, 1 / 3, 16.0, 300.0, 1 / 32, float("nan"), float("inf"), -float("inf")]
)
@pytest.mark.parametrize("base", [1.0, 0.25])
@pytest.mark.parametrize("at", [0, 1234, -1])
def test_one_element_that_is_no_spike_keeps_the_whole_tensor_as_it_is(dtype, odd, base, at):
    tensor = random_spikes(5000, dtype=dtype) * base
    tensor[at] = odd
    back, packing = through(tensor)
    assert same_bits(back, tensor)
    assert back.data_ptr() == tensor.data_ptr()
    assert packing.packed == 0


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=70))
def test_bits_made_in_torch_and_in_numpy_are_the_same(values):
    flat = torch.tensor(values)
    data = to_bits(flat)
    assert data.tolist() == to_bits_on_device(flat).tolist()
    assert data.tolist() == [
        sum(int(v) << i for i, v in enumerate(values[k : k + 8])) for k in range(0, len(values), 8)
    ]
    for back in (from_bits, from_bits_on_device):
        found = flat.new_empty(8 * len(data))
        back(data, found)
        assert found[: len(values)].tolist() == values


def test_bits_made_in_torch_turn_away_what_they_cannot_hold():
    assert to_bits_on_device(torch.tensor([0.0, 1.0, 0.5])) is None
    assert to_bits_on_device(torch.tensor([0.0, 1.0, -0.0])) is None


@pytest.mark.parametrize("code", [BITS, BYTES], ids=["bits", "bytes"])
def test_a_code_spans_blocks(code, monkeypatch):
    monkeypatch.setattr("a2sg.memory.codes.BLOCK", 64)
    flat = random_spikes(1003)
    assert torch.equal(code.decode(code.encode(flat), flat.dtype)[:1003], flat)
    flat[1002] = 0.3
    assert code.encode(flat) is None


VIEWS = {
    "folded time": lambda s: s.flatten(0, 1),
    "channels last": lambda s: s.flatten(0, 1).to(memory_format=torch.channels_last),
    "transposed": lambda s: s.transpose(0, 1),
    "one step": lambda s: s[1],
    "every other column": lambda s: s[..., ::2],
    "cropped": lambda s: s[:, :, 1:, 1:-1],
    "expanded": lambda s: s[:1].expand(5, -1, -1, -1, -1),
    "scalar": lambda s: s[0, 0, 0, 0, 0],
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_views_keep_their_strides(view, dtype):
    tensor = view(random_spikes(3, 2, 5, 6, 7, dtype=dtype))
    back, packing = through(tensor)
    assert same_bits(back, tensor)
    assert packing.packed > 0


def test_a_thin_view_of_a_large_tensor_is_left_alone():
    tensor = random_spikes(300, 40)[:, 3]
    back, packing = through(tensor)
    assert same_bits(back, tensor)
    assert packing.packed == 0


def test_other_kinds_of_tensors_are_left_alone():
    class Marked(torch.Tensor):
        pass

    for tensor in (
        torch.ones(5000, dtype=torch.int64),
        torch.ones(5000, dtype=torch.bool),
        torch.ones(5000, dtype=torch.complex64),
        torch.ones(5000).to_sparse(),
        torch.complex(torch.zeros(5000), -torch.ones(5000)).conj().imag,
        torch.ones(5000).as_subclass(Marked),
        torch.nn.Parameter(torch.ones(5000)),
        torch.empty(0),
    ):
        back, packing = through(tensor)
        assert back.dtype == tensor.dtype
        assert torch.equal(back.to_dense(), tensor.to_dense())
        assert packing.packed == 0


def test_small_tensors_are_left_alone():
    assert through(random_spikes(99), least=100)[1].packed == 0
    assert through(random_spikes(100), least=100)[1].packed == 13


@pytest.mark.parametrize("least", [0, -1, 2.5, "many"])
def test_least_must_be_a_count(least):
    with pytest.raises(InputError, match="least must be a whole number of at least 1"):
        pack_spikes(least=least)


# Shared storage ------------------------------------------------------------------------------------------


def test_what_several_layers_save_is_packed_once():
    spikes = random_spikes(4, 2, 3, 8, 8).requires_grad_()
    weights = [torch.randn(5, 3, 3, 3, requires_grad=True) for _ in range(2)]

    def loss():
        folded = spikes.flatten(0, 1)
        return sum((conv2d(folded, w).sum() for w in weights), avg_pool2d(folded, 2).pow(3).sum())

    leaves = [spikes, *weights]
    expected = torch.autograd.grad(loss(), leaves)
    with pack_spikes(least=1000) as packing:
        packed = loss()
    assert packing.dense == spikes.nbytes
    for a, b in zip(torch.autograd.grad(packed, leaves), expected, strict=True):
        assert same_bits(a, b)


def test_a_tensor_changed_between_two_saves_is_packed_as_it_was_each_time():
    spikes = random_spikes(100)
    before = spikes.clone()
    leaf = torch.zeros((), requires_grad=True)
    with pack_spikes(least=1):
        first = Save.apply(leaf, spikes)
        spikes.mul_(random_spikes(100, seed=1))
        second = Save.apply(leaf, spikes)
        spikes.zero_()
    second.backward()
    assert torch.equal(Save.seen, before * random_spikes(100, seed=1))
    first.backward()
    assert torch.equal(Save.seen, before)


def test_stretches_and_types_of_one_storage_are_told_apart():
    """0x3F80 is 1 as bfloat16 and 1.875 as float16: both can be packed, differently."""
    spikes = random_spikes(2, 1000, dtype=torch.bfloat16)
    views = [spikes, spikes[0], spikes[1], spikes[1, :500], spikes.view(torch.float16)]
    leaf = torch.zeros((), requires_grad=True)
    with pack_spikes(least=1) as packing:
        saved = [Save.apply(leaf, view) for view in views]
    for out, view in zip(saved, views, strict=True):
        out.backward()
        assert same_bits(Save.seen, view)
    assert packing.packed == 250 + 125 + 125 + 63 + 2000


def test_memory_used_again_is_not_taken_for_what_was_there():
    """Freed storages hand their addresses on; packed copies outlive them."""
    leaf = torch.zeros((), requires_grad=True)
    addresses, expected, saved = set(), [], []
    with pack_spikes(least=1):
        for seed in range(50):
            spikes = random_spikes(512, seed=seed)
            addresses.add(spikes.data_ptr())
            expected.append(spikes.tolist())
            saved.append(Save.apply(leaf, spikes))
            del spikes
    assert len(addresses) < 50
    for out, values in zip(saved, expected, strict=True):
        out.backward()
        assert Save.seen.tolist() == values


# Spikes by construction --------------------------------------------------------------------------------


def count_looks(monkeypatch):
    """How often values are looked at, in a list that grows."""
    looks = []
    look = packing_module._encode
    monkeypatch.setattr(packing_module, "_encode", lambda flat: looks.append(flat.numel()) or look(flat))
    return looks


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("backend", ["reference", "compiled"])
def test_what_a_neuron_gives_is_packed_without_a_look(monkeypatch, backend, dtype):
    looks = count_looks(monkeypatch)
    neuron = LIF(3, backend=backend)
    leaf = torch.zeros((), requires_grad=True)
    current = torch.randn(3, 2, 5, 7, 9).to(dtype)
    for layout in (torch.contiguous_format, torch.channels_last):
        arranged = current.flatten(0, 1).to(memory_format=layout).unflatten(0, (3, 2))
        with pack_spikes(least=1, search=False) as packing:
            spikes = neuron(arranged)
            out = Save.apply(leaf, spikes.flatten(0, 1))
        out.backward()
        assert same_bits(Save.seen, spikes.flatten(0, 1))
        assert 0 < spikes.mean() < 1
        assert packing.packed == -(-spikes.numel() // 8)
    assert not looks


def test_spikes_changed_in_place_are_no_longer_known():
    neuron = LIF(3)
    leaf = torch.zeros((), requires_grad=True)
    for search in (False, True):
        with pack_spikes(least=1, search=search) as packing, torch.no_grad():
            spikes = neuron(torch.randn(3, 2, 50))
            spikes.mul_(0.3)
            with torch.enable_grad():
                out = Save.apply(leaf, spikes)
        out.backward()
        assert same_bits(Save.seen, spikes)
        assert packing.packed == 0


def test_levels_and_the_spikes_of_others_are_found_by_search_alone():
    leaf = torch.zeros((), requires_grad=True)
    others = random_spikes(300)
    levels = integer()(4 * torch.rand(2, 3, 100))
    for tensor, byte in ((others, 8), (levels, 1)):
        for search in (False, True):
            with pack_spikes(least=1, search=search) as packing:
                Save.apply(leaf, tensor)
            assert packing.packed == search * -(-tensor.numel() // byte)


def test_integers_are_not_taken_for_spikes_as_they_are_made():
    leaf = torch.zeros((), requires_grad=True)
    with pack_spikes(least=1, search=False) as packing:
        levels = integer()(4 * torch.rand(2, 3, 100))
        assert levels.max() > 1 / 4
        Save.apply(leaf, levels).backward()
    assert same_bits(Save.seen, levels)
    assert packing.packed == 0


def test_nobody_listens_outside_a_context():
    with pack_spikes(), pack_spikes():
        assert len(made.listeners) == 2
    assert not made.listeners


# Tensors kept as they are --------------------------------------------------------------------------------


def test_a_tensor_kept_as_it_is_must_not_change():
    x = torch.randn(5000, requires_grad=True)
    y = x * 2
    with pack_spikes(least=1):
        loss = (y * y).sum()
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_an_output_kept_as_it_is_makes_no_cycle():
    gc.collect()
    gc.disable()
    try:
        with pack_spikes(least=1):
            y = torch.sigmoid(torch.randn(5000, requires_grad=True))
        storage = StorageWeakRef(y.untyped_storage())
        assert not storage.expired()
        del y
        assert storage.expired()
    finally:
        gc.enable()


# Networks ------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """conv-BN-LIF, then two more whose output is added to their input, then both kinds of pooling."""

    def __init__(self, neuron):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(c, 8, 3, padding=1) for c in (3, 8, 8, 8))
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in self.convs)
        self.neurons = nn.ModuleList(neuron() for _ in self.convs)
        self.head = nn.Linear(8 * 4, 4)

    def layer(self, at, x):
        x = self.norms[at](self.convs[at](x.flatten(0, 1))).unflatten(0, x.shape[:2])
        return self.neurons[at](x)

    def block(self, x):
        return x + self.layer(2, self.layer(1, x))

    def forward(self, images):
        x = self.block(self.layer(0, images.expand(self.neurons[0].steps, *images.shape)))
        x = self.layer(3, avg_pool2d(x.flatten(0, 1), 2).unflatten(0, x.shape[:2]))
        return self.head(max_pool2d(x.flatten(0, 1), 2).flatten(1)).unflatten(0, x.shape[:2]).mean(0)


class Checkpointed(Residual):
    reentrant = False

    def block(self, x):
        return checkpoint(super().block, x, use_reentrant=self.reentrant)


class CheckpointedReentrant(Checkpointed):
    reentrant = True


def lif():
    return LIF(3)


def integer():
    return IntegerLIF(steps=2, levels=4)


def vgg_small():
    return a2sg.create_model("vgg_small", num_classes=4, steps=3, image_size=8, width=0.5)


NETWORKS = {
    "vgg_small": vgg_small,
    "residual": lambda: Residual(lif),
    "integers": lambda: Residual(integer),
    "unnormalised integers": lambda: Residual(lambda: IntegerLIF(steps=2, levels=15, normalize=False)),
    "checkpoint": lambda: Checkpointed(lif),
    "reentrant checkpoint": lambda: CheckpointedReentrant(lif),
}


def images(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 3, 8, 8, generator=generator).to(dtype), torch.tensor([0, 1, 2, 3])


def gradients(network, inputs, context, retain=False):
    x, y = inputs
    network.zero_grad()
    with context:
        output = network(x).float()
        loss = cross_entropy(output.mean(0) if output.dim() == 3 else output, y)
    loss.backward(retain_graph=retain)
    if retain:
        loss.backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert any(grad.count_nonzero() for grad in expected.values())
    for name, grad in expected.items():
        assert same_bits(found[name], grad), name


@pytest.mark.parametrize("retain", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["", "channels last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("search", [True, False], ids=["", "no search"])
def test_gradients_are_the_same_to_the_bit(make, dtype, channels_last, retain, search):
    torch.manual_seed(0)
    network = make().to(dtype)
    x, y = images(dtype)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    twin = copy.deepcopy(network)
    packing = pack_spikes(least=200, search=search)
    found = gradients(network, (x, y), packing, retain)
    assert_same(found, gradients(twin, (x, y), torch.enable_grad(), retain))
    assert packing.packed > 0 or not search


@pytest.mark.parametrize("make", [vgg_small, lambda: Residual(lif)], ids=["vgg_small", "residual"])
def test_gradients_under_autocast(make):
    class Autocast(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = make()

        def forward(self, x):
            with torch.autocast("cpu", torch.bfloat16):
                return self.inner(x)

    torch.manual_seed(0)
    network = Autocast()
    twin = copy.deepcopy(network)
    packing = pack_spikes(least=200)
    assert_same(gradients(network, images(), packing), gradients(twin, images(), torch.enable_grad()))
    assert packing.packed > 0


def test_a_context_serves_many_iterations_and_nests():
    torch.manual_seed(0)
    network = vgg_small()
    twin = copy.deepcopy(network)
    outer, inner = pack_spikes(least=200), pack_spikes(least=200)
    with outer:
        for _ in range(2):
            found = gradients(network, images(), inner)
            expected = gradients(twin, images(), torch.enable_grad())
            assert_same(found, expected)
        assert outer.packed > 0  # the twin ran under the outer one
    assert inner.packed == outer.packed
    with outer:
        assert_same(gradients(network, images(), save_on_cpu()), gradients(twin, images(), outer))


def test_second_derivatives():
    spikes = random_spikes(3, 4, 6, 6).requires_grad_()
    weight = torch.randn(2, 4, 3, 3, requires_grad=True)

    def second(context):
        with context:
            loss = conv2d(spikes * spikes, weight).pow(2).sum()
            first = torch.autograd.grad(loss, [spikes, weight], create_graph=True)
            total = sum(grad.pow(2).sum() for grad in first)
        return torch.autograd.grad(total, [spikes, weight])

    packing = pack_spikes(least=100)
    for a, b in zip(second(packing), second(torch.enable_grad()), strict=True):
        assert same_bits(a, b)
    assert packing.packed > 0


def test_adaptive_windows_finds_the_same():
    def train(context):
        torch.manual_seed(0)
        network = vgg_small()
        windows = AdaptiveWindows(network, every=1, start=0, candidates=20)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
        for _ in range(3):
            gradients(network, images(), context)
            optimizer.step()
            windows.step()
        return network.state_dict(), windows.history

    (packed, found), (plain, expected) = train(pack_spikes(least=200)), train(torch.enable_grad())
    assert found == expected
    assert len({row["window"] for row in expected}) > 1
    assert all(torch.equal(packed[name], value) for name, value in plain.items())


def test_a_compiled_network():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 4)
    )
    compiled = torch.compile(copy.deepcopy(network), backend="aot_eager")
    x = random_spikes(4, 3, 8, 8)
    packing = pack_spikes(least=200)
    found = gradients(compiled, (x, images()[1]), packing)
    expected = gradients(network, (x, images()[1]), torch.enable_grad())
    assert packing.packed > 0
    for grad, name in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(grad, expected[name])


# Memory --------------------------------------------------------------------------------------------------


def test_dense_spikes_are_freed_by_the_forward_pass():
    """Storages that live on between the passes, counted: spikes are not among them."""
    conv, neuron, after = nn.Conv2d(2, 8, 3), LIF(3), nn.Conv2d(8, 8, 3)
    x = torch.randn(3, 4, 2, 10, 10)

    def run(context):
        with context:
            spikes = neuron(conv(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
            storage = StorageWeakRef(spikes.untyped_storage())
            loss = after(spikes.flatten(0, 1)).sum()
            size = spikes.nbytes
        return loss, storage, size

    loss, storage, _ = run(torch.enable_grad())
    assert not storage.expired()
    del loss
    assert storage.expired()
    packing = pack_spikes(least=1000)
    loss, storage, size = run(packing)
    assert storage.expired()
    assert (packing.dense, packing.packed) == (size, size // 32)
    assert len(packing._spans) == 1
    loss.backward()
    assert len(packing._spans) == 0


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc")
def test_the_process_shrinks():
    def resident():
        with open("/proc/self/status", encoding="utf-8") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1)) / 1024

    leaf = torch.zeros((), requires_grad=True)
    with pack_spikes():
        spikes = random_spikes(32 << 20)
        full = resident()
        out = Save.apply(leaf, spikes)
        del spikes
    assert full - resident() > 100  # MiB, of 128
    del out


def test_it_is_there_after_importing_a2sg_alone():
    command = [sys.executable, "-c", "import a2sg; a2sg.memory.pack_spikes()"]
    subprocess.run(command, check=True)


def test_where_the_kernels_cannot_be_compiled_torch_packs(monkeypatch, caplog):
    """As on a GPU without a C compiler; here the CPU stands in for it."""

    def fail(*_):
        raise FusionError("no compiler here")

    monkeypatch.setattr(codes, "answers_at_once", lambda device: False)
    monkeypatch.setattr(codes, "available", lambda device: True)
    monkeypatch.setattr(codes, "_broken", [])
    monkeypatch.setattr(codes, "to_bits_by_kernel", fail)
    monkeypatch.setattr(codes, "from_bits_by_kernel", fail)
    spikes = random_spikes(4, 100)
    assert same_bits(through(spikes)[0], spikes)
    assert [record.getMessage() for record in caplog.records] == ["torch packs the spikes: no compiler here"]

"""Bits by Triton kernels, against the bits that numpy makes.

As tests/kernels/test_triton.py: TRITON_INTERPRET=1 for the arithmetic, without it for compiling.
"""

import os

import pytest
import torch

from a2sg import LIF
from a2sg.kernels.triton_constants import available
from a2sg.memory import codes, pack_spikes
from a2sg.memory.codes import from_bits, from_bits_by_kernel, to_bits, to_bits_by_kernel
from ahead import Ahead

pytest.importorskip("triton", reason="triton is not installed")

from a2sg.memory import triton_codes

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DTYPES = pytest.mark.parametrize("dtype", list(codes.FORMATS), ids=str)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    if request.param == "cpu" and not INTERPRETED:
        pytest.skip("on a CPU the kernels run interpreted: set TRITON_INTERPRET=1")
    if request.param == "cuda" and (INTERPRETED or not torch.cuda.is_available()):
        pytest.skip("needs a CUDA device, and TRITON_INTERPRET not set")
    return request.param


def spikes_of(size, dtype, rate=0.3):
    return (torch.rand(size, generator=torch.Generator().manual_seed(size)) < rate).to(dtype)


@DTYPES
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("size", [1, 7, 8, 9, 4095, 4096, 4097, 10_001])
def test_the_same_bytes_and_the_same_spikes(device, size, known, dtype):
    spikes = spikes_of(size, dtype)
    data = to_bits_by_kernel(spikes.to(device), known)
    assert torch.equal(data.cpu(), to_bits(spikes))
    back = torch.full((8 * len(data),), 7.0, dtype=dtype, device=device)
    from_bits_by_kernel(data, back)
    expected = torch.empty(len(back), dtype=dtype)
    from_bits(to_bits(spikes), expected)
    assert torch.equal(back.cpu(), expected)
    assert torch.equal(back[:size].cpu(), spikes)


@DTYPES
@pytest.mark.parametrize("bad", [-0.0, -1.0, 0.5, 2.0, float("nan"), float("inf")])
@pytest.mark.parametrize("at", [0, 4096, -1])
def test_what_is_no_spike_is_turned_away(device, bad, at, dtype):
    values = spikes_of(9001, dtype)
    values[at] = bad
    assert to_bits_by_kernel(values.to(device)) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_nothing_waits_for_the_device_without_search():
    assert available("cuda")
    neuron, after = LIF(3), torch.nn.Conv2d(8, 8, 3).cuda()
    currents = torch.randn(3, 4, 8, 16, 16, device="cuda", requires_grad=True)

    def step(context):
        with context:
            loss = after(neuron(currents).flatten(0, 1)).square().sum()
        return torch.autograd.grad(loss, [currents, after.weight])

    expected = step(torch.enable_grad())
    step(pack_spikes(search=False))  # compiles
    packing = pack_spikes(search=False)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = step(packing)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert packing.packed > 0
    assert all(map(torch.equal, found, expected))


@DTYPES
@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("capability", [80, 90])
def test_they_compile_for_a_gpu(monkeypatch, tmp_path, capability, check, dtype):
    if INTERPRETED:
        pytest.skip("TRITON_INTERPRET=1 is set: nothing would be compiled")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernels = {}
    for name in ("pack_kernel", "unpack_kernel"):
        kernels[name] = Ahead(getattr(triton_codes, name), capability)
        monkeypatch.setattr(triton_codes, name, kernels[name])
    spikes = spikes_of(5000, dtype)
    integer, one = codes.FORMATS[dtype]
    data = triton_codes.pack(spikes.view(integer), one, check=check)
    if data is None:
        data = to_bits(spikes)
    triton_codes.unpack(data, spikes.view(integer), one)
    assert all(kernel.made.asm["cubin"] for kernel in kernels.values())

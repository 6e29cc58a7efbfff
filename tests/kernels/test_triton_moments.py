"""Batch statistics of the Triton kernels against float64. Run it as `test_triton.py`."""

import os

import pytest
import torch

from a2sg.kernels import normalization, triton_constants, triton_moments
from a2sg.models.layers import BatchNorm, norm_of
from ahead import Ahead

triton = pytest.importorskip("triton", reason="triton is not installed")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
SHARE = 0.3
SHAPES = [(2, 64), (1, 3), (700, 5), (3, 1, 9, 9), (9, 130, 7, 5), (20, 64, 16, 16)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    if request.param == "cpu" and not INTERPRETED:
        pytest.skip("on a CPU the kernels run interpreted: set TRITON_INTERPRET=1")
    if request.param == "cuda" and INTERPRETED:
        pytest.skip("TRITON_INTERPRET=1 is set: nothing would be compiled")
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device(request.param)


def example(shape, dtype=torch.float32, device="cpu", mean=0.0):
    """Channels of different deviations, their mean in units of them; channels last."""
    generator = torch.Generator().manual_seed(0)
    deviation = torch.logspace(-2, 1, shape[1]).view(-1, *[1] * (len(shape) - 2))
    x = ((torch.randn(shape, generator=generator) + mean) * deviation).to(dtype).to(device)
    return x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x


def running(channels, device="cpu"):
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(channels, generator=generator).to(device) for _ in range(2)]


def by_definition(x, share=SHARE):
    """Mean, population variance and the moved running statistics, in float64 on the CPU."""
    values = x.double().cpu().transpose(0, 1).flatten(1)
    mean, variance = values.mean(1), values.var(1, correction=0)
    count = values.shape[1]
    unbiased = variance * count / max(1, count - 1)
    was = [part.double() for part in running(x.shape[1])]
    return [mean, variance, was[0].lerp(mean, share), was[1].lerp(unbiased, share)]


def check(x, tolerance=1e-5):
    assert triton_moments.takes(x)
    moved = running(x.shape[1], x.device)
    found = [*triton_moments.statistics(x, *moved, SHARE), *moved]
    wanted = by_definition(x)
    assert all(part.dtype == torch.float32 for part in found)
    # A mean that is nearly 0 is so by cancellation: to a small part of the deviation.
    bound = 1e-6 * (wanted[0].abs() + wanted[1].sqrt()) + 1e-12
    assert ((found[0].cpu() - wanted[0]).abs() <= bound).all()
    assert ((found[2].cpu() - wanted[2]).abs() <= bound + 1e-6).all()
    torch.testing.assert_close(found[1].double().cpu(), wanted[1], rtol=tolerance, atol=1e-12)
    torch.testing.assert_close(found[3].double().cpu(), wanted[3], rtol=tolerance, atol=1e-6)
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_statistics_are_those_of_float64(device, shape, dtype):
    check(example(shape, dtype, device))


@pytest.mark.parametrize("programs", [1, 3, 1000])
def test_any_number_of_programs(device, monkeypatch, programs):
    monkeypatch.setattr(triton_moments, "PROGRAMS", programs)
    monkeypatch.setattr(triton_moments, "TILE", 256)
    for shape in ((1, 5), (257, 5), (33, 40, 3, 7)):
        check(example(shape, device=device))


@pytest.mark.parametrize("mean", [100.0, 1000.0])
def test_a_large_mean_cancels_nothing(device, mean):
    """In float32 the variance would be lost as a difference of two sums of squares."""
    check(example((2000, 6), device=device, mean=mean), tolerance=1e-4)


def test_a_first_value_far_off_and_a_constant_channel(device):
    x = example((999, 4), device=device)
    x[0] = 1e4
    x[:, 1] = 7.25
    _, variance, *_ = check(x, tolerance=1e-4)
    assert variance[1] == 0


def test_it_repeats_to_the_bit(device):
    x = example((40, 33, 8, 8), torch.bfloat16, device)
    first, second = check(x), check(x)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def test_numbers_that_are_not_finite_show(device):
    x = example((300, 3), device=device)
    x[150, 1] = float("nan")
    mean, variance = triton_moments.statistics(x, *running(3, device), SHARE)
    assert mean.isnan().tolist() == variance.isnan().tolist() == [False, True, False]


def test_what_the_kernels_do_not_take(device):
    assert triton_moments.takes(example((2, 3, 4, 5), device=device))
    assert not triton_moments.takes(torch.zeros(2, 3, 4, 5, device=device))
    assert not triton_moments.takes(torch.zeros(2, 3, device=device).t())
    assert not triton_moments.takes(torch.zeros(2, 3, dtype=torch.float64, device=device))
    assert not triton_moments.takes(torch.zeros(0, 3, device=device))
    assert not triton_moments.takes(torch.zeros(2, 3, 4, device=device))


@pytest.fixture
def ahead(request, monkeypatch, tmp_path):
    if INTERPRETED:
        pytest.skip("TRITON_INTERPRET=1 is set: nothing would be compiled")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    module = triton_constants.moment_kernels()
    stand_ins = {
        name: Ahead(getattr(module, name), request.param) for name in ("moments_kernel", "join_kernel")
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(module, name, stand_in)
    return stand_ins


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ahead", [80, 90], indirect=True)
def test_they_compile_for_a_gpu(ahead, dtype):
    triton_moments.statistics(example((20, 64, 16, 16), dtype), *running(64), SHARE)
    for kernel in ahead.values():
        assert kernel.made.asm["cubin"]


@pytest.mark.gpu
@pytest.mark.skipif(INTERPRETED or not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_batch_norm_takes_them_for_large_inputs_also_in_a_graph(monkeypatch, dtype):
    calls = []
    ours = triton_moments.statistics
    monkeypatch.setattr(triton_moments, "statistics", lambda *given: calls.append(1) or ours(*given))
    x = example((64, 64, 32, 32), dtype, "cuda")
    assert x.numel() >= normalization.LARGE
    bn = BatchNorm(64, momentum=SHARE).cuda()
    bn.running_mean.copy_(running(64)[0])
    bn.running_var.copy_(running(64)[1])
    start = [bn.running_mean.clone(), bn.running_var.clone()]
    norm_of(bn, x, (1, 64))  # compiles them
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        norm = norm_of(bn, x, (1, 64))
    for now, was in zip((bn.running_mean, bn.running_var), start, strict=True):
        now.copy_(was)
    graph.replay()
    mean, variance, *moved = by_definition(x)
    assert len(calls) == 2
    torch.testing.assert_close(norm.mean.double().cpu(), mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(norm.inverse.double().cpu(), (variance + bn.eps).rsqrt(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(bn.running_mean.double().cpu(), moved[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(bn.running_var.double().cpu(), moved[1], rtol=1e-5, atol=1e-5)

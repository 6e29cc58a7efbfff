"""Triton kernels compiled for a GPU that is not there."""

from collections.abc import Callable
from typing import Any

import torch


class Ahead:
    """Stands in for a kernel: compiles it for a GPU, with the arguments it is called with, and stops."""

    def __init__(self, kernel: Any, capability: int) -> None:
        self.kernel = kernel
        self.capability = capability

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        assert all(isinstance(size, int) and size > 0 for size in grid)
        return self.compile

    def compile(
        self,
        *data: object,
        num_warps: int,
        enable_fp_fusion: bool,
        maxnreg: int | None = None,
        **constants: object,
    ) -> None:
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        names = self.kernel.arg_names
        given = dict(zip(names, data, strict=False)) | constants
        assert given.keys() == set(names)
        signature = {name: "constexpr" if name in constants else self.type_of(given[name]) for name in names}
        fixed = [name for name in names if signature[name] == "constexpr"]
        source = ASTSource(
            self.kernel, signature, constexprs={(names.index(name),): given[name] for name in fixed}
        )
        options = {"num_warps": num_warps, "enable_fp_fusion": enable_fp_fusion, "maxnreg": maxnreg}
        self.made: Any = triton.compile(
            source, target=GPUTarget("cuda", self.capability, 32), options=options
        )

    @staticmethod
    def type_of(value: object) -> str:
        pointers = {
            torch.float16: "fp16",
            torch.bfloat16: "bf16",
            torch.float32: "fp32",
            torch.float64: "fp64",
            torch.uint8: "u8",
            torch.int16: "i16",
            torch.int32: "i32",
            torch.int64: "i64",
        }
        if isinstance(value, torch.Tensor):
            return "*" + pointers[value.dtype]
        return "i32" if type(value) is int else "constexpr"

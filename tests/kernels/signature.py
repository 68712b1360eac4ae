"""What a launch hands over against what the kernel's C signature asks for: kind, dtype, layout, limits of a grid."""

from __future__ import annotations

import re
from functools import cache

import torch
from torch import Tensor

from darkit_nb.ops._launch import Launch, kernel_source

BY_SETTING = {
    "x_t": ("DK_X", {0: torch.float32, 1: torch.float16, 2: torch.bfloat16}),
    "q_t": ("DK_Q", {0: torch.uint8, 1: torch.int8, 2: torch.int16, 3: torch.int32}),
    "w_t": ("DK_W", {1: torch.int8, 2: torch.int16}),
}
FIXED = {"float": {torch.float32}, "int": {torch.int32}, "void": None}
BYTES = {torch.uint8, torch.int8, torch.bool, torch.int16, torch.int32}
"""What lies behind a `u8 *`: bytes, flags, and counts, whose width the kernel knows from its settings."""


@cache
def parameters(kernel: str, function: str) -> tuple[tuple[str, bool, str], ...]:
    """Of a kernel: type, whether it is a pointer, and name of every parameter."""
    source = re.sub(r"//[^\n]*|#line[^\n]*", "", kernel_source(kernel))
    found = re.search(rf'extern "C" __global__ void[^;{{]*?\b{function}\(([^)]*)\)\s*{{', source)
    assert found is not None, f"no kernel {function} in {kernel}.cu"
    result = []
    for each in found[1].split(","):
        words = re.sub(r"\bconst\b|__restrict__", " ", each).replace("*", " * ").split()
        result.append((words[0], "*" in words, words[-1]))
    return tuple(result)


def check(plan: Launch) -> None:
    """Raise AssertionError unless CUDA would take this launch and the kernel understand every argument as meant."""
    wanted, settings = parameters(plan.kernel, plan.function), dict(plan.defines)
    assert len(wanted) == len(plan.arguments), f"{plan.function} takes {len(wanted)}, not {len(plan.arguments)}"
    for (kind, pointer, name), value in zip(wanted, plan.arguments, strict=True):
        where = f"{plan.function}: {kind} {name}"
        if not pointer:
            assert type(value) is {"i64": int, "float": float}[kind], f"{where} got {type(value)}"
            continue
        assert value is None or isinstance(value, Tensor), f"{where} is a pointer and got {value!r}"
        if value is None:
            continue
        # Rows further apart than they are long are what a parameter `stride` is for.
        apart = value.dim() == 2 and value.stride(1) == 1 and any(each[2] == "stride" for each in wanted)
        assert apart or value.is_contiguous(), f"{where} has strides {value.stride()}"
        if kind in BY_SETTING:
            setting, dtypes = BY_SETTING[kind]
            assert value.dtype == dtypes[settings[setting]], f"{where} got {value.dtype}"
        else:
            allowed = BYTES if kind == "u8" else FIXED[kind]
            assert allowed is None or value.dtype in allowed, f"{where} got {value.dtype}"
    tensors = [value for value in plan.arguments if isinstance(value, Tensor)]
    assert len({tensor.device for tensor in tensors}) == 1
    assert 0 < plan.threads <= 1024
    assert plan.threads % 32 == 0
    assert 0 < plan.grid[0] < 2**31
    assert 0 < plan.grid[1] < 2**16

"""Compile the Triton kernels for GPUs that need not be there: python compiled_triton.py CAPABILITY.

Prints the PTX of each for bf16 and fp64, with arguments as packed (batch, seq, 8 heads, 64 features) tensors have them.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from attention_impls.merging import triton_kernels

UNITS = ("out_feature", "lse_token", "new_feature", "new_lse_member", "grad_feature", "part_feature")
LSES = ("lse", "new_lse")
TENSORS = ("out", "new_out", "grad", "part")
TYPES = {"bf16": ("*bf16", "*fp32", tl.float32), "fp64": ("*fp64", "*fp64", tl.float64)}
"""Of tensors and of log-sum-exps, and the type that arithmetic is in."""


def ptx(kernel: Any, dtype: str, capability: int) -> str:
    tensor, lse, wide = TYPES[dtype]
    given = {"block": 64, "width": 64, "wide": wide, **dict.fromkeys(UNITS, 1)}
    constants = {name: given[name] for name in kernel.arg_names if name in given}
    types = dict.fromkeys(TENSORS, tensor) | dict.fromkeys(LSES, lse) | {"places": "*i64"}
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in kernel.arg_names}
    divisible = {
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(kernel.arg_names)
        if name not in constants and name not in triton_kernels._PIECE
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=divisible)
    return str(triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["ptx"])


def main() -> None:
    kernels = (triton_kernels.mix, triton_kernels.add)
    found = {f"{k.__name__} {dtype}": ptx(k, dtype, int(sys.argv[1])) for k in kernels for dtype in TYPES}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()

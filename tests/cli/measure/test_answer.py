"""Which errors of a process that measures are a result, and what is said of them; what memory counts as free."""

from __future__ import annotations

import pytest
import torch

from attention_impls.api import Unsupported
from longbench_cli.measure.answer import failure_of
from longbench_cli.measure.memory import free_bytes

NCCL = """NCCL error in: NCCLUtils.cpp:94, unhandled cuda error (run with NCCL_DEBUG=INFO), NCCL version 2.27.5
ncclUnhandledCudaError: Call to CUDA function failed.
Last error:
Cuda failure 2 'out of memory'"""


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Unsupported("no such kernel"), "unsupported", "no such kernel"),
        (MemoryError(), "oom", "MemoryError"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee"),
            "oom",
            "CUDA out of memory. Tried",
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "oom", "DefaultCPUAllocator: can't allocate"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), "oom", "CUDA error: out of memory"),
        (RuntimeError(NCCL), "oom", "Cuda failure 2 'out of memory'"),
    ],
)
def test_errors_that_are_a_result(error: Exception, status: str, reason: str) -> None:
    found = failure_of(error)
    assert found is not None
    assert found["status"] == status
    assert found["reason"].startswith(reason)
    assert "\n" not in found["reason"]


@pytest.mark.parametrize("error", [RuntimeError("NCCL error: remote process exited"), ValueError("out of memory")])
def test_any_other_error_is_a_bug(error: Exception) -> None:
    assert failure_of(error) is None


def test_what_torch_holds_unused_of_a_gpu_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 700)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 50)
    assert free_bytes("cuda") == 750

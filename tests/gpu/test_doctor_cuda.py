"""``longbench doctor`` where there is a GPU."""

from __future__ import annotations

import pytest
import torch

from longbench_cli.commands.doctor import examine

pytestmark = pytest.mark.gpu


def test_the_gpu_is_seen_and_measured() -> None:
    found = examine(seconds=0.5)
    assert found.machine.torch_gpus == torch.cuda.device_count()
    assert [gpu.memory_total > 0 for gpu in found.machine.gpus][:1] == [True]
    cpu, cuda = found.rates
    assert (cpu.device, cuda.device) == ("cpu", "cuda")
    assert cuda.matmul_flops["bf16"] > cuda.matmul_flops["fp32"] > 1e11
    assert cuda.copy_bytes > 1e10
    ready = {state.name for state in found.backends if state.device == "cuda" and state.why_not is None}
    assert {"sdpa-flash", "math"} <= ready

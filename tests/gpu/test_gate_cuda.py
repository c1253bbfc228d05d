"""The gate on a GPU: a slowdown that is put in is really spent there, and found; identical code passes."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from longbench_cli.measure.clock import CudaTimer
from longbench_cli.measure.slowed import slowed
from longbench_cli.sweep.settings import Graphs

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _default_stream() -> Iterator[None]:
    """Timers of graphs make another stream current."""
    yield
    torch.cuda.synchronize()
    torch.cuda.set_stream(torch.cuda.default_stream())


SWEEP = [
    "--impl", "vanilla", "--seq", "4k", "--heads", "8", "--head-dim", "64", "--device", "cuda", "--max-time", "3",
]  # fmt: skip


@pytest.mark.parametrize("graphs", ["off", "on"])
def test_the_slowdown_is_spent_on_the_device(graphs: Graphs) -> None:
    x = torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16)

    def median_ns(share: float) -> float:
        timer = slowed(CudaTimer(graphs, None), share, "cuda")
        for _ in range(2):  # what was bound first knows no iteration yet
            iteration = timer.bind(lambda: x @ x)
            times = [iteration() for _ in range(30)]
        return statistics.median(times[10:])

    assert 1.3 < median_ns(0.5) / median_ns(0.0) < 1.7


def test_an_injected_slowdown_fails_and_identical_code_passes(
    tmp_path: Path, longbench: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    same = longbench("gate", "--aa", *SWEEP, "--json", "aa.json")
    assert same.returncode == 0, same.stdout + same.stderr
    slower = longbench("gate", "--inject", "30%", *SWEEP, "--json", "slower.json")
    assert slower.returncode == 1, slower.stdout + slower.stderr
    (point,) = json.loads((tmp_path / "slower.json").read_text())["points"]
    assert 1.15 < point["effect"]["ratio"] < 1.45

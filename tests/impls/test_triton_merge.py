"""The Triton kernels where there is no GPU: what they compute, that they compile, and what happens without them."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from merge_problems import merge_problems

from attention_impls import dilated_attention
from attention_impls.merging import merge
from attention_impls.merging.pieces import HeadRun, Piece

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "tests" / "support"
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="the package triton is missing")

ATTENTIONS = [
    {"segments": [4, 16], "dilations": [1, 4]},
    {"segments": [16, 20], "dilations": [2, 3], "causal": True},
    {"segments": [7, 30], "dilations": [1, 6], "offsets": "grouped"},
    {"segments": [10], "dilations": [12]},
]


def run(script: str, *args: str, **env: str) -> str:
    found = subprocess.run(
        [sys.executable, str(SUPPORT / script), *args],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(SUPPORT)]), **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def problems() -> list:
    return merge_problems(40)


@pytest.fixture(scope="module")
def attentions() -> list:
    generator = torch.Generator().manual_seed(0)
    calls = []
    for options in ATTENTIONS:
        q, k, v, grad = (torch.randn(2, 33, 4, 8, dtype=torch.float64, generator=generator) for _ in range(4))
        calls.append(([q, k, v], grad, options | {"backend": "math"}))
    return calls


@pytest.fixture(scope="module")
def interpreted(problems: list, attentions: list, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the kernels gave in Triton's interpreter."""
    given, found = (tmp_path_factory.mktemp("triton") / name for name in ("given.pt", "found.pt"))
    torch.save({"problems": problems, "attentions": attentions}, given)
    run("interpreted_triton.py", str(given), str(found), TRITON_INTERPRET="1")
    return torch.load(found, weights_only=False)


@needs_triton
def test_mixing_and_adding_any_piece(interpreted: dict[str, Any], problems: list) -> None:
    assert len(interpreted["problems"]) == len(problems) > 40
    for problem, result in zip(problems, interpreted["problems"], strict=True):
        problem.check(*result)


@needs_triton
def test_dilated_attention_and_its_gradient_through_the_kernels(interpreted: dict[str, Any], attentions: list) -> None:
    for (inputs, grad, options), found in zip(attentions, interpreted["attentions"], strict=True):
        leaves = [x.detach().requires_grad_() for x in inputs]
        out, lse = dilated_attention(*leaves, **options, return_lse=True)
        for actual, right in zip(found, [out, lse, *torch.autograd.grad(out, leaves, grad)], strict=True):
            torch.testing.assert_close(actual, right, rtol=0, atol=1e-12)
    assert min(interpreted["launches"].values()) >= len(attentions)
    assert interpreted["launches"].keys() == {"merge_piece", "add_piece"}


@needs_triton
def test_rows_more_than_2_31_numbers_in(interpreted: dict[str, Any]) -> None:
    assert interpreted["far"] == [0.0, 2.0, 4.0, 6.0]


@needs_triton
def test_a_row_in_nothing_stays_in_nothing(interpreted: dict[str, Any]) -> None:
    out, lse = interpreted["nothing"]
    assert bool((out == 0).all())
    assert bool((lse == float("-inf")).all())


@needs_triton
@pytest.mark.parametrize("capability", ["80", "90"])
def test_the_kernels_compile_and_move_16_bytes_at_a_time(capability: str, tmp_path: Path) -> None:
    """Wide loads are what makes one pass fast; the barrier is what makes mixing in place right."""
    env = {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    compiled = json.loads(run("compiled_triton.py", capability, **env))
    assert compiled.keys() == {"mix bf16", "mix fp64", "add bf16", "add fp64"}
    for name, ptx in compiled.items():
        places = {
            what: [m.start() for m in re.finditer(what, ptx)] for what in (r"ld\.global", r"st\.global", r"bar\.sync")
        }
        loads, stores, barriers = places.values()
        assert any(max(loads) < barrier < min(stores) for barrier in barriers), name
        wide = r"\.v4\.b32" if name.endswith("bf16") else r"\.v2\.b64"
        assert len(re.findall(rf"ld\.global\S*{wide}", ptx)) >= 8, name


@pytest.fixture
def fresh() -> Iterator[None]:
    merge.fused_kernels.cache_clear()
    yield
    merge.fused_kernels.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_without_triton_torch_mixes_and_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "attention_impls.merging.triton_merge", raising=False)
    monkeypatch.delattr("attention_impls.merging.triton_merge", raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert merge.fused_kernels(torch.device("cuda", 0)) is None


@needs_triton
@pytest.mark.usefixtures("fresh")
def test_a_triton_that_fails_is_told_once_and_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    from attention_impls.merging import triton_merge

    def fails(device: torch.device) -> None:
        raise RuntimeError("Failed to find C compiler.\nPlease specify one")

    monkeypatch.setattr(triton_merge, "trial", fails)
    with pytest.warns(RuntimeWarning, match="slower: RuntimeError: Failed to find C compiler.$") as told:
        assert [merge.fused_kernels(torch.device("cuda", 0)) for _ in range(3)] == [None] * 3
    assert len(told) == 1


def test_a_cpu_does_without_triton() -> None:
    code = (
        "import sys, torch; from attention_impls import dilated_attention as f; x = torch.randn(1, 8, 2, 4);"
        "f(x, x, x, segments=[4, 8], dilations=[1, 2]); print('triton' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_adding_no_keys_changes_nothing() -> None:
    out, lse = torch.randn(1, 5, 2, 4), torch.randn(1, 2, 5)
    before = out.clone(), lse.clone()
    piece = Piece(0, 1, 5, 1, 5, (HeadRun(0, 2, 0, 0),))
    merge.merge_piece(out, lse, piece, torch.randn(1, 5, 2, 4), torch.full((1, 2, 5), float("-inf")))
    assert torch.equal(out, before[0])
    assert torch.equal(lse, before[1])

"""A rank process on CUDA: NCCL is measured, gloo agrees, and one GPU is a world of one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rank_points import Zygote

from longbench_cli.measure.ranks.process import ENDED

pytestmark = pytest.mark.gpu

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
CUDA = {"device": "cuda", "dtype": "bfloat16", "head_dim": 64, "heads": 8, "kv_heads": 8, "seq_len": 3000}


@pytest.fixture(autouse=True)
def fixtures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FIXTURES))


@pytest.fixture(scope="module")
def ranks() -> Iterator[Zygote]:
    with Zygote() as zygote:
        yield zygote


@pytest.mark.parametrize("pass_", ["fwd", "bwd", "fwd+bwd"])
@pytest.mark.parametrize(
    "change",
    [
        {"impl": "gathered_attention:right", "seq_len": 500},
        {"impl": "vanilla", "options": {"parallel": "ring"}},
        {"impl": "dilated", "options": {"segments": [512, 3000], "dilations": [1, 4]}},
    ],
    ids=["gathered", "vanilla", "dilated"],
)
def test_a_world_of_one_is_verified_timed_and_weighed(
    ranks: Zygote, tmp_path: Path, change: dict[str, Any], pass_: str
) -> None:
    """The first one makes its collectives all the same: NCCL gathers and adds on one GPU."""
    ended = ranks.run(tmp_path, **(CUDA | change), **{"pass": pass_}, world_size=1)
    record = ended.record
    assert ended.codes == [0]
    assert record.verification.status == "passed"
    assert record.timing is not None
    assert (record.timing.cache, record.timing.graph) == ("cold", False)
    assert record.ranks is not None
    (rank,) = record.ranks
    assert rank.device.startswith("0: ")
    assert rank.iterations_ns == record.latency.iterations_ns
    assert min(rank.iterations_ns) > 0
    assert (rank.peak_bytes or 0) > record.memory.input_bytes
    assert rank.telemetry is not None
    assert rank.telemetry.gpu is not None
    assert record.communication is not None
    assert record.communication.received_bytes == 0


@pytest.mark.parametrize("pass_", ["fwd+bwd", "step"])
def test_a_model_on_one_gpu(ranks: Zygote, tmp_path: Path, pass_: str) -> None:
    change = {"impl": "tiny_models:right", "kind": "model", "heads": 1, "kv_heads": 1, "seq_len": 500}
    record = ranks.run(tmp_path, **(CUDA | change), **{"pass": pass_}, world_size=1).record
    assert record.communication is not None
    assert record.communication.algorithm == "data"


def test_what_does_not_fit_names_the_rank(ranks: Zygote, tmp_path: Path) -> None:
    change = {"impl": "gathered_attention:right", "seq_len": 2**19, "world_size": 1}
    ended = ranks.run(tmp_path, **(CUDA | change))
    assert ended.result["status"] == "oom"
    assert ended.result["reason"].startswith("rank 0: ")
    assert ended.codes == [ENDED]


def test_more_ranks_than_gpus_are_unsupported(ranks: Zygote, tmp_path: Path) -> None:
    ended = ranks.run(tmp_path, **CUDA, world_size=32)
    assert ended.result["status"] == "unsupported"
    assert "ranks on this machine, but" in ended.result["reason"]

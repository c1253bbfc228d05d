"""The claim, on the measured runs that this repository ships: train on up to 64k, predict up to 1b tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from attention_impls.api import get_implementation
from longbench_cli.analyse.prediction.families import families_of
from longbench_cli.analyse.prediction.held_out import HeldOut, hold_out, parse_condition, score
from longbench_cli.record.loading import load_run
from longbench_cli.sweep.hardware import load_hardware

RESULTS = Path(__file__).resolve().parents[4] / "docs" / "results"
ONE_B = "2026-11-22-cpu-dilated-1b"
RANKS = "2026-11-22-cpu-ranks"


def held_out(condition: str, *files: str) -> list[HeldOut]:
    network = load_hardware("cpu").network
    rows: list[HeldOut] = []
    for family in families_of([load_run(RESULTS / name) for name in files]):
        rows += hold_out(family, get_implementation(family.case.impl), parse_condition(condition), network) or []
    return rows


@pytest.mark.skipif(not RESULTS.is_dir(), reason="the wheel has no docs")
class TestCommittedRuns:
    def test_up_to_64k_predicts_up_to_1b(self) -> None:
        rows = held_out("seq>64k", *(f"{ONE_B}/{name}" for name in ("run.jsonl", "run-1b.jsonl", "run-bwd.jsonl")))
        assert {row.point.case.seq_len for row in rows} >= {1 << 18, 1 << 20, 1 << 30}
        found = score(rows)
        assert found.count >= 24
        assert found.median_error <= 0.15
        assert found.coverage >= 0.8
        assert all(abs(row.error) <= 0.15 for row in rows if row.point.case.seq_len in (1 << 18, 1 << 20))

    def test_vanilla_and_dilated_up_to_8k_predict_64k(self) -> None:
        found = score(held_out("seq>8k", "2026-11-21-cpu-vanilla-dilated/run.jsonl"))
        assert found.count == 12
        assert found.median_error <= 0.15
        assert found.coverage >= 0.8

    @pytest.mark.parametrize("names", [["strong-dilated"], ["strong-vanilla", "weak-dilated", "weak-vanilla"]])
    def test_one_and_two_ranks_predict_four(self, names: list[str]) -> None:
        rows = [row for name in names for row in held_out("gpus>2", f"{RANKS}/{name}.jsonl")]
        found = score(rows)
        assert {row.point.case.world_size for row in rows} == {4}
        assert found.count >= 10
        assert found.median_error <= 0.15
        assert found.coverage >= 0.8
        assert found.memory_coverage is not None
        assert found.memory_coverage >= 0.8

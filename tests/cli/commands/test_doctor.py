"""``longbench doctor`` on this machine, with short measurements."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import psutil
import pytest
import torch

from longbench_cli import app
from longbench_cli.commands import doctor
from longbench_cli.measure.machine import Gpu

GPU = Gpu(
    index=0, name="Example GPU", driver="580", memory_total=2**36, memory_free=2**35, processes=None, persistence=None
)


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    monkeypatch.setattr(doctor, "SECONDS_PER_DEVICE", 0.1)

    def call(*words: str) -> str:
        with pytest.raises(SystemExit) as leaving:
            app.main(["doctor", *words])
        printed = capsys.readouterr()
        assert (leaving.value.code, printed.err) == (0, "")
        return printed.out

    return call


def test_json_holds_what_was_measured(examined: Callable[..., str]) -> None:
    found = json.loads(examined("--json"))
    assert found["machine"]["torch"] == torch.__version__
    assert found["machine"]["cpu"]["threads"] == torch.get_num_threads()
    assert found["machine"]["cpu"]["memory_total"] == psutil.virtual_memory().total
    cpu = found["rates"][0]
    assert cpu["device"] == "cpu"
    assert set(cpu["matmul_flops"]) == {"fp32", "bf16"}
    assert all(1e7 < rate < 1e16 for rate in cpu["matmul_flops"].values())
    assert 1e7 < cpu["copy_bytes"] < 1e13
    assert cpu["noise"]["repeats"] >= 3
    assert 0 < found["timer"]["resolution_ns"] < 1e7
    ready = {(state["device"], state["name"]): state["why_not"] for state in found["backends"]}
    assert ready["cpu", "math"] is None
    if not torch.cuda.is_available():
        assert ready["cuda", "sdpa-flash"]
        assert [rates["device"] for rates in found["rates"]] == ["cpu"]


def test_text_has_a_section_for_each_question(examined: Callable[..., str]) -> None:
    text = examined()
    for title in ("Devices", "Back ends", "Speed", "Precision", "What would improve it"):
        assert f"\n{title}\n" in text
    assert "FLOP/s, bf16" in text
    assert "noise floor" in text


def test_a_gpu_that_torch_cannot_use_is_shown_as_such() -> None:
    found = doctor.examine(seconds=0.1)
    unusable = replace(found, machine=replace(found.machine, gpus=[GPU], torch_gpus=0))
    (line,) = [line for line in unusable.as_lines() if "Example GPU" in line]
    assert "32.0 of 64.0 GiB memory free" in line
    assert "which this torch cannot use" in line
    usable = replace(unusable, machine=replace(unusable.machine, torch_gpus=1))
    assert not any("cannot use" in line for line in usable.as_lines())

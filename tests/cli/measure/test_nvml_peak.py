"""Device-wide memory: the highest of all looks, and null where the device does not answer."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from longbench_cli.measure.nvml import NvmlPeak


class NvmlError(Exception):
    """As pynvml raises it."""


def driver(answers: Iterator[int | None]) -> types.ModuleType:
    """A driver whose device answers so at each look; None is an error."""
    module = types.ModuleType("pynvml")

    def memory(_handle: object) -> SimpleNamespace:
        used = next(answers)
        if used is None:
            raise NvmlError
        return SimpleNamespace(used=used)

    vars(module).update(
        NVMLError=NvmlError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetMemoryInfo=memory,
    )
    return module


def peak_of(monkeypatch: pytest.MonkeyPatch, answers: list[int | None]) -> int | None:
    monkeypatch.setitem(sys.modules, "pynvml", driver(iter(answers)))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: SimpleNamespace(uuid="1"))
    monkeypatch.setattr("longbench_cli.measure.nvml._PERIOD_S", 3600)  # looks at the start and at the end only
    with NvmlPeak("cuda") as nvml:
        pass
    return nvml.peak_bytes


def test_the_peak_is_the_highest_look(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peak_of(monkeypatch, [5, 3]) == 5
    assert peak_of(monkeypatch, [5, 9]) == 9


@pytest.mark.parametrize("answers", [[None], [5, None]])
def test_a_device_that_does_not_answer_has_no_peak_and_harms_nothing(
    monkeypatch: pytest.MonkeyPatch, answers: list[int | None]
) -> None:
    assert peak_of(monkeypatch, answers) is None


def test_no_driver_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with NvmlPeak("cuda") as nvml:
        pass
    assert nvml.peak_bytes is None

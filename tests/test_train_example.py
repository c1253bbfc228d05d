"""The training example: it learns, and a resumed run is the run it resumes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

EXAMPLE = Path(__file__).parents[1] / "examples" / "train.py"
SMALL = ["--dim", "32", "--depth", "2", "--heads", "2", "--seq", "64", "--batch", "4", "--every", "1"]
SEGMENTS = ["--segments", "16,64", "--dilations", "1,4"]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_example"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 200)
    return path


def config(example: ModuleType) -> object:
    return example.Config(32, 2, 2, 64, 4, [16, 64], [1, 4], 5e-3, 0)


def test_the_loss_falls_on_text_that_was_not_trained_on(example: ModuleType, text: Path) -> None:
    training = example.Training.start(config(example), "cpu")
    data, held_out = example.read_bytes(text, 64)
    before = training.validate(held_out)
    assert before == pytest.approx(8, abs=1)  # 256 bytes, nothing known
    for _ in range(40):
        training.advance(data)
    assert training.validate(held_out) < before - 3


def test_a_resumed_run_sees_and_learns_what_an_uninterrupted_one_does(
    example: ModuleType, text: Path, tmp_path: Path
) -> None:
    data, _ = example.read_bytes(text, 64)
    whole = example.Training.start(config(example), "cpu")
    losses = [whole.advance(data) for _ in range(6)]
    first = example.Training.start(config(example), "cpu")
    again = [first.advance(data) for _ in range(3)]
    first.save(tmp_path / "half.pt")
    second = example.Training.resume(tmp_path / "half.pt", "cpu")
    assert second.step == 3
    again += [second.advance(data) for _ in range(3)]
    assert again == losses
    for name, parameter in whole.model.state_dict().items():
        assert torch.equal(parameter, second.model.state_dict()[name])


def test_the_command_trains_saves_resumes_and_writes(
    example: ModuleType, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "run.pt"
    command = [str(text), *SMALL, *SEGMENTS, "--minutes", "0.001", "--sample", "5", "--checkpoint", str(checkpoint)]
    example.main(command)
    printed = capsys.readouterr().out
    assert "held out" in printed
    assert "The " in printed
    steps = example.Training.resume(checkpoint, "cpu").step
    assert steps >= 1
    example.main(command)
    assert f"going on with {checkpoint} at step {steps}" in capsys.readouterr().out
    resumed = example.Training.resume(checkpoint, "cpu")
    assert [entry["step"] for entry in resumed.history] == list(range(1, resumed.step + 1))


def test_an_empty_prompt_is_refused_before_training(example: ModuleType, text: Path) -> None:
    with pytest.raises(SystemExit, match=r"--prompt is empty: give at least one byte to go on from, or --sample 0"):
        example.main([str(text), *SMALL, *SEGMENTS, "--minutes", "0", "--prompt", ""])


def test_a_file_that_is_too_short_is_refused_in_one_line(example: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("short")
    with pytest.raises(SystemExit, match=r"5 bytes are too few: give a file of at least 650"):
        example.read_bytes(path, 64)

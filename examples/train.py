"""Train a small LongNet on the bytes of any text file, on a CPU or a GPU, and watch the loss fall.

    python examples/train.py book.txt --minutes 5
    python examples/train.py book.txt --minutes 5 --checkpoint run.pt     # again: goes on where it stopped

The last tenth of the file is never trained on; its loss is the one to believe. Every batch is a function of
(seed, step) alone, so a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor

from attention_impls import LongNetTransformer, generate

BYTES = 256
HELD_OUT = 10
"""One part in this many of the file, its end, is for validation."""

VALIDATION_BATCHES = 4
WARM_UP_STEPS = 50


@dataclass(frozen=True)
class Config:
    """What a model is made of and trained with; a checkpoint goes on with its own."""

    dim: int
    depth: int
    heads: int
    seq: int
    batch: int
    segments: list[int]
    dilations: list[int]
    learning_rate: float
    seed: int

    def model(self, device: str) -> LongNetTransformer:
        torch.manual_seed(self.seed)
        return LongNetTransformer(
            BYTES, self.dim, self.depth, self.heads, self.dim // self.heads, 4, self.segments, self.dilations
        ).to(device)


@dataclass
class Training:
    """A model in training, and all that is needed to go on with it."""

    config: Config
    model: LongNetTransformer
    optimiser: torch.optim.Optimizer
    step: int
    history: list[dict[str, float]]

    @classmethod
    def start(cls, config: Config, device: str) -> Training:
        model = config.model(device)
        return cls(config, model, torch.optim.AdamW(model.parameters(), config.learning_rate), 0, [])

    @classmethod
    def resume(cls, path: Path, device: str) -> Training:
        saved: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        training = cls.start(Config(**saved["config"]), device)
        training.model.load_state_dict(saved["model"])
        training.optimiser.load_state_dict(saved["optimiser"])
        training.step, training.history = saved["step"], saved["history"]
        return training

    def save(self, path: Path) -> None:
        """Write beside, then rename: a checkpoint is whole or it is the last one."""
        beside = path.with_name(path.name + ".part")
        torch.save(
            {
                "config": asdict(self.config),
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "history": self.history,
            },
            beside,
        )
        beside.replace(path)

    def advance(self, data: Tensor) -> float:
        """One step on a batch of ``data``; returns its loss in bits a byte."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * min(1.0, (self.step + 1) / WARM_UP_STEPS)
        loss = self.loss(batch_of(data, self.config, self.step))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        return loss.item() / math.log(2)

    def loss(self, windows: Tensor) -> Tensor:
        """Mean cross-entropy in nats of each next byte of (batch, seq + 1) windows."""
        device = next(self.model.parameters()).device
        windows = windows.to(device, torch.int64)
        logits = self.model(windows[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())

    @torch.no_grad()
    def validate(self, held_out: Tensor) -> float:
        """Bits a byte on windows of ``held_out`` that are the same every time."""
        losses = [self.loss(batch_of(held_out, self.config, -1 - i)).item() for i in range(VALIDATION_BATCHES)]
        return sum(losses) / len(losses) / math.log(2)


def batch_of(data: Tensor, config: Config, step: int) -> Tensor:
    """(batch, seq + 1) windows of ``data``, drawn from (seed, step)."""
    generator = torch.Generator().manual_seed((config.seed << 32) + step % (1 << 32))
    starts = torch.randint(len(data) - config.seq, (config.batch,), generator=generator)
    return torch.stack([data[start : start + config.seq + 1] for start in starts.tolist()])


def read_bytes(path: Path, seq: int) -> tuple[Tensor, Tensor]:
    """The file's bytes, as those to train on and those held out."""
    try:
        data = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    except (OSError, ValueError) as error:
        sys.exit(f"train.py: {path}: {error}")
    cut = len(data) - len(data) // HELD_OUT
    if len(data) - cut <= seq:
        least = HELD_OUT * (seq + 1)
        sys.exit(f"train.py: {path}: {len(data)} bytes are too few: give a file of at least {least}")
    return data[:cut], data[cut:]


def train(training: Training, data: Tensor, held_out: Tensor, minutes: float, every: int) -> Iterator[dict[str, float]]:
    """Train for ``minutes``; yield the losses every so many steps, and once at the end."""
    begin, seen = time.perf_counter(), 0
    losses: list[float] = []
    while time.perf_counter() - begin < minutes * 60:
        losses.append(training.advance(data))
        seen += training.config.batch * training.config.seq
        if training.step % every == 0:
            yield _entry(training, losses, held_out, seen / (time.perf_counter() - begin))
            losses = []
    if losses:
        yield _entry(training, losses, held_out, seen / (time.perf_counter() - begin))


def _entry(training: Training, losses: list[float], held_out: Tensor, rate: float) -> dict[str, float]:
    entry = {
        "step": float(training.step),
        "train": sum(losses) / len(losses),
        "held_out": training.validate(held_out),
        "tokens_per_second": rate,
    }
    training.history.append(entry)
    return entry


def sample(training: Training, prompt: str, count: int) -> str:
    """``prompt`` and ``count`` bytes that the model goes on with."""
    device = next(training.model.parameters()).device
    tokens = torch.tensor([list(prompt.encode())], device=device)
    written = generate(training.model, tokens, count, temperature=0.8, top_k=40)[0]
    return bytes(written.tolist()).decode(errors="replace")


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    if options.sample and not options.prompt:
        sys.exit("train.py: --prompt is empty: give at least one byte to go on from, or --sample 0")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    checkpoint: Path | None = options.checkpoint
    if checkpoint is not None and checkpoint.exists():
        training = Training.resume(checkpoint, device)
        print(f"going on with {checkpoint} at step {training.step}")
    else:
        names = ("dim", "depth", "heads", "seq", "batch", "segments", "dilations", "learning_rate", "seed")
        training = Training.start(Config(**{name: getattr(options, name) for name in names}), device)
    data, held_out = read_bytes(options.file, training.config.seq)
    parameters = sum(p.numel() for p in training.model.parameters())
    print(f"{parameters:,} parameters, {len(data):,} bytes to train on, {len(held_out):,} held out, on {device}")
    try:
        for entry in train(training, data, held_out, options.minutes, options.every):
            print(
                f"step {entry['step']:6.0f}   train {entry['train']:.3f}   held out {entry['held_out']:.3f} bits a byte"
                f"   {entry['tokens_per_second']:,.0f} tokens/s",
                flush=True,
            )
            if checkpoint is not None:
                training.save(checkpoint)
    except KeyboardInterrupt:
        print(f"stopped at step {training.step}")
    if checkpoint is not None:
        training.save(checkpoint)
    if options.sample:
        print(sample(training, options.prompt, options.sample))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="text to train on, read as bytes")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long to train (default: 5)")
    parser.add_argument("--checkpoint", type=Path, help="save here; go on from it if it is there")
    parser.add_argument("--every", type=int, default=20, help="steps between lines and checkpoints (default: 20)")
    parser.add_argument("--sample", type=int, default=200, metavar="N", help="bytes to write at the end (default: 200)")
    parser.add_argument("--prompt", default="The ", help="what the sample begins with")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--seq", type=int, default=1024, help="tokens of a window (default: 1024)")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--segments", type=_numbers, default=[128, 512, 2048], help="default: 128,512,2048")
    parser.add_argument("--dilations", type=_numbers, default=[1, 4, 16], help="default: 1,4,16")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()

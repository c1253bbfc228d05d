"""Every benchmark that fits this machine, as one table.

python -m benchmarks.run [--device cpu] [--torchscale PATH] [--out FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from benchmarks import agreement, efficiency, overhead, peer, startup, telemetry
from benchmarks.table import Row, print_rows
from longbench_cli.measure.machine import cpu_model


def rows(device: str, torchscale: str | None) -> Iterator[Row]:
    """Claims in the order of the documentation; the ones about the command line on the CPU only."""
    if device == "cpu":
        yield from startup.rows()
        yield from telemetry.rows(telemetry.ROUNDS)
    yield from agreement.rows(device)
    yield from overhead.rows(device)
    yield from efficiency.rows(device, efficiency.ROUNDS)
    if torchscale is not None:
        yield from peer.rows(torchscale, device, peer.ROUNDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--torchscale", metavar="PATH", help="a checkout of torchscale, to compare with")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="also write the table to FOLDER/benchmarks.txt")
    args = parser.parse_args()
    name = torch.cuda.get_device_name() if args.device == "cuda" else cpu_model()
    lines: list[str] = []

    def emit(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    emit(f"{args.device}: {name}, {psutil.cpu_count(logical=False)} cores, torch {torch.__version__}")
    print_rows(rows(args.device, args.torchscale), emit)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "benchmarks.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

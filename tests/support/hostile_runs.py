"""Run files from a stranger: the same text wherever a string, or a name, is free."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from model_values import filled

from longbench_cli.measure.types import VerdictKind
from longbench_cli.record.schema import FailureStatus, MeasuredPoint, RunHeader, UnmeasuredPoint

LENGTHS = [1024 << step for step in range(5)]


def hostile_lines(text: str, **header: Any) -> list[dict[str, Any]]:
    """A header, two curves with a point of each verdict, and a point of each failure, every field of them filled."""
    environment = {"cpu": text, "gpus": [{"name": text}], text: {text: [text]}}
    lines = [filled(RunHeader, text, **({"environment": environment} | header))]
    for length, verdict in zip(LENGTHS, get_args(VerdictKind), strict=True):
        for impl, kind in ((text, "op"), ("vanilla", "op"), (f"{text}model", "model")):
            time = 1e3 * length
            times = {"iterations_ns": [int(time)] * 8, "median_ns": time, "ci95_ns": [0.9 * time, 1.1 * time]}
            case = {"impl": impl, "kind": kind, "seq_len": length, "device": "cuda"}
            point = filled(MeasuredPoint, text, key=f"{text}{impl}{length}", session=0, case=case, latency=times)
            point["verdict"]["kind"] = verdict
            lines.append(point)
    for length, status in enumerate(get_args(FailureStatus), 2 * LENGTHS[-1]):
        case = {"impl": text, "seq_len": length, "device": "cuda"}
        lines.append(filled(UnmeasuredPoint, text, key=f"{text}{status}", status=status, case=case))
    return lines


def write_lines(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path

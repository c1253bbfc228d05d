"""How a sweep is measured: limits, precision, seed. Recorded with every run."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from longbench_cli.sweep.axes import MAX_NUMBER

Cache = Literal["cold", "hot"]
Graphs = Literal["auto", "on", "off"]
Order = Literal["interleaved", "sequential"]

LONGEST_TIME = 1e9
"""Seconds, some 30 years: a limit above it is a slip of the pen, and no machine counts its nanoseconds."""

_MOST_ITERATIONS = 10**9
_MOST_THREADS = 4096
_LARGEST_SEED = 2**63 - 1


class Settings(BaseModel):
    """Measurement settings, resolved once and passed down unchanged."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    max_point_time: float | None = Field(
        default=None,
        gt=0,
        le=LONGEST_TIME,
        description="prune a point predicted to take longer, seconds per iteration; 60 if null, but no limit "
        "for an implementation that can be streamed",
    )
    max_time: float = Field(default=10.0, gt=0, le=LONGEST_TIME, description="sampling time of a point, seconds")
    precision: float = Field(
        default=0.01, gt=0, lt=1, description="stop when the 95% interval of the median is within this share"
    )
    min_iterations: int = Field(
        default=10, ge=1, le=_MOST_ITERATIONS, description="least iterations where one is under 1 s"
    )
    max_iterations: int = Field(default=10_000, ge=1, le=_MOST_ITERATIONS, description="most iterations of a point")
    seed: int = Field(default=0, ge=0, le=_LARGEST_SEED, description="seed of the inputs")
    threads: int | None = Field(
        default=None, ge=1, le=_MOST_THREADS, description="CPU threads; all physical cores if null"
    )
    timeout: float | None = Field(
        default=None,
        gt=0,
        le=LONGEST_TIME,
        description="kill a point after this many seconds; from the predicted time if null",
    )
    stream: bool = Field(default=False, description="stream every point that can be, though it may fit in memory")
    chunk: int | None = Field(
        default=None, ge=1, le=MAX_NUMBER, description="most tokens of a chunk; from free memory if null"
    )
    cache: Cache | None = Field(
        default=None,
        description="cold: overwrite the last-level cache before each iteration; hot: do not; "
        "cold on GPUs and hot on CPUs if null",
    )
    graphs: Graphs = Field(
        default="auto", description="replay iterations as CUDA graphs: auto where launching takes longer than running"
    )
    order: Order = Field(
        default="interleaved",
        description="interleaved: the implementations of one length take turns; sequential: one after another",
    )
    sessions: int = Field(default=1, ge=1, le=100, description="fresh processes that each case is measured in")
    no_prune: bool = Field(default=False, description="start every point, whatever is predicted of it")

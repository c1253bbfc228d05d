"""What measuring a case yields: plain typed values, ready to be recorded."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

StoppedBy = Literal["converged", "max_time", "max_iterations"]


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Latency(_Value):
    """Times of one pass, in nanoseconds, in the order they were taken; none is dropped."""

    iterations_ns: list[int] = Field(min_length=1)
    median_ns: float
    ci95_ns: tuple[float, float] | None = Field(
        description="95% interval of the median by order statistics; null below 6 iterations"
    )
    mean_ns: float
    p95_ns: float
    noise: float | None = Field(
        ge=0, description="half width of ci95 over the median; of the whole spread below 6 iterations; null for one"
    )
    stopped_by: StoppedBy


class Memory(_Value):
    """Bytes. ``peak_bytes`` is what the pass needed at its highest, inputs included."""

    input_bytes: int
    peak_bytes: int | None
    nvml_peak_bytes: int | None = Field(description="device-wide peak while timing; null without NVML")


class Telemetry(_Value):
    """What else the machine did while the iterations ran."""

    threads: int
    involuntary_switches: int | None = Field(description="times the kernel took the processor away")
    steal_share: float | None = Field(description="share of processor time taken by the hypervisor")


class CostRecord(_Value):
    """Work of the pass; actual and dense-equivalent counts, never one under the other's name."""

    flops: int
    dense_flops: int
    io_bytes: int
    comm_bytes: int


class Streaming(_Value):
    """How a streamed point was run; its latency is attention alone, of whole passes over the stream."""

    chunk: int = Field(description="tokens of a chunk")
    sequences: int | None = Field(
        default=None, description="sequences of a chunk; null in older files, where it was the whole batch"
    )
    chunks: int
    generation_ns: int = Field(description="making the inputs of the first pass; no part of the latency")
    recompute_ns: int = Field(description="the forward that a streamed backward repeats; no part of the latency")


class Verification(_Value):
    """How the result compared with the float64 oracle on the sampled rows."""

    status: Literal["passed", "failed", "skipped"]
    rows: int
    max_error: float | None
    tolerance: float

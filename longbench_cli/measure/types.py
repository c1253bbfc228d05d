"""What measuring a case yields: plain typed values, ready to be recorded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

StoppedBy = Literal["converged", "max_time", "max_iterations"]
VerdictKind = Literal["trusted", "noisy", "throttled", "contended", "drifting"]


def _time(value: float) -> float:
    """No clock says less than a thousandth of a nanosecond, nor that 30 years have passed: ratios stay finite."""
    if not (value == 0 or 1e-3 <= value <= 1e18):
        raise ValueError("no time that a clock shows")
    return value


def _interval(value: tuple[float, float]) -> tuple[float, float]:
    low, high = value
    if not (0 <= low <= high <= 1e150 and (low == 0 or low >= 1e-150)):
        raise ValueError("no interval of times")
    return value


_Count = Annotated[int, Field(ge=0, le=10**200)]
"""A number of things; beyond the bound it would not fit in a float."""

_Whole = Annotated[int, Field(ge=-(10**200), le=10**200)]
"""What a machine tells: a counter that was reset may have gone back, which is no reason to lose a point."""

_Nanoseconds = Annotated[float, AfterValidator(_time)]


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Latency(_Value):
    """Times of one pass, in nanoseconds, in the order they were taken; none is dropped, but of a copy that says so."""

    iterations_ns: list[Annotated[int, Field(ge=0, le=10**18)]] = Field(min_length=1)
    median_ns: _Nanoseconds
    ci95_ns: Annotated[tuple[float, float], AfterValidator(_interval)] | None = Field(
        description="95% interval of the median by order statistics; null below 6 independent iterations"
    )
    mean_ns: _Nanoseconds
    p95_ns: _Nanoseconds
    noise: float | None = Field(
        ge=0, description="half width of ci95 over the median; of the whole spread without ci95; null for one iteration"
    )
    stopped_by: StoppedBy
    effective_iterations: float | None = Field(
        default=None, ge=0, le=1e18, description="independent iterations that these are worth, by their autocorrelation"
    )
    interval: Literal["within", "between"] = Field(
        default="within", description="ci95 holds within one process, or between fresh processes (sessions)"
    )
    sessions: _Count = Field(default=1, ge=1, description="fresh processes that the iterations are from")
    turns: list[Annotated[int, Field(ge=1, le=10**18)]] | None = Field(
        default=None, description="iterations recorded on each set of inputs, in order; null in older files"
    )
    omitted: _Count = Field(
        default=0, description="of a slim copy: iterations left out; the figures here are those of all"
    )

    @property
    def count(self) -> int:
        """How many iterations were timed, kept here or not."""
        return len(self.iterations_ns) + self.omitted


class Timing(_Value):
    """How an iteration was timed."""

    cache: Literal["cold", "hot"] = Field(description="cold: the last-level cache is overwritten before each")
    graph: bool = Field(description="replayed as a CUDA graph")
    graph_refused: str | None = Field(default=None, description="why there is no graph, where one was wanted")
    blocking_start: bool = Field(description="the device was held until all was launched: launch gaps do not count")
    host_median_ns: float | None = Field(
        description="median time the host took to launch an iteration; null where it works itself"
    )


class Verdict(_Value):
    """Whether the latency is to be trusted, and why it may not be."""

    kind: VerdictKind
    reasons: list[str] = Field(description="one line each; empty if trusted")


class Memory(_Value):
    """Bytes. ``peak_bytes`` is what the pass needed at its highest, inputs included."""

    input_bytes: _Count
    peak_bytes: _Count | None
    nvml_peak_bytes: _Count | None = Field(description="device-wide peak while timing; null without NVML")
    reserved_peak_bytes: _Count | None = Field(
        default=None, description="peak of what torch's caching allocator held on the GPU; null on a CPU"
    )
    nvml_process_peak_bytes: _Count | None = Field(
        default=None, description="this process's peak on the device while timing; null without NVML"
    )


class Span(_Value):
    """Least, median and greatest of what was sampled while iterations ran."""

    low: float
    median: float
    high: float


class OtherProcess(_Value):
    """Somebody else on the machine or the device."""

    pid: _Whole
    name: str | None
    cpu_share: float | None = Field(default=None, description="of all processor time that this process could use")
    gpu_bytes: _Whole | None = None


class CpuTelemetry(_Value):
    """The processors while iterations ran."""

    rss_peak_bytes: _Whole | None = Field(description="peak resident set of this process")
    frequency_mhz: Span | None = Field(description="mean over the processors of the affinity, over time")
    governor: str | None
    affinity: list[int] | None = Field(description="processors that this process may run on")
    others_share: float | None = Field(
        description="share of the affinity's processor time that other processes took while iterations ran"
    )
    others: list[OtherProcess] = Field(default_factory=list, description="who took most of it, at most 5")
    voluntary_switches: _Whole | None
    energy_j: float | None = Field(description="RAPL, all packages, while iterations ran")


class GpuTelemetry(_Value):
    """The GPU while iterations ran. Null is what the device or its driver does not tell."""

    sm_clock_mhz: Span | None
    memory_clock_mhz: Span | None
    power_w: Span | None
    energy_j: float | None = Field(description="by the device's cumulative counter, while iterations ran")
    temperature_c: Span | None
    utilisation: Span | None = Field(description="share of time in which a kernel ran, 0 to 1")
    memory_utilisation: Span | None = Field(description="share of time in which memory was read or written, 0 to 1")
    throttled: dict[str, float] | None = Field(
        description="clock event reason to the share of iterations in which it was seen"
    )
    ecc_corrected: _Whole | None = Field(description="errors while iterations ran")
    ecc_uncorrected: _Whole | None = Field(description="errors while iterations ran")
    remapped_rows: _Whole | None = Field(description="of the device's life")
    remap_pending: bool | None
    pcie_rx_bytes: _Whole | None
    pcie_tx_bytes: _Whole | None
    nvlink_rx_bytes: _Whole | None
    nvlink_tx_bytes: _Whole | None
    others: list[OtherProcess] | None = Field(description="other processes on the device")


class PerIteration(_Value):
    """What the samples say of single iterations, in their order; only where one lasts several samples."""

    sm_clock_mhz: list[float | None] | None = None
    energy_j: list[float | None] | None = None
    others_share: list[float | None] | None = None


class Telemetry(_Value):
    """What else the machine did while the iterations ran."""

    threads: _Whole
    involuntary_switches: _Whole | None = Field(description="times the kernel took the processor away")
    steal_share: float | None = Field(description="share of processor time taken by the hypervisor")
    samples: _Whole = Field(default=0, description="how often the machine was looked at")
    period_ms: float | None = Field(default=None, description="time between two looks")
    cpu: CpuTelemetry | None = None
    gpu: GpuTelemetry | None = None
    joules_per_iteration: float | None = None
    joules_per_token: float | None = None
    per_iteration: PerIteration | None = None
    missing: dict[str, str] = Field(
        default_factory=dict, description="what could not be read, and why; each is told once in a run file"
    )


class CostRecord(_Value):
    """Work of the pass; actual and dense-equivalent counts, never one under the other's name."""

    flops: _Count
    dense_flops: _Count
    io_bytes: _Count
    comm_bytes: _Count


class Streaming(_Value):
    """How a streamed point was run; its latency is attention alone, of whole passes over the stream."""

    chunk: _Count = Field(description="tokens of a chunk")
    sequences: _Count | None = Field(
        default=None, description="sequences of a chunk; null in older files, where it was the whole batch"
    )
    chunks: _Count
    generation_ns: _Count = Field(description="making the inputs of the first pass; no part of the latency")
    recompute_ns: _Count = Field(description="the forward that a streamed backward repeats; no part of the latency")


class Verification(_Value):
    """How the result compared with the float64 oracle on the sampled rows."""

    status: Literal["passed", "failed", "skipped"]
    rows: _Count
    max_error: Annotated[float, Field(allow_inf_nan=True)] | None
    tolerance: float


class CollectiveCount(_Value):
    """Collectives of one kind in one iteration, as one rank sees them; bytes as ``distributed/traffic.py`` has them."""

    calls: _Count
    size_bytes: _Count = Field(description="by nccl-tests' definition of size")
    sent_bytes: _Count = Field(description="that must leave this rank")
    received_bytes: _Count = Field(description="that must come to this rank")


class RankRecord(_Value):
    """One rank of a point of several; the point's own latency is, iteration by iteration, that of the slowest."""

    rank: int = Field(ge=0)
    host: str | None
    device: str = Field(description="cpu, or the GPU's index and name")
    threads: _Count
    tokens: _Count = Field(description="of the sequence, or of its share of the batch")
    pairs: _Count | None = Field(description="(batch, head, query, key) pairs of a forward; null for a model")
    iterations_ns: list[Annotated[int, Field(ge=0, le=10**18)]]
    median_ns: _Nanoseconds
    compute_ns: _Nanoseconds | None = Field(description="median of the pass with its collectives left out")
    peak_bytes: _Count | None
    traffic: dict[str, CollectiveCount] = Field(description="counted in one iteration, by kind of collective")
    telemetry: Telemetry | None


class Bandwidth(_Value):
    """One kind of collective alone, at the pass's mean size, and the greatest that this point saw of it at any size."""

    kind: str
    ranks: _Count
    size_bytes: _Count = Field(description="of one call, by nccl-tests' definition")
    time_ns: _Nanoseconds = Field(description="median of one call")
    algorithm_bytes_per_s: float = Field(ge=0, description="size over time")
    bus_bytes_per_s: float = Field(ge=0, description="algorithm bandwidth times nccl-tests' factor")
    peak_size_bytes: _Count
    peak_bus_bytes_per_s: float = Field(ge=0)


class Communication(_Value):
    """What the ranks of a point exchanged, and what it cost."""

    algorithm: str = Field(description="ring, zigzag, ulysses, allgather, gather, data")
    shares: Literal["sequence", "batch"]
    received_bytes: _Count = Field(description="by all ranks together in one iteration; as predicted, or no record")
    received_bytes_most: _Count = Field(description="by the rank that receives most")
    full_ns: _Nanoseconds = Field(description="median of the pass; this and the next two are taken in turns")
    compute_ns: _Nanoseconds = Field(description="median of the pass with its collectives left out")
    communication_ns: _Nanoseconds = Field(description="median of its collectives alone, in their order")
    exposed_ns: _Nanoseconds = Field(description="full less compute, not below 0: communication that nothing hides")
    overlap: float | None = Field(
        description="1 - exposed / communication, from 0 to 1; null where there is no communication"
    )
    straggler_spread: float = Field(
        ge=0, description="median over iterations of (slowest - fastest rank) / slowest rank"
    )
    imbalance: float | None = Field(description="analytic: most pairs of a rank over the mean, less 1; null for models")
    imbalance_measured: float = Field(description="longest compute_ns of a rank over the mean, less 1")
    bandwidth: list[Bandwidth]

"""How a sweep is measured: limits, precision, seed. Recorded with every run."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Measurement settings, resolved once and passed down unchanged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_point_time: float | None = Field(
        default=None,
        gt=0,
        description="prune a point predicted to take longer, seconds per iteration; 60 if null, but no limit "
        "for an implementation that can be streamed",
    )
    max_time: float = Field(default=10.0, gt=0, description="sampling time of a point, seconds")
    precision: float = Field(
        default=0.01, gt=0, lt=1, description="stop when the 95% interval of the median is within this share"
    )
    min_iterations: int = Field(default=10, ge=1, description="least iterations where one is under 1 s")
    max_iterations: int = Field(default=10_000, ge=1, description="most iterations of a point")
    seed: int = Field(default=0, ge=0, description="seed of the inputs")
    threads: int | None = Field(default=None, ge=1, description="CPU threads; all physical cores if null")
    timeout: float | None = Field(
        default=None, gt=0, description="kill a point after this many seconds; from the predicted time if null"
    )
    stream: bool = Field(default=False, description="stream every point that can be, though it may fit in memory")
    chunk: int | None = Field(default=None, ge=1, description="most tokens of a chunk; from free memory if null")

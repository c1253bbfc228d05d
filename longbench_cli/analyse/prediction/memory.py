"""The cost model of memory: the peak of the rank that needs most, resident or streamed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from attention_impls.api import Implementation
from longbench_cli.analyse.prediction.drift import Drift, Place, Sample, errors_of_predicting, learn_drift
from longbench_cli.analyse.prediction.estimate import Estimate, estimate
from longbench_cli.analyse.prediction.law import Features, Law, fit_law
from longbench_cli.record.schema import MeasuredPoint
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.predict import Execution
from longbench_cli.sweep.workload import workload

NOISE = 0.02
"""As a share: allocators round, and copies come and go."""

_LEAST_POINTS = 2


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """Bytes: a fixed part, and so many for each byte that ``execution`` has to hold by arithmetic."""

    law: Law
    drift: Drift
    execution: Execution

    def predict(self, case: Case, impl: Implementation) -> Estimate:
        """The peak of the rank that needs most."""
        features = _features(case, impl, self.execution)
        return estimate(self.law.at(features), self.drift.at(_place(case, features), NOISE))


def fit_memory(points: Sequence[MeasuredPoint], impl: Implementation, execution: Execution) -> MemoryModel | None:
    """The model of the ``points`` of that execution; None if fewer than 2 of them say what they held."""
    seen = [(point, peak) for point in points if point.execution == execution and (peak := peak_of(point))]
    if len(seen) < _LEAST_POINTS:
        return None
    features = [_features(point.case, impl, execution) for point, _ in seen]
    peaks = [float(peak) for _, peak in seen]
    places = [_place(point.case, of) for (point, _), of in zip(seen, features, strict=True)]
    noises = [NOISE] * len(seen)

    def logs(count: int, law: Law) -> list[float]:
        return [math.log(peak / law.at(of)) for of, peak in zip(features[:count], peaks[:count], strict=True)]

    def refit(count: int) -> tuple[list[float], float] | None:
        if count < _LEAST_POINTS:
            return None
        *before, last = logs(count + 1, fit_law(features[:count], peaks[:count]))
        return before, last

    law = fit_law(features, peaks)
    samples = [Sample(*parts) for parts in zip(places, logs(len(seen), law), noises, strict=True)]
    return MemoryModel(law, learn_drift(samples, errors_of_predicting(places, noises, refit)), execution)


def peak_of(point: MeasuredPoint) -> int | None:
    """Bytes of the rank that held most, if that was measured."""
    ranks = [rank.peak_bytes for rank in point.ranks or [] if rank.peak_bytes]
    return max(ranks) if ranks else point.memory.peak_bytes


def _place(case: Case, features: Features) -> Place:
    """By what a process holds: that is what its allocator sees, whatever N and heads it is of, and the other ranks."""
    _, held = features
    return Place((math.log2(held),), math.log2(case.world_size))


def _features(case: Case, impl: Implementation, execution: Execution) -> Features:
    """Once, and the bytes of all tensors of a rank; a stream holds chunks, whatever all of its inputs come to."""
    whole = workload(case, impl)
    return (1.0, float(whole.peak_bytes if execution == "resident" else whole.input_bytes))

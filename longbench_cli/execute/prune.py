"""Decides from what the sweep has seen so far whether a point is worth starting."""

from __future__ import annotations

import math

from longbench_cli.execute.outcome import Outcome
from longbench_cli.sweep.plan import PlannedPoint
from longbench_cli.sweep.predict import Execution, execution_of, prune_reason
from longbench_cli.sweep.settings import Settings

_NEAR = 64
"""Most times the work of a measured point that its time may be scaled by: the fixed costs of a point of
1k tokens, scaled to 1b, would be hours."""


class Evidence:
    """Measured times by curve; proven shortages of memory by curve and by how the point was run."""

    def __init__(self) -> None:
        self._measured: dict[str, list[tuple[int, float]]] = {}
        self._too_big: dict[tuple[str, Execution], PlannedPoint] = {}

    def learn(self, point: PlannedPoint, outcome: Outcome) -> None:
        """Remember what came of ``point``."""
        curve = point.case.curve
        if (seconds := outcome.median_seconds) is not None:
            self._measured.setdefault(curve, []).append((point.cost.flops, seconds))
        elif outcome.status == "oom":
            how = (curve, outcome.execution)
            known = self._too_big.get(how)
            if known is None or point.predicted_bytes < known.predicted_bytes:
                self._too_big[how] = point

    def seconds(self, point: PlannedPoint) -> float:
        """Predicted time of an iteration, in seconds.

        Scaled by floating-point operations from the nearest point measured on the same curve; the
        plan's prediction while there is none within a factor of 64.
        """
        measured = self._measured.get(point.case.curve, [])
        ratios = [(point.cost.flops / flops, seconds) for flops, seconds in measured if flops and point.cost.flops]
        near = [(max(ratio, 1 / ratio), ratio * seconds) for ratio, seconds in ratios]
        distance, predicted = min(near, default=(math.inf, 0.0))
        return predicted if distance <= _NEAR else point.predicted_seconds

    def prune_reason(self, point: PlannedPoint, settings: Settings, free_bytes: int | None) -> str | None:
        """Why ``point`` should not be started; None if it should. ``free_bytes`` is None while unknown.

        A resident point that ran out of memory proves nothing of one that is streamed, nor the reverse.
        """
        if settings.no_prune:
            return None
        too_big = self._too_big.get((point.case.curve, execution_of(point, settings, free_bytes)))
        if too_big is not None and point.predicted_bytes >= too_big.predicted_bytes:
            return f"{too_big.key} ran out of memory, and this needs as much or more"
        return prune_reason(point, settings, free_bytes, self.seconds(point))

"""Why telemetry is null, told once in a run file and not with every point."""

from __future__ import annotations

from collections.abc import Iterable

from longbench_cli.record.loading import RecordedPoint
from longbench_cli.record.schema import MeasuredPoint


class MissingOnce:
    """Remembers the reasons that ``earlier`` points of the file tell, and those of each point from then on."""

    def __init__(self, earlier: Iterable[RecordedPoint]) -> None:
        self._told: set[tuple[str, str]] = set()
        for point in earlier:
            self._told.update(_reasons(point).items())

    def drop_told(self, point: RecordedPoint) -> RecordedPoint:
        """``point`` without the reasons that were told before it."""
        reasons = _reasons(point)
        new = {field: reason for field, reason in reasons.items() if (field, reason) not in self._told}
        self._told.update(new.items())
        if not isinstance(point, MeasuredPoint) or point.telemetry is None or new == reasons:
            return point
        telemetry = point.telemetry.model_copy(update={"missing": new})
        return point.model_copy(update={"telemetry": telemetry})


def _reasons(point: RecordedPoint) -> dict[str, str]:
    return point.telemetry.missing if point.telemetry is not None else {}

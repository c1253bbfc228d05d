"""A reason is told with the first point of a file that has it, and not again."""

from __future__ import annotations

from sample_runs import make_case, measured, unmeasured

from longbench_cli.measure.types import Telemetry
from longbench_cli.record.missing_once import MissingOnce
from longbench_cli.record.schema import MeasuredPoint


def point(length: int, **missing: str) -> MeasuredPoint:
    telemetry = Telemetry(threads=1, involuntary_switches=3, steal_share=None, missing=missing)
    return measured(make_case(length=length), 1e6, telemetry=telemetry)


def told(once: MissingOnce, of: MeasuredPoint) -> dict[str, str]:
    line = once.drop_told(of)
    assert isinstance(line, MeasuredPoint)
    assert line.telemetry is not None
    assert line.telemetry.involuntary_switches == 3
    assert line.latency == of.latency
    return line.telemetry.missing


def test_once_and_again_only_if_it_is_another_reason() -> None:
    once = MissingOnce([])
    assert told(once, point(1024, power="Not Supported")) == {"power": "Not Supported"}
    assert told(once, point(2048, power="Not Supported", ecc="No")) == {"ecc": "No"}
    assert told(once, point(4096, power="GPU is lost", ecc="No")) == {"power": "GPU is lost"}
    assert told(once, point(8192)) == {}


def test_what_an_earlier_session_told_is_known() -> None:
    earlier = [unmeasured(make_case(), "oom", "too big"), point(1024, power="Not Supported")]
    assert told(MissingOnce(earlier), point(2048, power="Not Supported")) == {}


def test_a_point_without_telemetry_passes() -> None:
    once = MissingOnce([])
    for line in (unmeasured(make_case(), "oom", "too big"), measured(make_case(), 1e6)):
        assert once.drop_told(line) is line

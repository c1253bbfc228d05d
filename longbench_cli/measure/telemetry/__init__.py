"""What else the machine did while a point was timed."""

from longbench_cli.measure.telemetry.throttle import LIMITING

__all__ = ["LIMITING"]

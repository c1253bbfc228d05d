"""The processors that this process may run on, as /proc and /sys tell of them."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from longbench_cli.measure.memory import reset_resident_peak, resident_peak_bytes
from longbench_cli.measure.telemetry.answers import Answers
from longbench_cli.measure.telemetry.counters import Counter
from longbench_cli.measure.telemetry.rapl import Rapl

_ASKED_OF = 16
"""Frequencies are read of at most so many processors, evenly spread: some kernels interrupt each that is asked."""

_STEAL = 7
_TIMES = 8  # user nice system idle iowait irq softirq steal; guest times are part of user's
_BUSY = (0, 1, 2, 5, 6)


class CpuReader:
    """Reads below ``root``; ``own_ns`` is the processor time of this process, or of all that is its own, in ns."""

    def __init__(
        self,
        root: Path,
        affinity: Sequence[int],
        answers: Answers,
        own_ns: Callable[[], int] = time.process_time_ns,
    ) -> None:
        self._proc, self._cpus = root / "proc", root / "sys/devices/system/cpu"
        self._affinity = affinity
        self._answers = answers
        self._own_ns = own_ns
        self._labels = {f"cpu{number}" for number in affinity}
        self._tick = os.sysconf("SC_CLK_TCK")
        self._rapl = answers.ask("cpu.energy_j", lambda: Rapl(root))

    def counters(self) -> dict[Counter, float]:
        """All that can be read now, of the processors in ``affinity`` together."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        found: dict[Counter, float] = {
            Counter.OWN_S: self._own_ns() / 1e9,
            Counter.VOLUNTARY: used.ru_nvcsw,
            Counter.INVOLUNTARY: used.ru_nivcsw,
        }
        times = self._answers.ask(Counter.BUSY_S, self._processor_times, Counter.STEAL_S)
        if times is not None:
            found[Counter.BUSY_S] = sum(times[place] for place in _BUSY) / self._tick
            found[Counter.STEAL_S] = times[_STEAL] / self._tick
        if self._rapl is not None:
            joules = self._answers.ask(Counter.CPU_J, self._rapl.joules)
            if joules is not None:
                found[Counter.CPU_J] = joules
        return found

    def _processor_times(self) -> list[int]:
        sums = [0] * _TIMES
        seen = False
        with (self._proc / "stat").open(encoding="ascii") as lines:
            for line in lines:
                if not line.startswith("cpu"):
                    break
                label, *times = line.split()
                if label in self._labels:
                    seen = True
                    sums = [total + int(ticks) for total, ticks in zip(sums, times[:_TIMES], strict=True)]
        if not seen:
            raise ValueError("/proc/stat does not list the processors of this process")
        return sums

    def frequency_mhz(self) -> float | None:
        """Mean over the processors now."""
        return self._answers.ask("cpu.frequency_mhz", self._frequency_mhz)

    def _frequency_mhz(self) -> float:
        asked = self._affinity[:: -(-len(self._affinity) // _ASKED_OF)]
        try:
            found = [int((self._cpus / f"cpu{number}/cpufreq/scaling_cur_freq").read_text()) / 1e3 for number in asked]
        except FileNotFoundError:
            found = self._frequencies_of_cpuinfo(set(asked))
        if not found:
            raise ValueError("neither cpufreq nor /proc/cpuinfo tells it")
        return sum(found) / len(found)

    def _frequencies_of_cpuinfo(self, asked: set[int]) -> list[float]:
        found, number = [], -1
        for line in (self._proc / "cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "processor":
                number = int(value)
            elif name.strip() == "cpu MHz" and number in asked:
                found.append(float(value))
        return found

    def governor(self) -> str | None:
        """Of the processors; several names with a slash between them where they differ."""

        def read() -> str:
            paths = [self._cpus / f"cpu{number}/cpufreq/scaling_governor" for number in self._affinity]
            return "/".join(sorted({path.read_text().strip() for path in paths}))

        return self._answers.ask("cpu.governor", read)

    def reset_peak(self) -> None:
        """Let the peak of the resident set begin anew."""
        self._answers.ask("cpu.rss_peak_bytes", lambda: reset_resident_peak(self._proc))

    def rss_peak_bytes(self) -> int | None:
        """Peak of this process's resident set since :meth:`reset_peak`."""
        return self._answers.ask("cpu.rss_peak_bytes", lambda: resident_peak_bytes(self._proc))

"""Processors as /proc and /sys tell of them: sums over the affinity, energy that wraps, and what is not told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fake_machine import write, write_rapl, write_times

from longbench_cli.measure.telemetry.answers import Answers
from longbench_cli.measure.telemetry.counters import Counter
from longbench_cli.measure.telemetry.cpu import CpuReader
from longbench_cli.measure.telemetry.rapl import Rapl


def test_busy_and_stolen_time_are_of_the_affinity_alone(tmp_path: Path) -> None:
    write_times(
        tmp_path,
        {
            0: [100] * 8,
            2: [1, 2, 3, 50, 60, 4, 5, 7],
            3: [10, 0, 0, 0, 0, 0, 0, 1],
        },
    )
    found = CpuReader(tmp_path, [2, 3], Answers(), own_ns=lambda: 4_500_000_000).counters()
    assert found[Counter.BUSY_S] == 1 + 2 + 3 + 4 + 5 + 10, "neither idle nor waiting nor stolen"
    assert found[Counter.STEAL_S] == 8
    assert found[Counter.OWN_S] == 4.5
    assert found[Counter.VOLUNTARY] >= 0
    assert found[Counter.INVOLUNTARY] >= 0


@pytest.mark.parametrize("stat", [None, "cpu  1 2\ncpu0 1 2\n", "cpu0 a b c d e f g h\n", "cpu9 1 1 1 1 1 1 1 1\n"])
def test_a_stat_that_does_not_tell_is_missing_with_a_reason(tmp_path: Path, stat: str | None) -> None:
    if stat is not None:
        write(tmp_path / "proc/stat", stat)
    answers = Answers()
    found = CpuReader(tmp_path, [0], answers).counters()
    assert not {Counter.BUSY_S, Counter.STEAL_S} & found.keys()
    for name in ("cpu.others_share", "steal_share"):
        assert len(answers.missing[name].splitlines()) == 1


def frequency(root: Path, affinity: list[int]) -> float | None:
    return CpuReader(root, affinity, Answers()).frequency_mhz()


def test_frequency_is_the_mean_of_cpufreq(tmp_path: Path) -> None:
    for number, khz in enumerate([1_000_000, 2_000_000, 9_000_000]):
        write(tmp_path / f"sys/devices/system/cpu/cpu{number}/cpufreq/scaling_cur_freq", f"{khz}\n")
    assert frequency(tmp_path, [0, 1]) == 1500


def test_frequency_is_of_cpuinfo_where_there_is_no_cpufreq(tmp_path: Path) -> None:
    blocks = [f"processor\t: {number}\ncpu MHz\t\t: {1000 * (number + 1)}.5\n" for number in range(3)]
    write(tmp_path / "proc/cpuinfo", "\n".join(blocks))
    assert frequency(tmp_path, [1, 2]) == 2500.5
    write(tmp_path / "proc/cpuinfo", "processor\t: 0\nBogoMIPS\t: 50\n")
    assert frequency(tmp_path, [0]) is None


def test_of_many_processors_a_few_are_asked(tmp_path: Path) -> None:
    """Those that are not asked have no file here: asking them would give no frequency at all."""
    for number in range(0, 256, 16):
        write(tmp_path / f"sys/devices/system/cpu/cpu{number}/cpufreq/scaling_cur_freq", "3000000\n")
    assert frequency(tmp_path, list(range(256))) == 3000


def test_governors_that_differ_are_all_named(tmp_path: Path) -> None:
    for number, name in enumerate(["powersave", "performance", "powersave"]):
        write(tmp_path / f"sys/devices/system/cpu/cpu{number}/cpufreq/scaling_governor", f"{name}\n")
    assert CpuReader(tmp_path, [0, 1, 2], Answers()).governor() == "performance/powersave"
    assert CpuReader(tmp_path, [0, 2], Answers()).governor() == "powersave"


def test_the_peak_of_memory_begins_anew(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/status", "VmPeak:\t 900 kB\nVmHWM:\t     512 kB\n")
    write(tmp_path / "proc/self/clear_refs", "")
    reader = CpuReader(tmp_path, [0], Answers())
    reader.reset_peak()
    assert (tmp_path / "proc/self/clear_refs").read_text() == "5"
    assert reader.rss_peak_bytes() == 512 * 1024


def test_a_peak_that_cannot_begin_anew_is_not_told(tmp_path: Path) -> None:
    """It may be of long before."""
    write(tmp_path / "proc/self/status", "VmHWM:\t     512 kB\n")
    (tmp_path / "proc/self/clear_refs").mkdir()
    answers = Answers()
    reader = CpuReader(tmp_path, [0], answers)
    reader.reset_peak()
    assert reader.rss_peak_bytes() is None
    assert "clear_refs" in answers.missing["cpu.rss_peak_bytes"]


def test_energy_is_of_all_packages_and_goes_on_when_a_counter_starts_again(tmp_path: Path) -> None:
    write_rapl(tmp_path, {"0": 90_000_000, "1": 1_000_000, "0:0": 10**9}, reach=100_000_000)
    write_rapl(tmp_path, {"2": 10**9}, name="psys")
    rapl = Rapl(tmp_path)
    assert rapl.joules() == 0
    write_rapl(tmp_path, {"0": 95_000_000, "1": 2_000_000, "0:0": 2 * 10**9}, reach=100_000_000)
    write_rapl(tmp_path, {"2": 2 * 10**9}, name="psys")
    assert rapl.joules() == 6
    write_rapl(tmp_path, {"0": 4_000_000, "1": 2_000_000}, reach=100_000_000)
    assert rapl.joules() == 15


def test_no_energy_where_there_is_none_or_it_may_not_be_read(tmp_path: Path) -> None:
    answers = Answers()
    assert Counter.CPU_J not in CpuReader(tmp_path, [0], answers).counters()
    assert answers.missing["cpu.energy_j"] == "no processor package in /sys/class/powercap"
    write_rapl(tmp_path, {"0": 1})
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").write_text("")
    answers = Answers()
    assert Counter.CPU_J not in CpuReader(tmp_path, [0], answers).counters()
    assert answers.missing["cpu.energy_j"]


def test_this_machine_answers() -> None:
    reader = CpuReader(Path("/"), sorted(os.sched_getaffinity(0)), Answers())
    before = reader.counters()
    assert sum(range(2_000_000)) > 0
    after = reader.counters()
    assert after[Counter.OWN_S] > before[Counter.OWN_S]
    assert after[Counter.BUSY_S] >= before[Counter.BUSY_S] > 0

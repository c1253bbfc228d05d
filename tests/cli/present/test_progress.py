"""What is shown while a sweep runs: every point once, within the terminal's height, the whole table at the end."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from attention_impls.pattern import Cost
from longbench_cli.execute.outcome import Progress
from longbench_cli.measure.types import CostRecord, Latency, Memory, Verification
from longbench_cli.present.point_cells import duration
from longbench_cli.present.progress import LiveDisplay, PlainDisplay
from longbench_cli.record.schema import MeasuredPoint, UnmeasuredPoint
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.plan import PlannedPoint


def a_case(seq_len: int, backend: str = "sdpa-flash") -> Case:
    return Case(
        impl="vanilla", backend=backend, pass_="fwd", seq_len=seq_len, batch=1, heads=8, kv_heads=8, head_dim=64,
        dtype="bfloat16", causal=False, world_size=1, device="cpu", options={},
    )  # fmt: skip


def planned(seq_len: int) -> PlannedPoint:
    case = a_case(seq_len, "auto")
    return PlannedPoint(case, case.key, {}, Cost(1, 1, 1), 1, 0.1, 1)


def measured(seq_len: int) -> MeasuredPoint:
    latency = Latency(
        iterations_ns=[2_000_000], median_ns=2_000_000.0, ci95_ns=(1_990_000.0, 2_010_000.0), mean_ns=2e6, p95_ns=2e6,
        noise=0.005, stopped_by="converged",
    )  # fmt: skip
    return MeasuredPoint(
        key=a_case(seq_len, "auto").key, case=a_case(seq_len), latency=latency, telemetry=None,
        memory=Memory(input_bytes=1, peak_bytes=3 * 2**20, nvml_peak_bytes=None),
        cost=CostRecord(flops=5_000_000_000, dense_flops=1, io_bytes=1, comm_bytes=0),
        verification=Verification(status="passed", rows=64, max_error=0.0, tolerance=0.1),
    )  # fmt: skip


def pruned(seq_len: int, reason: str) -> UnmeasuredPoint:
    return UnmeasuredPoint(key="k", case=a_case(seq_len, "auto"), status="pruned", reason=reason)


def screen(height: int = 24, *, terminal: bool = True) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, height=height, color_system=None)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def shown(console: Console, display: LiveDisplay) -> str:
    with console.capture() as capture:
        console.print(display.render())
    return capture.get()


def test_plain_lines_carry_number_time_rate_memory_and_verdict() -> None:
    console = screen(terminal=False)
    display = PlainDisplay(console, total=12, done=1)
    display.finished(measured(8192))
    display.finished(pruned(2**30, "predicted 3 h per iteration [see here]"))
    lines = text_of(console).splitlines()
    assert len(lines) == 2
    for word in ("[ 2/12]", "vanilla", "8k", "fwd", "2.000 ms", "±0.5%", "2.50 TFLOP/s", "3.00 MiB", "passed"):
        assert word in lines[0]
    for word in ("[ 3/12]", "1b", "pruned", "predicted 3 h per iteration [see here]"):
        assert word in lines[1]


def test_a_clock_too_coarse_for_a_rate_leaves_it_out() -> None:
    console, point = screen(terminal=False), measured(8192)
    unseen = point.latency.model_copy(update={"median_ns": 0.0})
    PlainDisplay(console, total=1, done=0).finished(point.model_copy(update={"latency": unseen}))
    assert "TFLOP/s" not in text_of(console)


def test_a_long_sweep_shows_its_last_rows_and_fits_the_screen() -> None:
    console = screen(height=20)
    display = LiveDisplay(console, total=100, done=0)
    for number in range(1, 61):
        display.started(planned(number * 1024))
        display.finished(measured(number * 1024))
    display.finished(pruned(2**30, "a reason that is very long " * 20))
    display.started(planned(2**20))
    text = shown(console, display)
    assert len(text.splitlines()) < 20
    assert "60k" in text
    assert " 1k " not in text
    assert "61/100 points" in text


def test_the_running_point_and_its_progress_are_shown() -> None:
    console = screen()
    display = LiveDisplay(console, total=4, done=0)
    display.started(planned(16384))
    display.progress(Progress(30, 100, "iterations", 12.5))
    text = shown(console, display)
    for word in ("vanilla 16k fwd", "30/100 iterations", "12.5 iterations/s"):
        assert word in text
    display.finished(measured(16384))
    assert "iterations" not in shown(console, display)


def test_the_time_left_is_that_of_points_that_ran_not_of_pruned_ones() -> None:
    now = [0.0]
    console = screen()
    display = LiveDisplay(console, total=10, done=2, clock=lambda: now[0])
    assert "left" not in shown(console, display)
    for _ in range(2):
        display.started(planned(1024))
        now[0] += 30.0
        display.finished(measured(1024))
    display.finished(pruned(2**30, "too slow"))
    assert "about 2 min 30 s left" in shown(console, display)  # 5 points of 30 s


def test_the_complete_table_is_printed_at_the_end_reasons_whole() -> None:
    console = screen(height=12)
    display = LiveDisplay(console, total=31, done=0)
    reason = "predicted to need " + "quite a lot of memory and then " * 5 + "some more"
    with display.live():
        for number in range(1, 31):
            display.finished(measured(number * 1024))
        display.finished(pruned(2**30, reason))
    end = text_of(console)[text_of(console).rindex("impl") :]
    rows = [line for line in end.splitlines() if line.startswith("vanilla")]
    assert len(rows) == 31
    assert "".join(reason.split()) in "".join(
        line[rows[-1].index("predicted") :].replace(" ", "") for line in end.splitlines()[-10:]
    ).replace("\n", "")


def test_the_table_is_printed_when_the_run_is_interrupted() -> None:
    console = screen()
    display = LiveDisplay(console, total=3, done=0)

    def interrupted() -> None:
        with display.live():
            display.finished(measured(1024))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "vanilla" in text_of(console)


def test_long_times_read_well() -> None:
    assert [duration(value) for value in (4.4, 75, 4000)] == ["4 s", "1 min 15 s", "1 h 6 min"]


def test_a_long_point_says_how_far_it_is_in_a_log_too() -> None:
    console = screen(terminal=False)
    display = PlainDisplay(console, total=2, done=0)
    display.started(planned(1024))
    for chunk in range(1, 41):
        display.progress(Progress(chunk, 40, "chunks", 0.5))
    display.progress(Progress(7, None, "iterations", None))
    display.finished(measured(1024))
    lines = text_of(console).splitlines()
    assert len(lines) == 10  # nine tenths on the way, and the point itself
    assert lines[0].split("  ")[-3:] == ["4/40 chunks", "0.5 chunks/s", "about 1 min 12 s left"]
    assert lines[-1].startswith("[1/2] vanilla")

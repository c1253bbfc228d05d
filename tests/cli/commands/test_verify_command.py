"""``longbench verify``: what it examines, what it prints, and how it exits."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from attention_impls import api
from attention_impls.api import Implementation, get_implementation
from longbench_cli import app
from longbench_cli.commands import run_checks
from longbench_cli.commands.verify import verify
from longbench_cli.measure.checks.suite import MODEL_CHECKS, OP_CHECKS
from longbench_cli.sweep.fields import IMPL_OPTIONS

SMALL = ("--seq", "64", "--heads", "4", "--head-dim", "8", "--device", "cpu")


class Verify:
    """``verify(*words)``: exit code, standard output, standard error."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as leaving:
            app.main(["verify", *words])
        printed = self._capsys.readouterr()
        assert isinstance(leaving.value.code, int)
        return leaving.value.code, printed.out, printed.err


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verify:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "fixtures")
    return Verify(capsys)


def as_json(printed: tuple[int, str, str]) -> list[dict[str, Any]]:
    assert printed[2] == ""
    found = json.loads(printed[1])
    assert isinstance(found, list)
    return found


def test_what_is_right_exits_0_and_says_which_checks_do_not_apply(call: Verify) -> None:
    code, out, err = call("dilated", "--segments", "16,64", "--dilations", "1,4", *SMALL)
    assert (code, err) == (0, "")
    full, causal = out.split("\n\n")[:2]
    assert full.startswith("dilated: not causal, N = 64, 4 heads of 8, float32 on cpu sdpa-flash, ")
    assert causal.startswith("dilated: causal, ")
    for block in (full, causal):
        assert "FAILED" not in block
        assert all(f" {name} " in block for name in OP_CHECKS)
    assert "  does not apply  future             causal\n" in causal + "\n"
    assert out.endswith("30 passed, 0 failed, 4 do not apply\n")


def test_what_is_wrong_exits_1_and_names_the_check_where_and_by_how_much(call: Verify) -> None:
    code, out, _ = call("defective_ports:zero_padding_attended,defective_ports:segmented", "--causal", "false", *SMALL)
    assert code == 1
    (line,) = [line for line in out.splitlines() if line.startswith("  FAILED")]
    assert line.split()[1] == "ragged"
    assert "at N = 1, 2, 17, 23, 63, 65 of 1, 2, 17, 23, 63, 65: output: " in line
    assert "error" in line
    last = out.splitlines()[-1]
    assert last.startswith("FAILED defective_ports:zero_padding_attended: not causal, N = 64,")
    assert last.endswith(": ragged")


def test_json_holds_every_check_of_every_case(call: Verify) -> None:
    printed = call(
        "vanilla", "defective_ports:left_dilated", "--json", *SMALL, "--kv-heads", "2", "--dtype", "fp32,bf16"
    )
    reports = as_json(printed)
    assert printed[0] == 1
    assert [(report["impl"], report["case"]["dtype"], report["case"]["causal"]) for report in reports] == [
        (impl, dtype, causal)
        for impl in ("vanilla", "defective_ports:left_dilated")
        for dtype in ("float32", "bfloat16")
        for causal in (False, True)
    ]
    for report in reports:
        assert report["case"]["kv_heads"] == 2
        assert [check["name"] for check in report["checks"]] == list(OP_CHECKS)
        failed = [check["name"] for check in report["checks"] if check["outcome"] == "failed"]
        assert failed == ([] if report["impl"] == "vanilla" else ["shape"])
        assert report["passed"] is not bool(failed)


def test_without_a_length_one_is_chosen_for_each_implementation(call: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    from longbench_cli.measure.checks import report

    monkeypatch.setattr(report, "OP_CHECKS", {"shape": lambda subject: "looked at"})
    reports = as_json(call("vanilla", "dilated", "--causal", "true", "--device", "cpu", "--json"))
    assert [report["case"]["seq_len"] for report in reports] == [1024, 8192]
    assert {report["case"]["heads"] for report in reports} == {4}
    assert {report["case"]["head_dim"] for report in reports} == {32}


def test_a_model_is_examined_as_one_and_once(call: Verify) -> None:
    code, out, err = call("examined_models:decoding", "--json", "--seq", "30", "--device", "cpu")
    (report,) = as_json((code, out, err))
    assert code == 0
    assert [check["name"] for check in report["checks"]] == list(MODEL_CHECKS)


def test_all_is_every_known_implementation(call: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, Implementation] = {name: get_implementation(name) for name in ("vanilla", "dilated")}
    monkeypatch.setattr(api, "implementations", lambda: known)
    from longbench_cli.measure.checks import report

    monkeypatch.setattr(report, "OP_CHECKS", {"shape": lambda subject: "looked at"})
    for words in (("all",), (), ("all", "dilated")):
        reports = as_json(call(*words, "--causal", "true", "--json", *SMALL))
        assert [report["impl"] for report in reports] == ["vanilla", "dilated"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("vanila",), "unknown implementation 'vanila': choose from "),
        (("vanilla", "--segments", "16", "--dilations", "1"), "--segments: none of this sweep's implementations"),
        (("vanilla,",), "IMPL 'vanilla,': expected values separated by single commas"),
        (("vanilla", "--seq", "0"), "--seq '0': 0 is not between 1 and"),
        (("dilated", "--segments", "16,32", "--dilations", "1"), "--segments, --dilations: segments and dilations"),
        (("vanilla", "--backend", "sdpa-cudnn"), "--backend sdpa-cudnn: back end 'sdpa-cudnn' runs on cuda only"),
        (("vanilla", "--backend", "nonsense"), "--backend nonsense: back end 'nonsense' is unknown: choose "),
    ],
)  # fmt: skip
def test_a_slip_is_one_line_and_exit_2(call: Verify, words: tuple[str, ...], says: str) -> None:
    code, _, err = call(*words, "--device", "cpu")
    assert code == 2
    assert err.startswith(f"longbench: {says}")
    assert err.count("\n") == 1


def test_a_device_that_is_not_there_is_refused_as_run_refuses_it(call: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_checks, "visible_gpus", lambda: 0)
    message = "longbench: --device cuda: no GPU found: --device cpu measures on the processor\n"
    assert call("vanilla", "--device", "cuda", "--seq", "64") == (2, "", message)


def test_every_option_of_an_implementation_can_be_given() -> None:
    of_several_ranks = {"parallel"}  # and verify has one
    assert set(IMPL_OPTIONS) - of_several_ranks <= set(inspect.signature(verify).parameters)

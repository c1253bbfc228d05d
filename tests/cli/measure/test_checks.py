"""The checks of ``longbench verify``: what is right passes all that apply, and each known defect fails its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from multiset import multiplicity

from attention_impls.api import get_implementation
from attention_impls.dilated.pattern import DilatedPattern
from attention_impls.dilated.schedule import Schedule, named_schedule
from attention_impls.pattern import FullPattern, Pattern
from attention_impls.shape import AttentionShape
from attention_impls.sparse.pattern import window_pattern
from longbench_cli.measure.checks.declared import Declared
from longbench_cli.measure.checks.lengths import LONGEST, SHORTEST, acting_length, ragged_lengths
from longbench_cli.measure.checks.report import Report, examine
from longbench_cli.measure.checks.suite import MODEL_CHECKS, OP_CHECKS
from longbench_cli.sweep.case import Case


@pytest.fixture(autouse=True)
def fixtures_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "fixtures")


def look(impl: str, narrower: bool = False, **change: Any) -> Report:
    values: dict[str, Any] = {
        "impl": impl, "backend": "auto", "pass": "fwd", "seq_len": 96, "batch": 1, "heads": 4, "kv_heads": 4,
        "head_dim": 8, "dtype": "float32", "causal": False, "world_size": 1, "device": "cpu", "options": {},
    }  # fmt: skip
    return examine(Case.model_validate(values | change), seed=0, narrower=narrower)


def outcomes(report: Report, outcome: str) -> dict[str, str]:
    return {result.name: result.detail for result in report.results if result.outcome == outcome}


MIXED = {"segments": [16, 64], "dilations": [1, 4]}


@pytest.mark.parametrize(
    ("impl", "change", "not_applicable"),
    [
        ("vanilla", {}, {"empty-rows", "causal"}),
        ("vanilla", {"causal": True, "kv_heads": 2}, {"empty-rows", "future"}),
        ("vanilla", {"dtype": "bfloat16", "kv_heads": 1}, {"empty-rows", "causal"}),
        ("dilated", {"options": MIXED, "causal": True}, {"empty-rows", "future"}),
        ("dilated", {"options": MIXED | {"offsets": "grouped"}, "kv_heads": 2}, {"empty-rows", "causal"}),
        ("dilated", {"options": {"segments": [32], "dilations": [3]}}, {"causal"}),
        (
            "dilated",
            {"options": MIXED | {"mixing_gradient": "detached"}},
            {"empty-rows", "causal", "finite-difference"},
        ),
        ("defective_ports:segmented", {}, {"empty-rows", "causal", "vanilla"}),
        ("defective_ports:phase", {"causal": True}, {"future", "vanilla"}),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_right_passes_every_check_that_applies(
    impl: str, change: dict[str, Any], not_applicable: set[str]
) -> None:
    report = look(impl, **change)
    assert [result.name for result in report.results] == list(OP_CHECKS)
    assert outcomes(report, "failed") == {}
    assert outcomes(report, "not-applicable").keys() == not_applicable
    assert all(result.detail for result in report.results)


ALSO_WRONG = {"oracle", "scale", "ragged"}
"""Values that are wrong anywhere are so too where the oracle looks."""


@pytest.mark.parametrize(
    ("port", "causal", "failing", "says"),
    [
        (
            "divided_by_its_sum",
            False,
            {"ones", "future", "heads", "pattern", "gradient", *ALSO_WRONG},
            "ones: with v = 1 the output",
        ),
        (
            "divided_by_its_sum",
            True,
            {"causal", "ones", "heads", "pattern", "gradient", *ALSO_WRONG},
            "causal: .* change with",
        ),
        (
            "heads_never_written",
            False,
            {"written", "ones", "pattern", "heads", "gradient", *ALSO_WRONG},
            "written: NaN.*: 96 of 384 rows, all of head 3, first at head 3, query 0",
        ),
        (
            "segments_of_heads",
            False,
            {"pattern", "future", "heads", "gradient", *ALSO_WRONG},
            r"pattern: should see but does not: \d+ pairs, first head 0, query 1, key 0",
        ),
        (
            "segments_of_heads",
            False,
            {"pattern", "future", "heads", "gradient", *ALSO_WRONG},
            "heads: head 3 moves with head 2's",
        ),
        ("left_dilated", False, {"shape"}, r"shape: the output is \(1, 48, 4, 8\), but q is \(1, 96, 4, 8\)"),
        (
            "minus_infinity",
            True,
            {"empty-rows", "ones", *ALSO_WRONG},
            "empty-rows: -inf instead of 0 where a query sees no key: 192 of 384 rows, first at head 1, query 0",
        ),
        ("zero_padding_attended", False, {"ragged"}, "ragged: at N = 1, 2, 17, 37, 95, 97 of 1, 2, 17, 37, 95, 97: "),
        (
            "mask_at_the_wrong_corner",
            True,
            {"vanilla", "pattern", "gradient", *ALSO_WRONG},
            r"pattern: should see but does not: .*, first head 0, query 16, key 1",
        ),
        ("writes_its_inputs", False, {"inputs"}, "inputs: the call writes to its inputs: q"),
        ("fixed_scale", True, {"scale"}, "scale: at head dim 64: output: .* differ from the float64 oracle"),
        (
            "half_a_gradient",
            False,
            {"gradient", "finite-difference"},
            "finite-difference: dk: along a random direction",
        ),
        ("mixes_the_batch", False, {"batch"}, "batch: a sequence moves with its place"),
        (
            "only_eights",
            False,
            {"ragged"},
            "ragged: at N = 1, 2, .*: raises AssertionError: sequence length must be div",
        ),
    ],
)
def test_each_defect_of_a_port_fails_its_checks_and_no_other(
    port: str, causal: bool, failing: set[str], says: str
) -> None:
    failed = outcomes(look(f"defective_ports:{port}", causal=causal), "failed")
    assert failed.keys() - {"determinism"} == failing, failed  # what nobody wrote may differ from call to call
    assert any(re.search(says, f"{name}: {detail}") for name, detail in failed.items()), failed


def test_zeros_attended_are_hidden_by_a_causal_mask() -> None:
    assert outcomes(look("defective_ports:zero_padding_attended", causal=True), "failed") == {}


def test_the_wrong_corner_is_right_where_nothing_is_masked() -> None:
    assert outcomes(look("defective_ports:mask_at_the_wrong_corner"), "failed") == {}


def test_without_an_output_of_the_right_shape_nothing_else_is_judged() -> None:
    report = look("defective_ports:left_dilated")
    assert outcomes(report, "not-applicable").keys() == OP_CHECKS.keys() - {"shape"}
    assert not outcomes(report, "passed")


def test_a_back_end_that_is_not_there_leaves_nothing_examined() -> None:
    report = look("vanilla", backend="sdpa-cudnn")
    assert (report.examined, report.failed) == (False, ())
    assert report.results[0].detail == "declined: back end 'sdpa-cudnn' runs on cuda only"


def test_the_report_says_what_was_used() -> None:
    report = look("vanilla")
    assert (report.case.backend, report.case.dtype) == ("sdpa-flash", "float32")


def test_bfloat16_is_taken_where_nothing_wider_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import defective_ports

    def half_only(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool) -> torch.Tensor:
        if q.dtype != torch.bfloat16:
            raise RuntimeError("expected scalar type BFloat16")
        return defective_ports._attend(q, k, v, causal)

    monkeypatch.setattr(defective_ports, "half_only", half_only, raising=False)
    report = look("defective_ports:half_only", narrower=True)
    assert (report.case.dtype, report.failed) == ("bfloat16", ())
    assert "finite-difference" in outcomes(report, "not-applicable")
    kept = look("defective_ports:half_only")
    assert outcomes(kept, "failed") == {"shape": "raises RuntimeError: expected scalar type BFloat16"}


@pytest.mark.parametrize(
    ("model", "failing", "says"),
    [
        (
            "louder",
            {"as-run", "reference", "ragged"},
            "reference: differ from the reference: 48 of 48 positions, first",
        ),
        ("sees_the_next", {"as-run", "reference", "ragged", "causal"}, "causal: move with the later token 6: 1 of 6 "),
        ("transposed", {"shape"}, r"shape: the logits are \(1, 11, 40\), not \(batch, seq, vocab\) = \(1, 40, 11\)"),
        ("infinite", {"shape"}, "shape: .* of 40 positions not written"),
        ("mixes_the_batch", {"as-run", "reference", "ragged", "batch"}, "batch: move with the neighbour"),
        ("incomplete_blocks", {"ragged"}, "ragged: at N = 1 differ from the reference"),
        ("half_a_gradient", {"as-run", "finite-difference"}, "finite-difference: the loss's slope .* error 0.5"),
        ("idle", {"parameters"}, "parameters: the loss of 24 tokens does not depend on scale"),
        (
            "miscounted",
            {"parameters"},
            "parameters: the module has 240 learned parameters, and the model's account 239",
        ),
        ("one_seed", {"determinism"}, "determinism: another seed gives the same logits"),
        (
            "forgetful",
            {"decode"},
            r"decode: decoding differs from the full forward: \d+ of 48 positions, first at .* position 8",
        ),
    ],
)
def test_each_mistake_of_a_model_fails_its_checks(model: str, failing: set[str], says: str) -> None:
    failed = outcomes(look(f"examined_models:{model}", causal=True, seq_len=40), "failed")
    assert failed.keys() == failing, failed
    assert any(re.search(says, f"{name}: {detail}") for name, detail in failed.items()), failed


@pytest.mark.parametrize("model", ["right", "decoding"])
def test_a_right_model_passes_every_check_that_applies(model: str) -> None:
    report = look(f"examined_models:{model}", causal=True, seq_len=40)
    assert [result.name for result in report.results] == list(MODEL_CHECKS)
    assert outcomes(report, "failed") == {}
    assert outcomes(report, "not-applicable").keys() == ({"decode"} if model == "right" else set())


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("branches", [((8, 1), (16, 3)), ((4, 2),)])
def test_a_pattern_written_out_says_what_its_ranges_say(branches: tuple[tuple[int, int], ...], causal: bool) -> None:
    pattern = DilatedPattern(AttentionShape(21, heads=4, kv_heads=4, causal=causal), Schedule(branches))
    counts, declared = multiplicity(pattern).long(), Declared(pattern)
    assert torch.equal(declared.totals, counts.sum(-1).T)
    assert torch.equal(torch.stack([declared.times(key) for key in range(21)], -1), counts.transpose(0, 1))
    last = torch.where(counts > 0, torch.arange(21), -1).amax(-1)
    assert torch.equal(declared.last, last.T)
    alike = [[declared.alike(one, other) for other in range(4)] for one in range(4)]
    assert alike == [[torch.equal(counts[one], counts[other]) for other in range(4)] for one in range(4)]


def patterns(name: str, n: int) -> Pattern:
    shape = AttentionShape(n, heads=4, kv_heads=4)
    if name == "full":
        return FullPattern(shape)
    if name.startswith("window"):
        return window_pattern(shape, int(name.removeprefix("window")))
    return DilatedPattern(shape, named_schedule(name, n))


@pytest.mark.parametrize(
    ("name", "length"),
    [("full", SHORTEST), ("window100", SHORTEST), ("window3000", LONGEST), ("geometric", LONGEST), ("lm", LONGEST)],
)
def test_the_default_length_is_the_shortest_at_which_the_pattern_shows_all_it_does(name: str, length: int) -> None:
    assert acting_length(lambda n: patterns(name, n)) == length


def test_ragged_lengths_fit_no_block() -> None:
    assert ragged_lengths(8192) == [1, 2, 17, 2731, 8191, 8193]
    assert ragged_lengths(1) == [2, 17]
    for length in range(1, 200):
        found = ragged_lengths(length)
        assert length not in found
        assert {length - 1, length + 1} - {0} <= set(found)


def test_an_implementation_object_is_found_by_the_path_it_was_asked_for() -> None:
    assert get_implementation("examined_models:right").name == "examined_models:right"

"""An implementation examined at one case: on which back end, in which dtype, and what was found."""

from __future__ import annotations

from dataclasses import dataclass

from attention_impls.api import Unsupported, get_implementation
from longbench_cli.measure.checks.examined_attention import ExaminedAttention
from longbench_cli.measure.checks.examined_model import ExaminedModel
from longbench_cli.measure.checks.result import Result
from longbench_cli.measure.checks.suite import FIRST, MODEL_CHECKS, OP_CHECKS, run_checks
from longbench_cli.measure.pick import pick_backend
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.settings import Settings

NARROWER = "bfloat16"
_TRIED_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Report:
    """What was found at ``case``, whose back end and dtype are those that were really used."""

    case: Case
    results: tuple[Result, ...]

    @property
    def failed(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.outcome == "failed")

    @property
    def examined(self) -> bool:
        """Whether any check had something to say."""
        return any(result.outcome != "not-applicable" for result in self.results)


def examine(case: Case, seed: int, *, narrower: bool = False) -> Report:
    """Run every check of the case's kind; with ``narrower`` in bfloat16 if only that is taken, not the case's dtype."""
    tried = [case, case.model_copy(update={"dtype": NARROWER})] if narrower else [case]
    started: list[ExaminedAttention | ExaminedModel] = []
    declined: list[str] = []
    for one in tried:
        try:
            started.append(_start(one, seed))
        except Unsupported as reason:
            declined.append(" ".join(str(reason).split()))
    if not started:
        return Report(case, (Result(FIRST, "not-applicable", f"declined: {declined[0]}"),))
    subject = next((one for one in started if len(started) == 1 or _runs(one)), started[0])
    settled = subject.case.model_copy(update={"backend": subject.backend})
    if isinstance(subject, ExaminedModel):
        return Report(settled, tuple(run_checks(subject, MODEL_CHECKS)))
    return Report(settled, tuple(run_checks(subject, OP_CHECKS)))


def _start(case: Case, seed: int) -> ExaminedAttention | ExaminedModel:
    backend = pick_backend(case, Settings(seed=seed))
    kind = ExaminedAttention if get_implementation(case.impl).model is None else ExaminedModel
    return kind(case, backend, seed)


def _runs(subject: ExaminedAttention | ExaminedModel) -> bool:
    """Whether a few tokens go through, right or wrong."""
    length = min(subject.case.seq_len, _TRIED_TOKENS)
    try:
        if isinstance(subject, ExaminedModel):
            subject.module(subject.tokens(1, length))
        else:
            _ = subject.at(seq_len=length).out
    except Exception:  # whatever it says, it does not take them
        return False
    return True

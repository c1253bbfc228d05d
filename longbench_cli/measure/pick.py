"""Which back end `--backend auto` takes: the fastest that supports the case, by a short trial."""

from __future__ import annotations

from attention_impls.api import Unsupported, get_implementation
from attention_impls.kernels.base import Backend
from attention_impls.kernels.registry import get_backend, supported_backends
from longbench_cli.measure.clock import timer_for
from longbench_cli.measure.inputs import DTYPES
from longbench_cli.measure.subjects import subject_of
from longbench_cli.sweep.case import Case
from longbench_cli.sweep.settings import Settings

TRIAL_SEQ_LEN = 4096
_ROUNDS = 3
NO_BACKEND = "none"


def pick_backend(case: Case, settings: Settings) -> str:
    """The name of the back end that the case runs on; "none" if its implementation takes none.

    With several fused kernels to choose from, each runs the case's pass on at most 4096 tokens and
    the one with the fastest iteration is taken, timed as ``settings`` say but for graphs that are not
    required: the trial is too short to decide on them. Kernels that hold all scores are considered only
    where no fused one supports the inputs.

    Raises:
        Unsupported: the back end asked for cannot run here on such inputs, or none can.
    """
    if not get_implementation(case.impl).takes_backend:
        return NO_BACKEND
    if case.backend != "auto":
        return get_backend(case.backend, case.device, DTYPES[case.dtype], case.head_dim).name
    supported = supported_backends(case.device, DTYPES[case.dtype], case.head_dim)
    candidates = [b for b in supported if b.fused] or supported
    if not candidates:
        raise Unsupported(f"no back end takes {case.dtype} at head dim {case.head_dim} on {case.device}")
    if len(candidates) == 1:
        return candidates[0].name
    if settings.graphs == "auto":
        settings = settings.model_copy(update={"graphs": "off"})
    return min(candidates, key=lambda backend: _trial_ns(case, backend, settings)).name


def _trial_ns(case: Case, backend: Backend, settings: Settings) -> float:
    small = case.model_copy(update={"seq_len": min(case.seq_len, TRIAL_SEQ_LEN), "batch": 1})
    timer = timer_for(case.device, settings)
    try:
        subject = subject_of(small, backend.name, settings.seed)
        run = timer.bind(subject.work(subject.draw()))
        return min(run() for _ in range(_ROUNDS))
    except (RuntimeError, Unsupported):  # a kernel that claims support and fails is not the fastest
        return float("inf")


def one_rank_of(case: Case) -> Case:
    """One rank's part of the work, as a case of its own."""
    each = "batch" if get_implementation(case.impl).model is not None else "seq_len"
    share = max(1, getattr(case, each) // case.world_size)
    options = {name: value for name, value in case.options.items() if name != "parallel"}
    return case.model_copy(update={"world_size": 1, "options": options, each: share})

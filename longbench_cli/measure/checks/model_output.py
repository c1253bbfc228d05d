"""Checks of a model's logits: their shape, their values, and on which tokens they depend."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch

from attention_impls.api import Unsupported
from longbench_cli.measure.checks.examined_model import WIDE_TOLERANCE, ExaminedModel, refuse_difference
from longbench_cli.measure.checks.lengths import ragged_lengths
from longbench_cli.measure.checks.result import NotApplicable
from longbench_cli.measure.inputs import DTYPES
from longbench_cli.measure.model_passes import RunningModel
from longbench_cli.measure.model_verify import SEQUENCES, position_errors, verify_model
from longbench_cli.measure.verify import Wrong, poisoned_memory

DECODED = 8
"""Tokens decoded one by one; a prefix goes before them and a chunk comes after."""

REPEAT_TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 4e-2}
"""What kernels that add up in no fixed order may differ by."""


def logits_shape(subject: ExaminedModel) -> str:
    """Logits are (batch, seq, vocab), of the parameters' dtype, and all written and finite."""
    tokens = subject.tokens(1, subject.case.seq_len)
    with poisoned_memory(), torch.no_grad():
        logits = subject.module(tokens)
    wanted, dtype = (*tokens.shape, subject.vocab), DTYPES[subject.case.dtype]
    if not isinstance(logits, torch.Tensor) or logits.shape != wanted:
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise Wrong(f"the logits are {found}, not (batch, seq, vocab) = {wanted}")
    if logits.dtype != dtype:
        raise Wrong(f"the logits are {logits.dtype}, though the model was made in {dtype}")
    lost = ~torch.isfinite(logits[0]).all(-1)
    if lost.any():
        raise Wrong(
            f"{int(lost.sum())} of {len(lost)} positions not written or not finite, first {int(lost.nonzero()[0])}"
        )
    return f"{wanted}, {subject.case.dtype}, all finite"


def as_run(subject: ExaminedModel) -> str:
    """What `longbench run` looks at before it times: logits, gradients and causality in the case's own dtype."""
    case = subject.case.model_copy(update={"pass_": "fwd+bwd", "batch": SEQUENCES})
    if case.seq_len < 2:
        raise NotApplicable("a single token has no next one to predict")
    running = RunningModel(case, subject.make(DTYPES[case.dtype], subject.backend, subject.seed))
    verdict = verify_model(case, subject.model, running, subject.tokens(SEQUENCES, case.seq_len), subject.seed)
    if verdict.reason is not None:
        raise Wrong(verdict.reason)
    found = verdict.verification
    return f"{found.rows} positions and gradients, worst error {found.max_error:.2g} of {found.tolerance:.2g}"


def reference(subject: ExaminedModel) -> str:
    """In float64 the logits are those of the reference, which is written out apart from the module."""
    tokens = subject.tokens(SEQUENCES, subject.length)
    worst = refuse_difference("differ from the reference", subject.logits(tokens), subject.reference(tokens))
    return f"all positions of {subject.length} tokens in float64, worst error {worst:.2g} of {WIDE_TOLERANCE:g}"


def causal(subject: ExaminedModel) -> str:
    """With one token changed, no logits before it move, and its own do."""
    if subject.vocab < 2:
        raise NotApplicable("a single token id cannot be changed for another")
    tokens = subject.tokens(1, subject.length)
    before = subject.logits(tokens)
    places = sorted({0, subject.length // 4, subject.length // 2, subject.length - 1})
    for place in places:
        changed = tokens.clone()
        changed[:, place] = (changed[:, place] + 1) % subject.vocab
        after = subject.logits(changed)
        refuse_difference(f"move with the later token {place}", after[:, :place], before[:, :place])
        if torch.equal(after[:, place], before[:, place]):
            raise Wrong(f"the logits at position {place} do not depend on the token there")
    return f"tokens {', '.join(map(str, places))} changed, one at a time"


def decode(subject: ExaminedModel) -> str:
    """Decoding with a cache gives the logits of a full forward.

    For a module with ``cache(batch, tokens)``, which makes one for so many tokens, and ``forward(tokens,
    cache)``, whose logits are those of the tokens after the ones that the cache has seen.
    """
    module, n = subject.wide, subject.length
    make_cache: Any = getattr(module, "cache", None)
    if make_cache is None:
        raise NotApplicable("the module has no cache(batch, tokens) to decode with")
    tokens = subject.tokens(SEQUENCES, n)
    first = max(1, n - 2 * DECODED)
    stops = [0, first, *range(first + 1, min(first + DECODED + 1, n)), n]
    cache = make_cache(SEQUENCES, n)
    with torch.no_grad(), poisoned_memory():
        parts = [module(tokens[:, start:stop], cache) for start, stop in pairwise(stops) if stop > start]
    worst = refuse_difference("decoding differs from the full forward", torch.cat(parts, 1), subject.logits(tokens))
    return f"{first} tokens, {len(stops) - 3} one by one, then {n - stops[-2]}: worst error {worst:.2g}"


def ragged(subject: ExaminedModel) -> str:
    """At lengths that fit no block the logits are the reference's too."""
    lengths = [n for n in ragged_lengths(subject.length) if n <= subject.case.seq_len]
    declined = []
    for n in lengths:
        tokens = subject.tokens(SEQUENCES, n)
        try:
            actual = subject.logits(tokens)
        except Unsupported:
            declined.append(n)
            continue
        refuse_difference(f"at N = {n} differ from the reference", actual, subject.reference(tokens))
    if declined == lengths:
        raise NotApplicable(f"declines N = {', '.join(map(str, lengths))}")
    note = f"; declines {', '.join(map(str, declined))}" if declined else ""
    return f"N = {', '.join(str(n) for n in lengths if n not in declined)}{note}"


def batch(subject: ExaminedModel) -> str:
    """A sequence's logits are the same with another neighbour, and at another place of the batch."""
    tokens = subject.tokens(3, subject.length)
    first, second = subject.logits(tokens[:2]), subject.logits(tokens[1:])
    worst = refuse_difference("move with the neighbour in the batch", second[:1], first[1:])
    return f"second of a batch, then first beside another: the same within {worst:.2g}"


def determinism(subject: ExaminedModel) -> str:
    """Two calls agree, a model made anew from the seed agrees, and one from another seed does not."""
    dtype, tokens = DTYPES[subject.case.dtype], subject.tokens(1, subject.length)
    modules = {seed: subject.make(dtype, subject.backend, seed) for seed in (subject.seed, subject.seed + 1)}
    with torch.no_grad():
        one, again = subject.module(tokens), subject.module(tokens)
        anew, other = (modules[seed](tokens) for seed in (subject.seed, subject.seed + 1))
    if torch.equal(other, one):
        raise Wrong("another seed gives the same logits: parameters are not drawn from it")
    calls, models = (float(position_errors(logits, one).max()) for logits in (again, anew))
    for what, error in (("two calls on the same tokens", calls), ("two models of one seed", models)):
        if error > REPEAT_TOLERANCE[subject.case.dtype]:
            raise Wrong(f"{what} differ by {error:.3g}")
    return "two calls, and two models of one seed, agree" + (
        f" within {max(calls, models):.2g}" if calls + models else ""
    )

"""Verify a model, then time it: against its float64 reference where that is affordable, for causality everywhere.

The reference is written out plainly and costs O(N^2), so logits and gradients are compared at the length that the
model names for it, where each of its parts acts. At the full length every logit must be written and finite, every
gradient finite, and no logit may change with a later token. The numbers that attention inside a model gives at
full length are not compared with anything: its kernels are, as implementations of kind ``op``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, sqrt

import torch
from torch import Tensor
from torch.nn import Module

from attention_impls.api import Model
from longbench_cli.measure.model_passes import LOSS_SCALE, RunningModel, next_token_loss
from longbench_cli.measure.tolerance import (
    LOST_SUM_TOLERANCE,
    MODEL_GRADIENT_TOLERANCE,
    MODEL_LOGITS_TOLERANCE,
    scaled_error,
)
from longbench_cli.measure.verify import Together, Verified, Wrong, as_verification, poisoned_memory
from longbench_cli.sweep.case import Case

SEQUENCES = 2
"""Sequences compared with the reference, so that one cannot pass for another."""

_ROWS = 128
"""Positions looked at together: bounds the float64 copies of their logits."""

_CANCELLED = 1e-6
"""A gradient this much smaller than all of them is one that cancels to nothing, as that of a bias on keys does."""


@dataclass(frozen=True, slots=True)
class WholeBatch:
    """What the ranks of a batch check together.

    Attributes:
        together: makes one check on all of them.
        mean: makes a tensor (float64, on the CPU) the mean of all ranks', by another way than what is timed.
    """

    together: Together
    mean: Callable[[Tensor], None]


def verify_model(
    case: Case, model: Model, running: RunningModel, tokens: Tensor, seed: int, whole: WholeBatch | None = None
) -> Verified:
    """Run the case's pass on ``tokens`` (batch, seq) and on the beginning of them, and check what comes of it.

    Memory is poisoned first (what nobody writes is NaN). The rows of the verdict are the positions whose logits
    were compared, and the parameters whose gradients were. Of a ``whole`` batch ``tokens`` are this rank's: they
    are checked as if they were all, and then the reduced gradients against the mean of the ranks' references,
    which is that of the whole batch, since all ranks have as many sequences.
    """
    check = _ModelCheck(case, model, running, seed)

    def own() -> None:
        check.against_reference(tokens)
        check.at_full_length(tokens)

    try:
        with poisoned_memory():
            if whole is None:
                own()
            else:
                whole.together(own)
                whole.together(lambda: check.against_whole_batch(tokens, whole))
    except Wrong as wrong:
        return Verified(as_verification("failed", check.rows, wrong.error, check.limit), str(wrong))
    return Verified(as_verification("passed", check.rows, check.worst, check.tolerance), None)


class _ModelCheck:
    """The checks of one model.

    Attributes:
        rows: what was compared so far.
        worst: the error that came closest to its tolerance.
        tolerance: of that error.
        limit: what the error that is being looked at may be.
    """

    def __init__(self, case: Case, model: Model, running: RunningModel, seed: int) -> None:
        self._case, self._model, self._running, self._seed = case, model, running, seed
        self._backward = case.pass_ != "fwd"
        self._products = sum(p.dim() > 1 for p in running.module.parameters())
        self._vocab = model.vocab(case.options)
        self.rows, self.worst = 0, 0.0
        self.limit = self.tolerance = self._allowed(MODEL_LOGITS_TOLERANCE)

    def against_reference(self, tokens: Tensor) -> None:
        """Compare all logits, and all gradients if the pass has a backward, at the reference's length."""
        running, short = self._running, self._beginning(tokens)
        parameters = in_float64(running.module, self._backward)
        with torch.set_grad_enabled(self._backward):
            logits = running.module(short)
            self._check_written(logits, short)
            expected = self._reference(parameters, short)
        self._compare_logits(logits.detach(), expected.detach())
        if self._backward:
            truth = self._true_gradients(parameters, expected, short)
            self._compare_gradients(running.gradients(logits, short), truth, "the float64 reference")

    def against_whole_batch(self, tokens: Tensor, whole: WholeBatch) -> None:
        """Compare the reduced gradients with the mean of all ranks' references; every rank does at once."""
        if not self._backward:
            return
        running, short = self._running, self._beginning(tokens)
        own = running.gradients(running.module(short), short)
        reduced = dict(zip(own, running.reduced(list(own.values())), strict=True))
        parameters = in_float64(running.module, leaves=True)
        truth = self._true_gradients(parameters, self._reference(parameters, short), short)
        for name, gradient in truth.items():
            truth[name] = gradient.cpu().contiguous()
            whole.mean(truth[name])
        on_host = {name: None if gradient is None else gradient.cpu() for name, gradient in reduced.items()}
        self._compare_gradients(on_host, truth, "the float64 reference of the whole batch")

    def _beginning(self, tokens: Tensor) -> Tensor:
        case = self._case
        return tokens[:SEQUENCES, : self._model.reference_tokens(case.shape, case.options)].contiguous()

    def _reference(self, parameters: dict[str, Tensor], short: Tensor) -> Tensor:
        case = self._case
        logits: Tensor = self._model.load_reference()(parameters, short, case.shape, case.options)
        return logits

    def _true_gradients(self, parameters: dict[str, Tensor], logits: Tensor, short: Tensor) -> dict[str, Tensor]:
        """Of the loss of the reference's ``logits``, in each learned parameter."""
        learned = [parameters[name] for name in self._running.parameters]
        loss = next_token_loss(logits, short)
        truth = torch.autograd.grad(loss, learned, allow_unused=True, materialize_grads=True)
        return dict(zip(self._running.parameters, truth, strict=True))

    def at_full_length(self, tokens: Tensor) -> None:
        """Check that everything is written and finite, and that later tokens change no logit."""
        with torch.set_grad_enabled(self._backward):
            logits = self._running.module(tokens)
        self._check_written(logits, tokens)
        if self._backward:
            for name, gradient in self._running.gradients(logits, tokens).items():
                if gradient is not None and not bool(torch.isfinite(gradient).all()):
                    raise Wrong(f"gradient of {name}: not finite at {tokens.shape[1]} tokens")
        self._check_causal(tokens, logits.detach())

    def _allowed(self, tolerance: dict[str, float]) -> float:
        return tolerance[self._case.dtype] * sqrt(max(1, self._products))

    def _take(self, error: float, what: str) -> None:
        """Refuse an error above the limit, and remember one that came closer to it than those before."""
        if error > self.limit:
            raise Wrong(f"{what}: error {error:.3g} > {self.limit:.3g}", error)
        if error / self.limit >= self.worst / self.tolerance:
            self.worst, self.tolerance = error, self.limit

    def _check_written(self, logits: object, tokens: Tensor) -> None:
        wanted = (*tokens.shape, self._vocab)
        if not isinstance(logits, Tensor) or logits.shape != wanted:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise Wrong(f"the logits are {found}, not (batch, seq, vocab) = {wanted}")
        finite = torch.cat([torch.isfinite(rows).all(-1) for rows in _split(logits.detach())])
        if not bool(finite.all()):
            where = place(int((~finite).nonzero()[0]), tokens)
            raise Wrong(f"logits: not every one is written and finite at {tokens.shape[1]} tokens, first at {where}")

    def _compare_logits(self, logits: Tensor, expected: Tensor) -> None:
        errors = position_errors(logits, expected)
        self.rows += len(errors)
        wrong, worst_at = int((errors > self.limit).sum()), place(int(errors.argmax()), logits)
        self._take(
            float(errors.max()),
            f"logits: {wrong} of {len(errors)} positions differ from the float64 reference, worst at {worst_at}",
        )

    def _compare_gradients(self, actual: dict[str, Tensor | None], expected: dict[str, Tensor], truth_is: str) -> None:
        """Norm of the difference over the norm of the truth, for each parameter as a whole."""
        allowed = self._allowed(MODEL_GRADIENT_TOLERANCE)
        squares = sum(float(truth.square().sum()) for truth in expected.values())
        typical = (squares / max(1, sum(truth.numel() for truth in expected.values()))) ** 0.5
        scale = LOSS_SCALE[self._case.dtype]
        loses_sums = self._case.device == "cpu" and self._case.dtype != "float32"
        for name, truth in expected.items():
            found = actual[name]
            size = _root_mean_square(truth)
            difference = size if found is None else _root_mean_square(found.to(torch.float64) / scale - truth)
            error = _ratio(difference, size if size > _CANCELLED * typical else typical)
            self.limit = LOST_SUM_TOLERANCE if loses_sums and truth.dim() < 2 else allowed
            self.rows += 1
            self._take(error, f"gradient of {name}: differs from {truth_is}")

    def _check_causal(self, tokens: Tensor, logits: Tensor) -> None:
        """Change every token after a cut. Logits up to it may move as much as when nothing is changed.

        That is mostly not at all: the arithmetic of a position is its own. So a leak shows that is far smaller
        than what rounding admits, as one token among a million is. Nothing may move beyond the tolerance.
        """
        n = tokens.shape[1]
        if n < 2 or self._vocab < 2:
            return
        generator = torch.Generator().manual_seed(self._seed)
        cut = int(torch.randint(n // 4, max(n // 4 + 1, 3 * n // 4), (), generator=generator))
        changed = tokens.clone()
        shift = torch.randint(1, self._vocab, changed[:, cut + 1 :].shape, generator=generator)
        changed[:, cut + 1 :] = (changed[:, cut + 1 :] + shift.to(tokens.device)) % self._vocab
        before = logits[:, : cut + 1]
        with torch.no_grad():
            moved = self._running.module(changed)[:, : cut + 1]
            if torch.equal(moved, before):
                return
            again = self._running.module(tokens)[:, : cut + 1]
        self.limit = min(float(position_errors(again, before).max()), self._allowed(MODEL_LOGITS_TOLERANCE))
        errors = position_errors(moved, before)
        worst = float(errors.max())
        if worst > self.limit:
            first = int((errors > self.limit).nonzero()[0])
            raise Wrong(
                f"causal: {int((errors > self.limit).sum())} positions at or before {cut} change with tokens after "
                f"{cut}, first at {place(first, before)}: error {worst:.3g} > {self.limit:.3g}",
                worst,
            )


def in_float64(module: Module, leaves: bool) -> dict[str, Tensor]:
    """Its state dict in float64. Names that share a parameter share its copy, and so its gradient.

    What is no floating-point number stays as it is. With ``leaves`` the copies require gradients where theirs do.
    """
    copies: dict[int, Tensor] = {}
    state: dict[str, Tensor] = module.state_dict(keep_vars=True)
    for tensor in state.values():
        if id(tensor) not in copies:
            copy = tensor.detach().to(torch.float64) if tensor.is_floating_point() else tensor.detach()
            copies[id(tensor)] = copy.requires_grad_(leaves and tensor.requires_grad)
    return {name: copies[id(tensor)] for name, tensor in state.items()}


def _split(logits: Tensor) -> list[Tensor]:
    """Logits (batch, seq, vocab) as pieces (positions, vocab), in order."""
    return [rows for sequence in logits for rows in sequence.split(_ROWS)]


def position_errors(actual: Tensor, expected: Tensor) -> Tensor:
    """Scaled error of each position (batch * seq,)."""
    pairs = zip(_split(actual), _split(expected), strict=True)
    return torch.cat([scaled_error(rows, truth.to(torch.float64)) for rows, truth in pairs])


def place(index: int, like: Tensor) -> str:
    """Where position ``index`` of ``like`` (batch, seq, ...), counted through the batch, lies."""
    batch, position = divmod(index, like.shape[1])
    return f"batch {batch}, position {position}"


def _ratio(difference: float, size: float) -> float:
    """Infinite where it is no number."""
    if difference == 0:
        return 0.0
    return difference / size if size > 0 and isfinite(difference) else float("inf")


def _root_mean_square(x: Tensor) -> float:
    return float(x.square().mean().sqrt())

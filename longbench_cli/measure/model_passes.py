"""What one iteration of a model's pass is, and what of it is timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.functional import cross_entropy

from longbench_cli.sweep.case import Case

LOSS_SCALE = {"float32": 1.0, "float16": 4096.0, "bfloat16": 1.0}
"""The loss is multiplied by this before its backward: in fp16 the gradients of a mean over many tokens underflow
(Micikevicius et al., Mixed Precision Training, 2018, section 3.2). Adam's update does not depend on it."""

LEARNING_RATE = 1e-6
EPSILON = 1e-4
"""So small a step, and so large an epsilon, that thousands of steps on random tokens stay finite in fp16 too,
where the squares of small gradients underflow and would leave an update divided by epsilon alone."""

_IGNORED = -100

Gradients = Sequence[Tensor | None]
"""Of all learned parameters, in their order; None where the loss does not depend on one."""

Reduce = Callable[[Sequence[Tensor], Gradients], Gradients]
"""From all learned parameters and this rank's gradients to those of the whole batch."""


def next_token_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """Mean cross-entropy of every token but the first, given those before it; fp32 (fp64 for fp64 logits).

    Args:
        logits: (batch, seq, vocab).
        tokens: (batch, seq).
    """
    targets = tokens.roll(-1, 1)
    targets[:, -1] = _IGNORED  # nothing follows the last token; to cut its logits off would copy the others
    wide = torch.promote_types(logits.dtype, torch.float32)
    return cross_entropy(logits.flatten(0, 1).to(wide), targets.flatten(), ignore_index=_IGNORED)


def loss_gradients(
    loss: Tensor, parameters: Sequence[Tensor], scale: float, retain_graph: bool = False
) -> tuple[Tensor | None, ...]:
    """Gradients of ``scale * loss``; None for a parameter that the loss does not depend on."""
    return torch.autograd.grad(
        loss, parameters, torch.full_like(loss, scale), retain_graph=retain_graph, allow_unused=True
    )


class RunningModel:
    """A module in the mode that its pass wants, and the optimiser with its state if the pass is a step.

    Attributes:
        module: in training mode if the pass has a backward.
        parameters: those that are learned, by name; one that goes by several names is here once.
        optimiser: AdamW, or None.
    """

    def __init__(self, case: Case, module: Module, reduce: Reduce | None = None) -> None:
        """``reduce`` is part of every backward, if it is given: the batch is then shared by several ranks."""
        self._case, self._reduce = case, reduce
        self._scale = LOSS_SCALE[case.dtype]
        self.module = module.train(case.pass_ != "fwd")
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.optimiser = _ready_adamw(self._learned) if case.pass_ == "step" else None

    def work(self, tokens: Tensor) -> Callable[[], Any]:
        """The timed work of one iteration.

        ``fwd``: logits without a graph, as in inference. ``bwd``: gradients of all parameters alone, of a
        loss that was computed once, untimed. ``fwd+bwd``: both. ``step``: clear the gradients, both, and a
        step of the optimiser; the parameters move with every iteration.
        """
        if self._case.pass_ == "fwd":
            return lambda: self._logits(tokens)
        if self._case.pass_ == "bwd":
            loss = self.loss(tokens)
            return lambda: self.reduced(loss_gradients(loss, self._learned, self._scale, retain_graph=True))
        if (optimiser := self.optimiser) is not None:
            return lambda: self._step(optimiser, tokens)
        return lambda: self.reduced(loss_gradients(self.loss(tokens), self._learned, self._scale))

    def loss(self, tokens: Tensor) -> Tensor:
        """The next-token loss, with its graph."""
        return next_token_loss(self.module(tokens), tokens)

    def gradients(self, logits: Tensor, tokens: Tensor) -> dict[str, Tensor | None]:
        """Of the loss of ``logits`` in each parameter, times :data:`LOSS_SCALE` of the case's dtype; not reduced."""
        found = loss_gradients(next_token_loss(logits, tokens), self._learned, self._scale)
        return dict(zip(self.parameters, found, strict=True))

    def reduced(self, gradients: Gradients) -> Gradients:
        """Those of the whole batch; every rank calls it at once, if there are several."""
        return gradients if self._reduce is None else self._reduce(self._learned, gradients)

    @property
    def nbytes(self) -> int:
        """Bytes of parameters, buffers and optimiser state on the case's device; what is shared counts once."""
        tensors: list[Any] = [*self.module.parameters(), *self.module.buffers()]
        if self.optimiser is not None:
            tensors += [value for state in self.optimiser.state.values() for value in state.values()]
        here = (x.untyped_storage() for x in tensors if isinstance(x, Tensor) and x.device.type == self._case.device)
        return sum({storage.data_ptr(): storage.nbytes() for storage in here}.values())

    @property
    def _learned(self) -> list[Parameter]:
        return list(self.parameters.values())

    def _logits(self, tokens: Tensor) -> Any:
        with torch.no_grad():
            return self.module(tokens)

    def _step(self, optimiser: torch.optim.Optimizer, tokens: Tensor) -> None:
        optimiser.zero_grad()
        loss = self.loss(tokens)
        loss.backward(torch.full_like(loss, self._scale))
        if self._reduce is not None:
            learned = self._learned
            for parameter, gradient in zip(learned, self._reduce(learned, [p.grad for p in learned]), strict=True):
                parameter.grad = gradient
        optimiser.step()


def _ready_adamw(parameters: list[Parameter]) -> torch.optim.AdamW:
    """AdamW with its state made already: by a step at learning rate 0, which leaves the parameters as they are."""
    optimiser = torch.optim.AdamW(parameters, lr=0.0, eps=EPSILON, fused=True)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    optimiser.zero_grad()
    for group in optimiser.param_groups:
        group["lr"] = LEARNING_RATE
    return optimiser

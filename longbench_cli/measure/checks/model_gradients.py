"""Checks of a model's parameters and of the gradient of its loss in them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from longbench_cli.measure.checks.examined_model import ExaminedModel
from longbench_cli.measure.checks.result import NotApplicable
from longbench_cli.measure.model_passes import loss_gradients, next_token_loss
from longbench_cli.measure.verify import Wrong, poisoned_memory

STEP = 1e-3
"""Step of the central difference, relative to the size of each parameter."""

TOLERANCE = 5e-3
"""Largest error of the loss's directional derivative over the length of the gradient, both so scaled."""

LONGEST = 512
"""Tokens of the finite difference at most."""

TRUNCATING = "bptt"
"""An option with which gradients are cut by intent, and are no slope of the loss."""


def parameters(subject: ExaminedModel) -> str:
    """There are as many learned parameters as the model says, and the loss depends on every one."""
    learned = _learned(subject)
    count = sum(p.numel() for p in learned.values())
    case = subject.case
    said = subject.model.work(case.shape, case.options, "fwd", case.element_bytes).parameters
    if said != count:
        raise Wrong(f"the module has {count} learned parameters, and the model's account {said}")
    idle = [name for name, gradient in _gradients(subject, subject.length).items() if gradient is None]
    if idle:
        raise Wrong(f"the loss of {subject.length} tokens does not depend on {', '.join(idle)}")
    return f"{count} in {len(learned)} tensors, as the model says, and each has a gradient"


def finite_difference(subject: ExaminedModel) -> str:
    """The gradient of the next-token loss is its slope along a random direction of all parameters, in float64.

    If it is not, each parameter is looked at alone, and the worst is named.
    """
    if subject.case.options.get(TRUNCATING) is not None:
        raise NotApplicable(f"gradients are truncated by {TRUNCATING}, and are no slope of the loss")
    n = min(subject.length, LONGEST)
    gradients = _gradients(subject, n)
    error = _error(subject, gradients, n)
    if not error <= TOLERANCE:
        alone = {name: _error(subject, {name: gradient}, n) for name, gradient in gradients.items()}
        worst = max(alone, key=lambda name: alone[name])
        raise Wrong(
            f"the loss's slope along a random direction is not its gradient's: error {error:.3g} > {TOLERANCE:g}; "
            f"most for {worst} alone: {alone[worst]:.3g}",
            error,
        )
    return f"all {len(gradients)} parameters in float64 at N = {n}, error {error:.2g} of {TOLERANCE:g}"


def _learned(subject: ExaminedModel) -> dict[str, Tensor]:
    return {name: p for name, p in subject.wide.named_parameters() if p.requires_grad}


def _gradients(subject: ExaminedModel, length: int) -> dict[str, Tensor | None]:
    if length < 2:
        raise NotApplicable("a single token has no next one to predict")
    tokens, learned = subject.tokens(1, length), _learned(subject)
    with poisoned_memory():
        loss = next_token_loss(subject.wide(tokens), tokens)
        return dict(zip(learned, loss_gradients(loss, list(learned.values()), 1.0), strict=True))


def _error(subject: ExaminedModel, gradients: Mapping[str, Tensor | None], length: int) -> float:
    """Slope by difference less slope by gradient, over the length of the gradient; along one random direction."""
    learned, tokens = _learned(subject), subject.tokens(1, length)
    random = torch.Generator().manual_seed(subject.seed + 2)
    directions: dict[str, Tensor] = {}
    slope, square = 0.0, 0.0
    for name, gradient in gradients.items():
        parameter = learned[name].detach()
        size = float(parameter.square().mean().sqrt()) or 1.0
        directions[name] = torch.randn(parameter.shape, generator=random, dtype=torch.float64).to(parameter) * size
        if gradient is not None:
            slope += float((gradient * directions[name]).sum())
            square += float(gradient.square().sum()) * size**2
    losses = []
    for step in (STEP, -STEP):
        moved = {name: learned[name].detach() + step * direction for name, direction in directions.items()}
        with torch.no_grad():
            logits = torch.func.functional_call(subject.wide, moved, (tokens,))
            losses.append(float(next_token_loss(logits, tokens)))
    difference = (losses[0] - losses[1]) / (2 * STEP)
    scale = max(square**0.5, abs(difference))
    return abs(difference - slope) / scale if scale else 0.0

"""One rank's part of a model's batch: the same parameters on all, and gradients that are the whole batch's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attention_impls.api import Model
from attention_impls.distributed.comm import Communicator
from longbench_cli.measure.model_passes import Gradients, Reduce
from longbench_cli.measure.model_subject import ModelSubject, Part
from longbench_cli.measure.model_verify import WholeBatch
from longbench_cli.measure.ranks.control import Control, together_by
from longbench_cli.sweep.case import Case


def batch_share(
    case: Case,
    model: Model,
    backend: str | None,
    seed: int,
    sequences: range,
    comm: Communicator,
    control: Control,
) -> ModelSubject:
    """The case's model on ``sequences`` of its batch.

    Raises:
        Unsupported: it does not do this case.
    """
    whole = WholeBatch(together_by(control), control.mean)
    return ModelSubject(case, model, backend, seed, Part(sequences, mean_gradients(comm), whole))


def mean_gradients(comm: Communicator) -> Reduce:
    """The mean of all ranks' gradients, in one all-reduce of one flat buffer; none if there is one rank.

    Divided before they are summed: in fp16 the sum of many ranks' might not fit.
    """

    def reduce(parameters: Sequence[Tensor], gradients: Gradients) -> Gradients:
        if comm.world_size == 1:
            return gradients
        parts = [
            torch.zeros_like(parameter) if gradient is None else gradient
            for parameter, gradient in zip(parameters, gradients, strict=True)
        ]
        flat = torch.cat([part.reshape(-1) for part in parts]).div_(comm.world_size)
        pieces = comm.all_reduce(flat).wait().split([part.numel() for part in parts])
        return [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]

    return reduce

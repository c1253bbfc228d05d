"""Vanilla attention whose sequence is shared by the ranks of a job, by any of the known algorithms."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, overload

from torch import Tensor

from attention_impls.distributed import vanilla_plan
from attention_impls.distributed.blocks import tokens
from attention_impls.distributed.comm import Communicator
from attention_impls.distributed.dilated import dilated_parallel
from attention_impls.distributed.ring import Ring, RingAttention
from attention_impls.distributed.ulysses import Ulysses, UlyssesAttention
from attention_impls.kernels.heads import check_qkv
from attention_impls.kernels.registry import get_backend
from attention_impls.shape import AttentionShape


@overload
def vanilla_parallel(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    comm: Communicator,
    shape: AttentionShape,
    parallel: str | None = ...,
    causal: bool = ...,
    scale: float | None = ...,
    backend: str | None = ...,
    return_lse: Literal[False] = ...,
) -> Tensor: ...
@overload
def vanilla_parallel(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    comm: Communicator,
    shape: AttentionShape,
    parallel: str | None = ...,
    causal: bool = ...,
    scale: float | None = ...,
    backend: str | None = ...,
    return_lse: Literal[True],
) -> tuple[Tensor, Tensor]: ...
def vanilla_parallel(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    comm: Communicator,
    shape: AttentionShape,
    parallel: str | None = None,
    causal: bool = False,
    scale: float | None = None,
    backend: str | None = None,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """:func:`attention_impls.vanilla_attention` of a sequence shared by ranks: this rank's part of the same result.

    Every rank of ``comm`` calls it, and its backward. It is differentiable in q, k and v.

    Args:
        q: (batch, this rank's tokens, heads, head_dim); :func:`attention_impls.distributed.vanilla_plan.spans`
            says which tokens are whose.
        k: (batch, this rank's tokens, kv_heads, head_dim).
        v: like k.
        comm: to the other ranks of the sequence.
        shape: of the whole sequence; its ``causal`` gives way to the argument.
        parallel: "ring" (also if None), "zigzag", "ulysses" or "allgather".
        causal: a query sees keys at or before its own place in the whole sequence only.
        scale: factor on the scores; 1 / sqrt(head_dim) if None.
        backend: a name of :func:`attention_impls.kernels.registry.backends`; the best supported if None.
        return_lse: also return the log-sum-exp; of ulysses that is one more all-to-all.

    Returns:
        out, like q; with ``return_lse`` (out, lse), lse being (batch, heads, this rank's tokens) in natural-log
        units, fp32 (fp64 for fp64 inputs) and not differentiable.

    Raises:
        ValueError: tensors that are not this rank's share of ``shape``, or an algorithm that does not exist or
            cannot share it.
        Unsupported: the back end does not exist, or not for these inputs on this machine.
    """
    whole = replace(shape, causal=causal)
    options = {"parallel": parallel}
    name = vanilla_plan.algorithm_of(options)
    if reason := vanilla_plan.refuse(whole, options):
        raise ValueError(reason)
    _check_share(q, k, v, whole, comm, tokens(vanilla_plan.spans(whole, options, comm.rank)))
    if name == "allgather":
        return dilated_parallel(
            *(q, k, v),
            comm=comm,
            shape=whole,
            schedule=vanilla_plan.one_branch(whole),
            causal=causal,
            scale=scale,
            backend=backend,
            return_lse=return_lse,
        )
    kernel = get_backend(backend, q.device.type, q.dtype, q.shape[3])
    factor = q.shape[3] ** -0.5 if scale is None else scale
    if name == "ulysses":
        comm.prepare((range(comm.world_size),))
        out, lse = UlyssesAttention.apply(q, k, v, Ulysses(comm, whole, factor, kernel), return_lse)  # type: ignore[no-untyped-call]
    else:
        out, lse = RingAttention.apply(q, k, v, Ring(comm, whole, name, factor, kernel))  # type: ignore[no-untyped-call]
    return (out, lse) if return_lse else out


def _check_share(q: Tensor, k: Tensor, v: Tensor, shape: AttentionShape, comm: Communicator, mine: int) -> None:
    check_qkv(q, k, v)
    expected = (shape.batch, mine, shape.heads, shape.head_dim)
    if tuple(q.shape) != expected or k.shape[2] != shape.kv_heads or comm.world_size != shape.world_size:
        raise ValueError(
            f"q {tuple(q.shape)} and k {tuple(k.shape)} are not what rank {comm.rank} of {comm.world_size} has of "
            f"{shape.seq_len} tokens for {shape.world_size} ranks: q is {expected}, with {shape.kv_heads} kv heads"
        )

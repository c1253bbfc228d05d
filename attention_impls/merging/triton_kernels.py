"""The Triton kernels behind :mod:`attention_impls.merging.triton_merge`.

A program takes up to ``block`` members of one segment and head. The piece's own tensors are read as the
kernel laid them out; rows of the whole tensors are found from their strides and from ``places``, the head
and phase of each of the piece's heads. Arithmetic is in ``wide``, places are 64-bit: at 1b tokens they do
not fit in 32.
"""

import triton
import triton.language as tl

_PIECE = ("start", "length", "dilation", "segments", "heads", "members")
"""Arguments that differ from piece to piece: a kernel is not compiled anew for each."""


@triton.jit
def _rows(places, start, length, dilation, segments, heads, members, block: tl.constexpr):
    """This program's rows: (group, head, members) within the piece, (batch, head, tokens) in the whole."""
    program = tl.program_id(0)
    piece_head = (program % heads).to(tl.int64)
    blocks = tl.cdiv(members, block)
    member = (program // heads % blocks).to(tl.int64) * block + tl.arange(0, block)
    group = (program // heads // blocks).to(tl.int64)
    head = tl.load(places + 2 * piece_head)
    token = start + group % segments * length + tl.load(places + 2 * piece_head + 1) + member * dilation
    return group, piece_head, member, group // segments, head, token


@triton.jit(do_not_specialize=_PIECE)
def mix(
    out, lse, new_out, new_lse, places,
    start, length, dilation, segments, heads, members, features,
    out_batch, out_token, out_head, out_feature, lse_batch, lse_head, lse_token,
    new_group, new_member, new_head, new_feature,
    new_lse_group, new_lse_head, new_lse_member,
    block: tl.constexpr, width: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    group, piece_head, member, batch, head, token = _rows(
        places, start, length, dilation, segments, heads, members, block
    )
    is_row = member < members
    feature = tl.arange(0, width)
    is_cell = is_row[:, None] & (feature < features)[None, :]
    lse_at = lse + batch * lse_batch + head * lse_head + token * lse_token
    new_lse_at = new_lse + group * new_lse_group + piece_head * new_lse_head + member * new_lse_member
    row = batch * out_batch + head * out_head + token * out_token
    new_row = group * new_group + piece_head * new_head + member * new_member
    out_at = out + row[:, None] + (feature * out_feature)[None, :]
    new_at = new_out + new_row[:, None] + (feature * new_feature)[None, :]

    old = tl.load(lse_at, mask=is_row, other=0.0).to(wide)
    new = tl.load(new_lse_at, mask=is_row, other=0.0).to(wide)
    had = tl.load(out_at, mask=is_cell, other=0.0).to(wide)
    found = tl.load(new_at, mask=is_cell, other=0.0).to(wide)
    tl.debug_barrier()  # several threads load the same lse: none may find there what another has stored

    top = tl.maximum(old, new)
    top = tl.where(top == float("-inf"), 0.0, top)
    keep = tl.exp(old - top)
    gain = tl.exp(new - top)
    total = keep + gain
    share = 1.0 / tl.where(total == 0.0, 1.0, total)
    mixed = had * (keep * share)[:, None] + found * (gain * share)[:, None]
    tl.store(lse_at, (top + tl.log(total)).to(lse.dtype.element_ty), mask=is_row)
    tl.store(out_at, mixed.to(out.dtype.element_ty), mask=is_cell)


@triton.jit(do_not_specialize=_PIECE)
def add(
    grad, part, places,
    start, length, dilation, segments, heads, members, features,
    grad_batch, grad_token, grad_head, grad_feature,
    part_group, part_member, part_head, part_feature,
    block: tl.constexpr, width: tl.constexpr, wide: tl.constexpr,
):  # fmt: skip
    group, piece_head, member, batch, head, token = _rows(
        places, start, length, dilation, segments, heads, members, block
    )
    feature = tl.arange(0, width)
    is_cell = (member < members)[:, None] & (feature < features)[None, :]
    row = batch * grad_batch + head * grad_head + token * grad_token
    part_row = group * part_group + piece_head * part_head + member * part_member
    grad_at = grad + row[:, None] + (feature * grad_feature)[None, :]
    part_at = part + part_row[:, None] + (feature * part_feature)[None, :]
    had = tl.load(grad_at, mask=is_cell, other=0.0).to(wide)
    more = tl.load(part_at, mask=is_cell, other=0.0).to(wide)
    tl.debug_barrier()  # in a small tile, several threads load the same numbers
    tl.store(grad_at, (had + more).to(grad.dtype.element_ty), mask=is_cell)

"""Checks of what must not matter: neighbours in the batch, other heads, and that it was called before."""

from __future__ import annotations

import torch
from torch import Tensor

from longbench_cli.measure.checks.examined_attention import ExaminedAttention, moved, wide_rows
from longbench_cli.measure.checks.result import NotApplicable
from longbench_cli.measure.inputs import Inputs
from longbench_cli.measure.verify import Wrong


def batch(subject: ExaminedAttention) -> str:
    """A sequence's output is the same with another neighbour, and at another place of the batch."""
    inputs = subject.at(batch=3).inputs
    pair = subject.at(batch=2)
    first, second = (pair(*(x[i : i + 2] for x in (inputs.q, inputs.k, inputs.v))) for i in (0, 1))
    error = float(moved(_rows(second[0]), _rows(first[1])).max())
    if error > subject.tolerance:
        raise Wrong(f"a sequence moves with its place in the batch or with its neighbour, by {error:.3g}")
    return f"second of a batch, then first beside another: the same within {error:.2g}"


def heads(subject: ExaminedAttention) -> str:
    """A head's output comes from its own q, k and v; heads that are declared alike can change places."""
    shape = subject.case.shape
    if shape.heads == 1:
        raise NotApplicable("a single head")
    apart = _apart(subject)
    if shape.kv_heads == 1:
        return f"{apart}; all share their keys"
    group = shape.group_size
    kv_places = [(i + 1) % shape.kv_heads for i in range(shape.kv_heads)]
    places = [kv_places[head // group] * group + head % group for head in range(shape.heads)]
    alike = [head for head in range(shape.heads) if subject.declared.alike(head, places[head])]
    if not alike:
        return f"{apart}; no neighbouring heads are declared alike"
    inputs = subject.inputs
    swapped = subject(inputs.q[:, :, places], inputs.k[:, :, kv_places], inputs.v[:, :, kv_places])
    expected = wide_rows(subject.out)[:, places]
    for head in alike:
        error = float(moved(wide_rows(swapped)[:, head], expected[:, head]).max())
        if error > subject.tolerance:
            raise Wrong(
                f"heads {places[head]} and {head} are declared alike, but changing places moves it: {error:.3g}"
            )
    return f"{apart}; {len(alike)} heads changed places"


def inputs_kept(subject: ExaminedAttention) -> str:
    """q, k and v hold after the call what they held before."""
    inputs = subject.inputs
    copies = Inputs(inputs.q.clone(), inputs.k.clone(), inputs.v.clone(), None)
    subject.attention(copies.q, copies.k, copies.v)
    changed = [name for name in "qkv" if not torch.equal(getattr(copies, name), getattr(inputs, name))]
    if changed:
        raise Wrong(f"the call writes to its inputs: {', '.join(changed)}")
    return "q, k and v are as they were"


def determinism(subject: ExaminedAttention) -> str:
    """Two calls on the same inputs agree, if not to the bit then within the tolerance."""
    inputs = subject.inputs
    first, second = (subject.attention(inputs.q.clone(), inputs.k.clone(), inputs.v.clone()) for _ in range(2))
    if torch.equal(first, second):
        return "two calls agree to the bit"
    error = float(moved(_rows(second), _rows(first)).max())
    if error > subject.tolerance:
        raise Wrong(f"two calls on the same inputs differ by {error:.3g}")
    return f"two calls differ by {error:.2g}, within {subject.tolerance:g}"


def _apart(subject: ExaminedAttention) -> str:
    """Change one key head and its query heads, or where there is one key head a query head: others must stay."""
    shape, inputs = subject.case.shape, subject.inputs
    q, k, v = (x.clone() for x in (inputs.q, inputs.k, inputs.v))
    if shape.kv_heads == 1:
        changed = range(1)
    else:
        kv_head = shape.kv_heads // 2
        changed = range(kv_head * shape.group_size, (kv_head + 1) * shape.group_size)
        for x in (k, v):
            x[:, :, kv_head] = 1 - x[:, :, kv_head]
    q[:, :, changed.start : changed.stop] *= -1
    others = [head for head in range(shape.heads) if head not in changed]
    before, after = wide_rows(subject.out)[:, others], wide_rows(subject(q, k, v))[:, others]
    error = moved(after.flatten(0, 1), before.flatten(0, 1)).view(-1, len(others))
    if float(error.max()) > subject.tolerance:
        head = others[int(error.amax(0).argmax())]
        raise Wrong(f"head {head} moves with head {changed.start}'s q, k and v, by {float(error.max()):.3g}")
    return "others stay as one head changes"


def _rows(x: Tensor) -> Tensor:
    return x.detach().flatten(0, -2).cpu().to(torch.float64)

"""Checks of the softmax's weights, read from the output by choosing the values."""

from __future__ import annotations

import torch
from torch import Tensor

from attention_impls.oracle import sample_rows
from longbench_cli.measure.checks.declared import rows_named
from longbench_cli.measure.checks.examined_attention import ExaminedAttention, wide_rows
from longbench_cli.measure.verify import Wrong

PROBED_KEYS = 64
"""Keys whose weight is read in every row; all of them in a sequence no longer than that."""

_SEEN = 0.05
_MISCOUNTED = 0.25
"""A key's weight in units of one sight of it: below the first it is unseen, off by the second miscounted."""


def ones(subject: ExaminedAttention) -> str:
    """With v = 1 every row is 1, since weights add up to 1; 0 where a query sees no key."""
    worst = compare_ones(subject)
    return f"with v = 1, worst error {worst:.2g} of {subject.tolerance:g}"


def compare_ones(subject: ExaminedAttention) -> float:
    """The largest error of the output at v = 1; raises :class:`Wrong` above the tolerance."""
    inputs = subject.inputs
    out = wide_rows(subject(inputs.q, inputs.k, torch.ones_like(inputs.v)))
    expected = (subject.declared.totals > 0).double().unsqueeze(-1)
    error = (out - expected).abs().nan_to_num(nan=float("inf"), posinf=float("inf")).amax(-1)
    wrong = error > subject.tolerance
    if wrong.any():
        found, due = float(out[wrong][0, 0]), float(expected[wrong][0, 0])
        raise Wrong(f"with v = 1 the output is {found:.6g} instead of {due:g}: {rows_named(wrong)}")
    return float(error.max())


def observed_pattern(subject: ExaminedAttention) -> str:
    """The keys that each row is seen to weigh are those that the pattern declares, and as often.

    With q = 0 every key weighs the same, so a key's weight times the number of keys is how often it
    counts. Values that are 1 at one key and one feature, else 0, show the weights of as many keys at
    once as a head has features.
    """
    shape, declared = subject.case.shape, subject.declared
    counted = shape.batch * int(declared.totals.sum())
    if subject.pattern.pairs() != counted:
        raise Wrong(f"the pattern says that it has {subject.pattern.pairs()} pairs, and names {counted}")
    keys = _probed_keys(subject)
    differences = _Differences(declared.totals > 0)
    for first in range(0, len(keys), shape.head_dim):
        some = keys[first : first + shape.head_dim]
        weights = _weights(subject, some) * declared.totals.clamp(min=1).unsqueeze(-1)
        for feature, key in enumerate(some):
            differences.add(key, weights[..., feature], declared.times(key))
    differences.refuse()
    return f"{len(keys)} of {shape.seq_len} keys, each in all {declared.totals.numel()} rows"


def _probed_keys(subject: ExaminedAttention) -> list[int]:
    n = subject.case.seq_len
    if n <= PROBED_KEYS:
        return list(range(n))
    return sorted({row.query for row in sample_rows(subject.pattern, PROBED_KEYS, subject.seed)})


def _weights(subject: ExaminedAttention, keys: list[int]) -> Tensor:
    """(seq, heads, keys): what each row makes of a value that is 1 at one key."""
    inputs = subject.inputs
    v = torch.zeros_like(inputs.v)
    for feature, key in enumerate(keys):
        v[:, key, :, feature] = 1
    return wide_rows(subject(torch.zeros_like(inputs.q), inputs.k, v))


_KINDS = ("no number at", "sees but should not", "should see but does not", "counts wrongly")


class _Differences:
    """Where the observed counts of keys differ from the declared ones, by kind, and the first of each.

    ``filled`` (seq, heads): the rows that see a key at all; that the others hold zeros is not looked at here.
    """

    def __init__(self, filled: Tensor) -> None:
        self._filled = filled
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, key: int, counts: Tensor, declared: Tensor) -> None:
        """Compare ``counts`` (seq, heads) of ``key`` with how often each row is declared to see it."""
        seen, due = counts.abs() > _SEEN, declared > 0
        wrong = (counts - declared).abs() > _MISCOUNTED * declared
        finite = counts.isfinite()
        for kind, rows in zip(
            _KINDS,
            (self._filled & ~finite, seen & ~due & finite, due & ~seen & finite, due & seen & wrong & finite),
            strict=True,
        ):
            if rows.any():
                query, head = rows.nonzero()[0].tolist()
                number, first = self._found.get(kind, (0, f"head {head}, query {query}, key {key}"))
                if kind == _KINDS[-1] and number == 0:
                    first += f" ({float(counts[query, head]):.3g} times, not {int(declared[query, head])})"
                self._found[kind] = (number + int(rows.sum()), first)

    def refuse(self) -> None:
        """Raise :class:`Wrong` if there was any."""
        if self._found:
            found = [(kind, *self._found[kind]) for kind in _KINDS if kind in self._found]
            raise Wrong("; ".join(f"{kind}: {pairs} pairs, first {where}" for kind, pairs, where in found))

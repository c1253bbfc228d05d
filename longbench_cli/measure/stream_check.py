"""Check a streamed result: sampled rows and keys are kept as they pass, and compared at the end.

Every query has a gradient here, so dk and dv are checked at a few keys, each against all the queries
that see it. The oracle regenerates exactly the keys it needs.
"""

from __future__ import annotations

import random
from collections.abc import Container

import torch
from torch import Tensor

from attention_impls.oracle import Problem, Row, oracle_row, oracle_row_gradient, sample_rows
from attention_impls.oracle_keys import CachedRows, Key, ReversiblePattern, oracle_key_gradient
from attention_impls.streams import Event, Gradients, Outputs, SpanningGradients
from longbench_cli.measure.inputs import Draw
from longbench_cli.measure.tolerance import GRADIENT_TOLERANCE, OUTPUT_TOLERANCE, scaled_error
from longbench_cli.measure.verify import GRADIENT_ROWS, OUTPUT_ROWS, Verified, Wrong, as_verification, compare
from longbench_cli.sweep.case import Case

KEYS = 3


class StreamCheck:
    """Takes a stream's events with :meth:`take`; :meth:`verdict` then says whether they were right."""

    def __init__(self, case: Case, pattern: ReversiblePattern, draw: Draw, seed: int) -> None:
        self._case, self._pattern, self._draw = case, pattern, draw
        self._rows = sample_rows(pattern, OUTPUT_ROWS, seed)
        backward = case.pass_ != "fwd"
        self._grad_rows = sample_rows(pattern, GRADIENT_ROWS, seed + 1) if backward else []
        self._keys = _sample_keys(case, seed + 2) if backward else []
        self._out: dict[Row, Tensor] = {}
        self._dq: dict[Row, Tensor] = {}
        self._dk: dict[Key, Tensor] = {}
        self._dv: dict[Key, Tensor] = {}
        self._bad_chunk: int | None = None

    def take(self, first: int, event: Event) -> None:
        """Keep what is sampled of one part of the result, whose sequences begin with number ``first``."""
        if isinstance(event, Outputs):
            if self._bad_chunk is None and not bool(torch.isfinite(event.out).all()):
                self._bad_chunk = event.start
            self._keep_rows(self._out, self._rows, first, event.start, event.out)
        elif isinstance(event, Gradients):
            self._keep_rows(self._dq, self._grad_rows, first, event.start, event.dq)
            self._keep_keys(self._dk, first, event.start, event.dk)
            self._keep_keys(self._dv, first, event.start, event.dv)
        elif isinstance(event, SpanningGradients):
            self._add_spanning(first, event)

    def verified(self) -> Verified:
        """Compare all that was kept with the oracle."""
        sampled = len(self._rows) + len(self._grad_rows) + len(self._keys)
        tolerance = (GRADIENT_TOLERANCE if self._keys else OUTPUT_TOLERANCE)[self._case.dtype]
        try:
            worst = self._compare()
        except Wrong as wrong:
            return Verified(as_verification("failed", sampled, wrong.error, tolerance), str(wrong))
        return Verified(as_verification("passed", sampled, worst, tolerance), None)

    def _keep_rows(self, kept: dict[Row, Tensor], rows: list[Row], first: int, start: int, x: Tensor) -> None:
        for row in rows:
            batch, at = row.batch - first, row.query - start
            if 0 <= batch < x.shape[0] and 0 <= at < x.shape[1]:
                kept[row] = x[batch, at, row.head].detach().cpu().double()

    def _keep_keys(self, kept: dict[Key, Tensor], first: int, start: int, x: Tensor) -> None:
        for key in self._keys:
            batch, at = key.batch - first, key.position - start
            if 0 <= batch < x.shape[0] and 0 <= at < x.shape[1]:
                kept[key] = x[batch, at, key.kv_head].detach().cpu().double()

    def _add_spanning(self, first: int, event: SpanningGradients) -> None:
        here = range(first, first + len(event.dq))
        for row in self._dq:
            if row.batch in here and row.head == event.head and row.query in event.positions:
                self._dq[row] += event.dq[row.batch - first, event.positions.index(row.query)].cpu().double()
        kv_head = event.head // self._case.shape.group_size
        for key in self._dk.keys() & self._dv.keys():
            if key.batch in here and key.kv_head == kv_head and key.position in event.positions:
                at = event.positions.index(key.position)
                self._dk[key] += event.dk[key.batch - first, at].cpu().double()
                self._dv[key] += event.dv[key.batch - first, at].cpu().double()

    def _refuse_missing(self) -> None:
        wanted: list[tuple[str, list[Row] | list[Key], Container[Row | Key]]] = [
            ("output", self._rows, self._out), ("dq", self._grad_rows, self._dq),
            ("dk", self._keys, self._dk), ("dv", self._keys, self._dv),
        ]  # fmt: skip
        for name, places, kept in wanted:
            if missing := [place for place in places if place not in kept]:
                raise Wrong(f"{name}: the stream never gave {missing[0]}", float("inf"))

    def _compare(self) -> float:
        dtype = self._case.dtype
        q, k, v = (CachedRows(self._draw.row_source(name)) for name in ("q", "k", "v"))
        problem = Problem(self._pattern, q, k, v, self._case.head_dim**-0.5)
        worst = 0.0
        self._refuse_missing()
        for row in self._rows:
            expected = oracle_row(problem, row)[0]
            error = float(scaled_error(self._out[row][None], expected[None]))
            if error > OUTPUT_TOLERANCE[dtype]:
                limit = OUTPUT_TOLERANCE[dtype]
                raise Wrong(f"output: differs from the float64 oracle at {row}: error {error:.3g} > {limit:g}", error)
            worst = max(worst, error)
        if self._bad_chunk is not None:
            raise Wrong(f"output: not every row of the chunk at {self._bad_chunk} is finite", float("inf"))
        return max(worst, self._compare_gradients(problem)) if self._keys else worst

    def _compare_gradients(self, problem: Problem) -> float:
        worst, limit = 0.0, GRADIENT_TOLERANCE[self._case.dtype]
        grad_out = CachedRows(self._draw.row_source("grad_out"))
        for row in self._grad_rows:
            grad = grad_out.rows(row.batch, row.head, range(row.query, row.query + 1))[0]
            dq, _ = oracle_row_gradient(problem, row, grad)
            worst = max(worst, compare("dq", str(row), self._dq[row], dq, limit))
        for key in self._keys:
            dk, dv = oracle_key_gradient(problem, self._pattern, grad_out, key)
            worst = max(worst, compare("dk", str(key), self._dk[key], dk, limit))
            worst = max(worst, compare("dv", str(key), self._dv[key], dv, limit))
        return worst


def _sample_keys(case: Case, seed: int) -> list[Key]:
    """The first token, which most branches of head 0 hold, and random others."""
    draw = random.Random(seed)
    others = [
        Key(draw.randrange(case.batch), draw.randrange(case.kv_heads), draw.randrange(case.seq_len))
        for _ in range(KEYS - 1)
    ]
    return [Key(0, 0, 0), *others]

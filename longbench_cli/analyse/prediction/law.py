"""Laws that add up: a quantity as a sum of terms, each a number of things times what one of them costs.

``y = sum_j c_j f_j`` with c_j >= 0: seconds a call, a FLOP and a byte, say. Each c_j has a meaning, none can be
negative, and so no law turns over where nobody has measured. It is fitted to relative errors::

    minimise  sum_i (sum_j c_j f_ij / y_i - 1)^2,   c_j >= 0

non-negative least squares (Lawson and Hanson, Solving Least Squares Problems, SIAM 1995, chapter 23) of rows
divided by what was measured, since the noise of times is in proportion to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Features = tuple[float, ...]
"""How often each thing occurs, in the order of the law's costs."""


@dataclass(frozen=True, slots=True)
class Law:
    """``costs[j]`` is what one of the things number j costs, in the unit of what was fitted."""

    costs: tuple[float, ...]

    def at(self, features: Features) -> float:
        """The value that the law gives; 0 where nothing that occurs costs anything."""
        return sum(cost * count for cost, count in zip(self.costs, features, strict=True))


def fit_law(features: Sequence[Features], values: Sequence[float]) -> Law:
    """The law of least relative error.

    Raises:
        ValueError: no values, or one that is not positive.
    """
    import numpy as np
    from scipy.optimize import nnls  # here, so that importing this module stays cheap

    if not values or any(not value > 0 for value in values):
        raise ValueError("a law is fitted to values above 0, at least one")
    rows = np.array(features, dtype=float) / np.array(values, dtype=float)[:, None]
    scale = np.abs(rows).max(axis=0)  # FLOPs and calls differ by twelve orders of magnitude
    scale[scale == 0] = 1.0
    found, _ = nnls(rows / scale, np.ones(len(values)))
    return Law(tuple(float(cost) for cost in found / scale))

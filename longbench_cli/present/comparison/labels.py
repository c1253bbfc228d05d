"""A short name for each point of a comparison or a history: implementation, pass, length, what else tells it apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from longbench_cli.analyse.curves import UNRESOLVED
from longbench_cli.errors import UsageError
from longbench_cli.present.series import format_varied, varied_options
from longbench_cli.present.units import count
from longbench_cli.sweep.axes import format_length
from longbench_cli.sweep.case import Case

_SHOWN = 5
"""Names that a refusal lists."""

_AXES: tuple[Callable[[Case], str], ...] = (
    lambda case: f"batch {format_length(case.batch)}",
    lambda case: "causal" if case.causal else "full",
    lambda case: case.dtype,
    lambda case: count(case.heads, "head"),
    lambda case: f"{case.kv_heads} kv heads",
    lambda case: f"head dim {case.head_dim}",
    lambda case: count(case.world_size, "rank"),
    lambda case: case.device,
)
"""What is said of a point where it is not the same in all of them."""


class Keyed(Protocol):
    """A point, as far as its name goes."""

    @property
    def key(self) -> str: ...

    @property
    def case(self) -> Case: ...


def labels_of(points: Sequence[Keyed]) -> dict[str, str]:
    """By key, a name that no other point has: ``dilated fwd 8k``, ``vanilla bwd 8k causal``."""
    cases = [point.case for point in points]
    backends: dict[str, set[str]] = {}
    for case in cases:
        backends.setdefault(case.impl, set()).update({case.backend} - {UNRESOLVED})
    options = varied_options(cases)
    axes = [axis for axis in _AXES if len({axis(case) for case in cases}) > 1]
    names = {
        point.key: " ".join(
            filter(
                None,
                (
                    point.case.impl,
                    point.case.backend if len(backends[point.case.impl]) > 1 else "",
                    point.case.pass_,
                    format_length(point.case.seq_len),
                    format_varied(point.case, options),
                    *(axis(point.case) for axis in axes),
                ),
            )
        )
        for point in points
    }
    shared = Counter(names.values())
    # Two keys may come to the same case, as `auto` does and the back end that it picked.
    return {key: name if shared[name] == 1 else f"{name} ({key})" for key, name in names.items()}


def key_of(labels: Mapping[str, str], text: str) -> str:
    """The key that ``text`` means among ``labels``, by key: key or label, words of a label, or part of either.

    Raises:
        UsageError: no point is called so, or several are.
    """
    words = set(text.lower().split())
    rounds: Sequence[list[str]] = (
        [key for key, label in labels.items() if text in (key, label)],
        [key for key, label in labels.items() if words and words <= set(label.lower().split())],
        [key for key, label in labels.items() if text.strip() and _within(text, key, label)],
    )
    found = next(filter(None, rounds), [])
    if len(found) == 1:
        return found[0]
    shown = [labels[key] for key in (found or labels)]
    listed = ", ".join(shown[:_SHOWN]) + (", ..." if len(shown) > _SHOWN else "")
    if found:
        raise UsageError(f"--explain {text}: {len(found)} points are called so: {listed}: give more of one's name")
    raise UsageError(f"--explain {text}: no point is called so: give one of {listed}")


def _within(text: str, *names: str) -> bool:
    return any(text.strip().lower() in name.lower() for name in names)

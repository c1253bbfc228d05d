"""The gate's false alarms and its power on simulated machines, beside those of other rules.

python -m benchmarks.gate_simulation [--gates N]

The rule is the one that `longbench gate` uses (longbench_cli/analyse/comparison/rule.py), called for each point of each
gate. A rate is followed by its one-sided 95% bound (Clopper and Pearson, Biometrika 26, 1934), and it is the bound that
is held against the goal.
"""

from __future__ import annotations

import argparse
import math
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from benchmarks.gate_alternatives import ALTERNATIVES
from benchmarks.gate_worlds import POINTS, Logs, World
from benchmarks.table import Row, print_rows
from longbench_cli.analyse.comparison.rule import PAIRS, Decision, judge_pairs
from longbench_cli.analyse.comparison.threshold import ONE_DEVICE

GATES = 20_000
AT_ONCE = 250
"""Gates that are drawn together."""

TAU = math.log1p(ONE_DEVICE)
SEED = 7

HALF = math.sqrt(0.5)
"""Times the spread of d, the spread of either side's session."""

SPOILED = World(0.02, spoiled=True)
MACHINES = {
    "sd 0.5%": (World(0.005), 0.001, 1),
    "sd 1%": (World(0.01), 0.001, 1),
    "sd 2%, 5% spoiled by +3%": (SPOILED, 0.005, 1),
    "sd 1% in d": (World(0.01 * HALF), 0.001, 1),
    "sd 2% in d, 5% spoiled": (World(0.02 * HALF, spoiled=True), 0.005, 1),
    "sd 1%, rho 0.5 session to session, drift": (World(0.01, memory="sessions", drift=True), 0.005, 4),
    "sd 2%, rho 0.5 session to session, drift": (World(0.02, memory="sessions", drift=True), 0.005, 4),
    "sd 1%, rho 0.5 pair to pair, drift": (World(0.01, memory="pairs", drift=True), 0.005, 4),
    "sd 2%, rho 0.5 pair to pair, drift": (World(0.02, memory="pairs", drift=True), 0.005, 20),
}
"""Where the code does not change; the goal for the share of gates that fail all the same; and how many times fewer
gates resolve it."""

SLOWDOWNS = [
    ("sd 1%", World(0.01), 0.05, 0.99),
    ("sd 2%", World(0.02), 0.05, 0.90),
    ("sd 2%, 5% spoiled", SPOILED, 0.05, 0.90),
    ("sd 2%", World(0.02), 0.10, 0.99),
    ("sd 2% in d", World(0.02 * HALF), 0.05, 0.90),
    ("sd 2%", World(0.02), 0.03, None),
    ("sd 2%", World(0.02), 0.04, None),
]
NOISE_SDS = (0.02, 0.02 / HALF, 0.04, 0.08)
NOISE_FACTORS = (0.0, 1.0, 2.0)
COMPARED = {
    "sd 0.5%": World(0.005),
    "sd 2% spoiled": SPOILED,
    "rho, drift": World(0.01, memory="sessions", drift=True),
    "the same, base first": World(0.01, memory="sessions", drift=True, turns=False),
}
COMPARED_SLOWDOWNS = ((0.01, 0.05), (0.02, 0.05), (0.02, 0.10))


@dataclass(slots=True)
class Tally:
    """What became of gates: how many failed, of how many, and of their points, by kind, and the pairs they took."""

    gates: int = 0
    failed: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    pairs: int = 0

    def add(self, decisions: list[Decision], points: int) -> None:
        """Decisions gate by gate, ``points`` each."""
        self.gates += len(decisions) // points
        self.kinds.update(decision.kind for decision in decisions)
        self.pairs += sum(len(decision.values) + len(decision.confirmation) for decision in decisions)
        self.failed += sum(
            any(decision.kind == "regression" for decision in decisions[start : start + points])
            for start in range(0, len(decisions), points)
        )

    def share(self, kind: str) -> float:
        return self.kinds[kind] / self.kinds.total()

    @property
    def detail(self) -> str:
        kinds = ", ".join(f"{kind} {self.share(kind):.2%}" for kind in ("inconclusive", "improvement"))
        return f"points: {kinds}; {self.pairs / self.kinds.total():.2f} pairs each"


def upper(count: int, of: int) -> float:
    """One-sided 95% upper bound of a rate."""
    return 1.0 if count == of else float(betaincinv(count + 1, of - count, 0.95))


def lower(count: int, of: int) -> float:
    """One-sided 95% lower bound of a rate."""
    return 1 - upper(of - count, of)


def decisions_of(base: Logs, candidate: Logs, tau: float | NDArray[np.float64] = TAU) -> list[Decision]:
    """The rule's, point by point, gate after gate; ``tau`` is one, or one a point."""
    d = candidate - base
    taus = np.broadcast_to(tau, d.shape[:2]).ravel().tolist()
    return [judge_pairs(values, one) for values, one in zip(d.reshape(-1, d.shape[-1]).tolist(), taus, strict=True)]


def batches(world: World, gates: int, *, slowdown: float = 0.0, points: int = POINTS) -> Iterator[tuple[Logs, Logs]]:
    """Sessions of base and candidate, gates at a time, every point slower by ``slowdown``: the same for every rule."""
    rng = _rng(world, slowdown)
    for start in range(0, gates, AT_ONCE):
        base, candidate = world.draw(min(AT_ONCE, gates - start), rng, points=points)
        yield base, candidate + math.log1p(slowdown)


def run(world: World, gates: int, *, slowdown: float = 0.0, points: int = POINTS) -> Tally:
    """As many gates in ``world``, every point of them slower by ``slowdown``."""
    tally = Tally()
    for base, candidate in batches(world, gates, slowdown=slowdown, points=points):
        tally.add(decisions_of(base, candidate), points)
    return tally


def run_others(world: World, gates: int, *, slowdown: float = 0.0, points: int = POINTS) -> Counter[str]:
    """Gates that each of the alternatives fails, of the sessions that :func:`run` judges."""
    within = {name: _rng(world, f"{slowdown} {name}") for name in ALTERNATIVES}
    failed = Counter(dict.fromkeys(ALTERNATIVES, 0))
    for base, candidate in batches(world, gates, slowdown=slowdown, points=points):
        for name, fails in ALTERNATIVES.items():
            failed[name] += int(fails(base, candidate, within[name]).any(axis=-1).sum())
    return failed


def false_rows(gates: int) -> Iterator[Row]:
    """Gates that fail though the code is the same."""
    for name, (world, goal, fewer) in MACHINES.items():
        tally = run(world, gates // fewer)
        bound = upper(tally.failed, tally.gates)
        yield Row(
            f"false fail: {name}",
            f"{tally.failed / tally.gates:.3%}",
            f"< {goal:.1%}",
            bound < goal,
            f"{tally.failed} of {tally.gates} gates, below {bound:.3%}; {tally.detail}",
        )


def power_rows(points: int) -> Iterator[Row]:
    """Points that are slower, and found."""
    for name, world, slowdown, goal in SLOWDOWNS:
        tally = run(world, points, slowdown=slowdown, points=1)
        found = tally.kinds["regression"]
        bound = lower(found, points)
        yield Row(
            f"+{slowdown:.0%} found: {name}",
            f"{found / points:.2%}",
            f">= {goal:.0%}" if goal is not None else "",
            bound >= goal if goal is not None else None,
            f"{found} of {points} points, above {bound:.2%}; ok {tally.share('ok'):.2%}, {tally.detail}",
        )


def noise_rows(gates: int) -> Iterator[Row]:
    """What it costs and brings to raise the threshold to a multiple of the spread that 6 pairs of an A/A gate show."""
    for sd in NOISE_SDS:
        for factor in NOISE_FACTORS:
            world = World(sd * HALF)
            rng = _rng(world, factor)
            false, found = Tally(), {0.05: Tally(), 0.10: Tally()}
            for start in range(0, gates, AT_ONCE):
                count = min(AT_ONCE, gates - start)
                before, now = world.draw(count, rng)
                spread = (now - before)[..., :PAIRS].std(axis=-1, ddof=1)
                taus = np.log1p(np.maximum(ONE_DEVICE, factor * spread))
                base, candidate = world.draw(count, rng)
                false.add(decisions_of(base, candidate, taus), POINTS)
                for slowdown, tally in found.items():
                    slow = candidate[:, :5] + math.log1p(slowdown)
                    tally.add(decisions_of(base[:, :5], slow, taus[:, :5]), 5)
            yield Row(
                f"threshold 3% or {factor:.0f} x noise, sd {sd:.1%} in d: false fail",
                f"{false.failed / false.gates:.2%}",
                "",
                None,
                f"below {upper(false.failed, false.gates):.2%}; inconclusive {false.share('inconclusive'):.1%}; "
                + ", ".join(
                    f"+{slowdown:.0%} found {tally.share('regression'):.1%}" for slowdown, tally in found.items()
                ),
            )


def compared_rows(gates: int) -> Iterator[Row]:
    """Other rules on the same sessions: failed gates of 60 points, and points found."""
    rule = "this rule"
    cells: dict[str, list[str]] = {name: [] for name in [rule, *ALTERNATIVES]}

    def column(title: str, world: World, count: int, slowdown: float, points: int) -> None:
        failed = run_others(world, count, slowdown=slowdown, points=points)
        failed[rule] = run(world, count, slowdown=slowdown, points=points).failed
        for name, shares in cells.items():
            shares.append(f"{title} {failed[name] / count:.1%}")

    for machine, world in COMPARED.items():
        column(machine, world, gates, 0.0, POINTS)
    for sd, slowdown in COMPARED_SLOWDOWNS:
        column(f"+{slowdown:.0%} at {sd:.0%}", World(sd), gates * 10, slowdown, 1)
    for name, shares in cells.items():
        yield Row(name, "", "", None, "; ".join(shares))


def _rng(world: World, what: object) -> np.random.Generator:
    """The same numbers for the same row, whatever other rows there are."""
    return np.random.default_rng([SEED, zlib.crc32(f"{world} {what}".encode())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--gates",
        type=int,
        default=GATES,
        help=f"gates of a row, at the most (default {GATES})",
    )
    gates = parser.parse_args().gates
    if gates < 100:
        parser.error("--gates must be at least 100")

    def rows() -> Iterator[Row]:
        yield from false_rows(gates)
        yield from power_rows(gates // 2)
        yield from noise_rows(max(gates // 40, 100))
        yield from compared_rows(max(gates // 80, 100))

    print_rows(rows())


if __name__ == "__main__":
    main()

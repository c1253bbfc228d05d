"""Where each rank of a point is, in memory shared with whoever asks: what a rank that hangs cannot tell any more.

``FOLDER/states`` has a slot of fixed size for each rank. A rank maps it and writes to its own, which costs it less
than a microsecond; the file is there to be read when the rank has been killed.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

NAME = "states"
NOWHERE = "starting"
"""The stage of a rank that has said nothing yet."""

_COLLECTIVE = struct.Struct("<Q16s")  # collectives begun, the kind of the last
_STAGE = struct.Struct("<Q32s")  # stages begun, the name of the last
_SLOT = _COLLECTIVE.size + _STAGE.size


@dataclass(frozen=True, slots=True)
class RankState:
    """How far a rank got.

    Attributes:
        stage: what it does, as "verifying".
        calls: collectives that it has begun, in all stages, or that others make without it.
        stages: stages that it has begun.
        kind: of the last of ``calls``; empty if it was others'.
    """

    rank: int
    stage: str = NOWHERE
    calls: int = 0
    stages: int = 0
    kind: str = ""

    @property
    def progress(self) -> tuple[int, int]:
        """All ranks make the same calls, so that whoever has made fewer is behind, whatever its stage."""
        return self.calls, self.stages


class StateWriter:
    """A rank's own slot."""

    def __init__(self, folder: Path, rank: int) -> None:
        """Open it; ``folder`` is there, the file need not be.

        Raises:
            OSError: it cannot be written.
        """
        self._at = rank * _SLOT
        self._stages = 0
        with (folder / NAME).open("ab"):
            pass  # it is there now, and was cut short by nobody
        with (folder / NAME).open("r+b") as file:
            os.pwrite(file.fileno(), bytes(_SLOT), self._at)
            self._map = mmap.mmap(file.fileno(), self._at + _SLOT)

    def stage(self, name: str) -> None:
        """This rank begins ``name``; the end of a long one is cut."""
        self._stages += 1
        _STAGE.pack_into(self._map, self._at + _COLLECTIVE.size, self._stages, name.encode())

    def calls(self, count: int, kind: str | None = None) -> None:
        """This rank begins its collective number ``count``, of ``kind``; or, with None, others do so without it."""
        _COLLECTIVE.pack_into(self._map, self._at, count, (kind or "").encode())


def read_states(folder: Path, world_size: int) -> list[RankState]:
    """Of every rank, in order; one that has written nothing is at its start."""
    try:
        data = (folder / NAME).read_bytes()
    except FileNotFoundError:
        data = b""
    return [_state(rank, data[rank * _SLOT : (rank + 1) * _SLOT]) for rank in range(world_size)]


def _state(rank: int, slot: bytes) -> RankState:
    if not any(slot):
        return RankState(rank)
    calls, kind = _COLLECTIVE.unpack_from(slot)
    stages, stage = _STAGE.unpack_from(slot, _COLLECTIVE.size)
    return RankState(rank, _text(stage) or NOWHERE, calls, stages, _text(kind))


def _text(field: bytes) -> str:
    return field.rstrip(b"\0").decode(errors="replace")


def last_of(states: Sequence[RankState]) -> RankState:
    """Whoever got least far; the first of those that got equally far."""
    return min(states, key=lambda state: (state.progress, state.rank))


def whereabouts(states: Sequence[RankState]) -> str:
    """Where ranks are that do not go on, in one clause: who is behind, who disagrees, or where all of them are."""
    stages = _either(state.stage for state in states)
    return (
        behind(states)
        or at_odds(states)
        or f"all {len(states)} ranks are in {stages} after {states[0].calls} collectives"
    )


def behind(states: Sequence[RankState]) -> str | None:
    """Which ranks are behind the others, and where, in one clause; None if none is.

    ``rank 2 of 4 is behind: in verifying after 17 collectives, the others after 18``.
    """
    last, first = min(state.progress for state in states), max(state.progress for state in states)
    if last == first:
        return None
    late = [state for state in states if state.progress == last]
    others = [state for state in states if state.progress != last]
    where = f"in {late[0].stage}"
    if last[0] == first[0]:
        return f"{_named(late, len(states))} behind: {where}, the others in {_either(s.stage for s in others)}"
    calls = sorted({state.calls for state in others})
    after = str(calls[0]) if len(calls) == 1 else f"{calls[0]} to {calls[-1]}"
    return f"{_named(late, len(states))} behind: {where} after {last[0]} collectives, the others after {after}"


def at_odds(states: Sequence[RankState]) -> str | None:
    """Which ranks, as far as the others, make another collective than most of them; None if none does.

    ``the ranks disagree at collective 18: rank 2 of 4 is in all_reduce, the others in all_gather``.
    """
    kinds = [state.kind for state in states if state.kind]
    if len(set(kinds)) < 2 or len({state.progress for state in states}) > 1:
        return None
    usual = max(dict.fromkeys(kinds), key=kinds.count)
    odd = [state for state in states if state.kind and state.kind != usual]
    where = f"{_named(odd, len(states))} in {_either(state.kind for state in odd)}"
    return f"the ranks disagree at collective {states[0].calls}: {where}, the others in {usual}"


def _named(some: Sequence[RankState], world_size: int) -> str:
    if len(some) == 1:
        return f"rank {some[0].rank} of {world_size} is"
    return f"ranks {', '.join(str(state.rank) for state in some)} of {world_size} are"


def _either(names: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(names))
